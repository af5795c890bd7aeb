"""No Redis command of the last five minutes took a tenth of a second.

While one runs all others wait. Commands are told with the kind of key they were about, never with a value.
"""

from collections import defaultdict
from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, age, finding, graded, metric, seconds, skipped, table, timestamp
from agent.rules.redis import at, blindness
from fleetmedic.v1.finding_pb2 import Finding
from fleetmedic.v1.snapshot_pb2 import RedisSlowCommand, Snapshot

NEEDS = ("redis",)
WINDOW = Limit("window_seconds", 300, "seconds", "own")
WARN = Limit("warn_seconds", 0.1, "seconds", "own")
CRIT = Limit("crit_seconds", 1.0, "seconds", "own")
NEXT = "find who sends it: KEYS, SMEMBERS, SORT and DEL of something big have gentler forms (SCAN, SSCAN, UNLINK)"

COMMAND = "redis-cli SLOWLOG GET 10"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("redis"):
        blind = blindness(snapshot.redis)
        if not blind and "slowlog get" in snapshot.redis.not_allowed:
            blind = "needs +slowlog|get"
        yield skipped(snapshot.target, blind) if blind else _judged(snapshot, limits, seen.now)


def _judged(snapshot: Snapshot, limits: Limits, now: float) -> Finding:
    window = limits.of(WINDOW).value
    recent = [item for item in snapshot.redis.slow_commands if now - timestamp(item.time) <= window]
    longest = max(recent, key=_took, default=None)
    status, limit = graded(_took(longest) if longest else 0.0, limits.of(WARN), limits.of(CRIT))
    if longest is None:
        summary = f"no slow command in {age(window)}"
    else:
        summary = (
            f"{len(recent)} slow in {age(window)}, the longest {longest.shape} with {_milliseconds(_took(longest))} "
            f"(limit {_milliseconds(limit.value)}) from {longest.client or 'an unknown client'}"
        )
    shapes: dict[str, list[float]] = defaultdict(list)
    for item in recent:
        shapes[item.shape].append(_took(item))
    rows = [
        (shape, str(len(took)), _milliseconds(max(took)), _milliseconds(sum(took)))
        for shape, took in sorted(shapes.items(), key=lambda pair: -sum(pair[1]))
    ]
    return finding(
        status,
        snapshot.target,
        summary,
        metrics=[metric("slow_commands", len(recent), "count")],
        table=table(("command", "times", "longest", "together"), rows),
        equal_command=at(snapshot, COMMAND),
        next_step=NEXT,
    )


def _took(item: RedisSlowCommand) -> float:
    return seconds(item.took)


def _milliseconds(value: float) -> str:
    return f"{1000 * value:.0f} ms"
