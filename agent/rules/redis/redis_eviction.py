"""Redis evicts fewer than a hundred keys a second.

A cache evicts; one that evicts much is too small for what is asked of it, and the database behind it gets the rest.
Counted since the oldest sample of five minutes.
"""

from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, age, finding, grown, metric, skipped
from agent.rules.redis import at, blindness
from fleetmedic.v1.finding_pb2 import STATUS_OK, STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("redis",)
WARN = Limit("warn_per_second", 100, "count", "own")
NEXT = "give it more memory (CONFIG SET maxmemory, if the host has it), and look at the load of the database behind it"

COMMAND = "redis-cli INFO stats"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("redis"):
        blind = blindness(snapshot.redis)
        yield skipped(snapshot.target, blind) if blind else _judged(snapshot, limits.of(WARN))


def _judged(snapshot: Snapshot, warn: Limit) -> Finding:
    evicted = grown(snapshot, "evicted_keys", snapshot.redis.evicted_keys)
    if evicted is None:
        summary = f"{snapshot.redis.evicted_keys} evicted since it started (no earlier sample yet: counts begin now)"
        return finding(STATUS_OK, snapshot.target, summary, equal_command=at(snapshot, COMMAND))
    rate = evicted[0] / evicted[1]
    return finding(
        STATUS_WARN if rate > warn.value else STATUS_OK,
        snapshot.target,
        f"{evicted[0]:.0f} keys evicted in {age(evicted[1])}, {rate:.0f} a second (limit {warn.value:.0f})",
        metrics=[metric("evicted_per_second", rate, "count", warn)],
        equal_command=at(snapshot, COMMAND),
        next_step=NEXT,
    )
