"""Redis refuses no write for want of memory.

With maxmemory-policy noeviction, or with nothing it may evict, a full Redis refuses writes and still answers reads and
PING, so the service fails in part and nothing looks down. Refused writes are counted since the flight recorder's
oldest sample of five minutes.
"""

from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, finding, grown, metric, size, skipped
from agent.rules.redis import at, blindness, used_share
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("redis",)
FULL = Limit("crit_share", 0.95, "ratio", "own")
NEXT = "raise maxmemory if the host has room (CONFIG SET maxmemory), or free keys that may go; never FLUSHALL"

REPLICA = frozenset({"slave", "replica"})
COMMAND = "redis-cli INFO memory; redis-cli INFO errorstats"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("redis"):
        blind = blindness(snapshot.redis)
        yield skipped(snapshot.target, blind) if blind else _judged(snapshot, limits.of(FULL))


def _judged(snapshot: Snapshot, full: Limit) -> Finding:
    redis = snapshot.redis
    share = used_share(redis)
    refused = refused_writes(snapshot)
    if refused and share is not None and redis.maxmemory_policy != "noeviction":
        summary = (
            f"{refused} commands refused for want of memory in the last minutes: policy {redis.maxmemory_policy} "
            f"finds nothing to evict, {size(redis.used_memory)} of {size(redis.maxmemory)} used"
        )
        measured = [metric("refused_writes", refused, "count")]
        return finding(
            STATUS_CRIT, snapshot.target, summary, metrics=measured, equal_command=at(snapshot, COMMAND), next_step=NEXT
        )
    if redis.maxmemory_policy != "noeviction" or share is None:
        why = "no maxmemory set" if share is None else f"policy {redis.maxmemory_policy} evicts"
        return finding(STATUS_OK, snapshot.target, why, equal_command=at(snapshot, COMMAND))
    if redis.role in REPLICA:
        why = "a replica: it takes no client's writes, and heeds no maxmemory unless replica-ignore-maxmemory is no"
        return finding(STATUS_OK, snapshot.target, why, equal_command=at(snapshot, "redis-cli INFO replication"))
    status = STATUS_CRIT if share >= full.value or refused else STATUS_OK
    summary = (
        f"{size(redis.used_memory)} of {size(redis.maxmemory)} used ({share:.0%}, limit {full.value:.0%}), noeviction"
    )
    if status == STATUS_CRIT:
        summary = f"writes are refused: {summary}"
    if refused:
        summary += f"; {refused} commands refused for want of memory in the last minutes"
    measured = [metric("used_share", share, "ratio", full), metric("refused_writes", refused, "count")]
    return finding(
        status, snapshot.target, summary, metrics=measured, equal_command=at(snapshot, COMMAND), next_step=NEXT
    )


def refused_writes(snapshot: Snapshot) -> int:
    """How many commands were refused since the oldest sample; 0 where there is none."""
    seen = grown(snapshot, "oom_errors", snapshot.redis.oom_errors)
    return int(seen[0]) if seen else 0
