"""Redis can save what it holds.

After a save that failed it refuses every write (MISCONF), unless it is told not to; after a failed append too. The
cause is mostly a full disk, a folder that has gone, or too little memory to fork.
"""

from collections.abc import Iterator

from agent.rule import Limits, Seen, finding, skipped
from agent.rules.redis import at, blindness
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("redis",)
NEXT = "free its disk or mend its folder, then redis-cli BGSAVE, and look at rdb_last_bgsave_status again"

COMMAND = "redis-cli INFO persistence"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    for snapshot in seen.of("redis"):
        blind = blindness(snapshot.redis)
        yield skipped(snapshot.target, blind) if blind else _judged(snapshot)


def _judged(snapshot: Snapshot) -> Finding:
    redis = snapshot.redis
    failed = [
        what
        for what, status in (("save (RDB)", redis.last_save_status), ("append (AOF)", redis.last_append_status))
        if status == "err"
    ]
    if not failed:
        return finding(STATUS_OK, snapshot.target, "the last save worked", equal_command=at(snapshot, COMMAND))
    refuses = redis.stops_writes or "append (AOF)" in failed or redis.error_class == "MISCONF"
    status = STATUS_CRIT if refuses else STATUS_WARN
    meaning = "it refuses writes" if refuses else "it takes writes, and would lose them with a restart"
    summary = f"the last {' and the last '.join(failed)} failed: {meaning}"
    return finding(status, snapshot.target, summary, equal_command=at(snapshot, COMMAND), next_step=NEXT)
