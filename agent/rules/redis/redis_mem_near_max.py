"""Redis uses less than 80 % of its maxmemory, unless it is a cache that may evict any key.

At the limit it refuses writes: at once with noeviction, with a volatile policy once no key with an expiry is left. A
cache with an allkeys policy is meant to be full: that is told, and is not bad.
"""

from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, finding, graded, metric, size, skipped
from agent.rules.redis import at, blindness, used_share
from fleetmedic.v1.finding_pb2 import STATUS_INFO, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("redis",)
WARN = Limit("warn_share", 0.80, "ratio", "APA")
CRIT = Limit("crit_share", 0.90, "ratio", "APA")
OVER = Limit("cache_over_share", 1.10, "ratio", "own")
NEXT = "fleetmedic check {host} --include 'REDIS-*' --show all"

COMMAND = "redis-cli INFO memory"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("redis"):
        blind = blindness(snapshot.redis)
        yield skipped(snapshot.target, blind) if blind else _judged(snapshot, limits)


def _judged(snapshot: Snapshot, limits: Limits) -> Finding:
    redis = snapshot.redis
    share = used_share(redis)
    metrics = [metric("used_memory", redis.used_memory, "bytes")]
    if redis.used_memory and redis.used_memory_resident:
        fragmentation = redis.used_memory_resident / redis.used_memory
        metrics += [
            metric("used_memory_resident", redis.used_memory_resident, "bytes"),
            metric("used_memory_peak", redis.used_memory_peak, "bytes"),
            metric("fragmentation", fragmentation, "ratio"),
        ]
    if share is None:
        summary = f"{size(redis.used_memory)} used, no maxmemory set"
        return finding(STATUS_OK, snapshot.target, summary, metrics=metrics, equal_command=at(snapshot, COMMAND))
    status, limit = graded(share, limits.of(WARN), limits.of(CRIT))
    cache = redis.maxmemory_policy.startswith("allkeys-")
    # Eviction runs a little behind the writes; far over the limit it finds nothing to evict.
    if cache and status != STATUS_OK and share < limits.of(OVER).value:
        status = STATUS_INFO
    note = ": it evicts, which is how a cache works" if status == STATUS_INFO else ""
    return finding(
        status,
        snapshot.target,
        f"{size(redis.used_memory)} of {size(redis.maxmemory)} used ({share:.0%}, limit {limit.value:.0%}), "
        f"policy {redis.maxmemory_policy}{note}",
        metrics=[metric("used_share", share, "ratio", limit), *metrics],
        equal_command=at(snapshot, COMMAND),
        next_step="" if status == STATUS_INFO else NEXT,
    )
