"""Redis has about as many keys as five minutes ago.

Half of them gone is a FLUSH, a mass expiry or another server by the same name; twice as many is a leak. Small
databases may change as they like.
"""

from collections.abc import Iterator, Sequence

from agent.rule import Limit, Limits, Seen, age, finding, metric, skipped, table, timestamp
from agent.rules.redis import at, blindness
from fleetmedic.v1.finding_pb2 import STATUS_OK, STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("redis",)
FELL = Limit("fell_share", 0.5, "ratio", "own")
ROSE = Limit("rose_times", 2.0, "ratio", "own")
LEAST = Limit("least_keys", 1000, "count", "own")
NEXT = "ask who flushed or filled it: redis-cli INFO commandstats shows FLUSHDB, FLUSHALL and who writes most"

COMMAND = "redis-cli INFO keyspace"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("redis"):
        blind = blindness(snapshot.redis)
        yield skipped(snapshot.target, blind) if blind else _judged(snapshot, limits)


def _judged(snapshot: Snapshot, limits: Limits) -> Finding:
    spaces = {item.database: item for item in snapshot.redis.keyspaces}
    # A database without keys is not in the list at all.
    known = {int(name.removeprefix("keys ")) for item in snapshot.earlier for name in item.counters if "keys " in name}
    said = []
    for database in sorted(spaces.keys() | known):
        now = spaces[database].keys if database in spaces else 0
        before = [item.counters.get(f"keys {database}", 0.0) for item in snapshot.earlier]
        then = _before(before, now, limits)
        if then is not None:
            said.append(f"db{database} from {then:.0f} to {now} keys")
    total = sum(item.keys for item in spaces.values())
    if said:
        span = age(timestamp(snapshot.taken_time) - timestamp(snapshot.earlier[0].taken_time))
        summary = f"{', '.join(said)} in {span} (limit: {limits.of(FELL).value:g} or {limits.of(ROSE).value:g} times)"
    else:
        summary = f"{total} keys in {len(spaces)} database{'s' if len(spaces) != 1 else ''}"
    rows = [
        (f"db{item.database}", str(item.keys), str(item.expires), age(item.average_ttl_ms / 1000))
        for item in spaces.values()
    ]
    return finding(
        STATUS_WARN if said else STATUS_OK,
        snapshot.target,
        summary,
        metrics=[metric("keys", total, "count")],
        table=table(("database", "keys", "with expiry", "average ttl"), rows),
        equal_command=at(snapshot, COMMAND),
        next_step=NEXT,
    )


def _before(counted: Sequence[float], now: float, limits: Limits) -> float | None:
    """The count that this one is too far from; None where there is none. A cache that fills up from nothing is well."""
    least = limits.of(LEAST).value
    peak, oldest = max(counted, default=0.0), next(iter(counted), 0.0)
    if peak >= least and now <= limits.of(FELL).value * peak:
        return peak
    return oldest if oldest >= least and now >= limits.of(ROSE).value * oldest else None
