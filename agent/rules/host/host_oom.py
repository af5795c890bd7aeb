"""The kernel has killed nothing for memory in the last five minutes.

Neither for the host's memory nor for the limit of a control group. The kernel's log says who died, and whose limit it
was.
"""

from collections.abc import Iterator, Mapping, Sequence

from agent.rule import Limit, Limits, Seen, age, finding, grown, metric, table, timestamp
from agent.rules.host import unread
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import OomKill, Snapshot

NEEDS = ("kernel",)
# Names containers; without an engine they keep their ids.
MAY_USE = ("docker",)
WINDOW = Limit("window_seconds", 300, "seconds", "own")
NEXT = "a limit of its own: raise it or lower the workers; the host's: find who holds the memory (HOST-MEM's table)"

COMMAND = "dmesg -T | grep -i oom-kill"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    names = {item.id: item.name for engine in seen.of("docker") for item in engine.docker.containers}
    for snapshot in seen.of("kernel"):
        yield unread(snapshot) or _judged(snapshot, names, seen.now, limits.of(WINDOW).value)


def _judged(snapshot: Snapshot, names: Mapping[str, str], now: float, window: float) -> Finding:
    kernel = snapshot.kernel
    recent = [item for item in kernel.killings if now - timestamp(item.time) <= window]
    more = grown(snapshot, "oom_kills", kernel.oom_kills) if kernel.log_unread else None
    # The log has the times; without it the counter of the oldest sample is all there is.
    count = int(more[0]) if more else len(recent)
    measured = [metric("kills", count, "count"), metric("kills_since_boot", kernel.oom_kills, "count")]
    if not count:
        summary = f"nothing killed for memory in {age(window)}, {kernel.oom_kills} since boot"
        return finding(STATUS_OK, snapshot.target, summary, metrics=measured, equal_command=COMMAND)
    summary = f"the kernel killed {count} process{'es' if count != 1 else ''} for memory in the last minutes"
    if recent:
        summary += (
            f", the last {recent[0].name} ({_whose(recent[0], names)}) {age(now - timestamp(recent[0].time))} ago"
        )
    elif kernel.log_unread:
        summary += f"; {kernel.log_unread}"
    return finding(
        STATUS_CRIT,
        snapshot.target,
        summary,
        metrics=measured,
        table=table(("when", "pid", "name", "whose limit"), _rows(recent, names)),
        equal_command=COMMAND,
        next_step=NEXT,
    )


def _whose(item: OomKill, names: Mapping[str, str]) -> str:
    if item.constraint != "memcg":
        return "the host's memory"
    owner = names.get(item.container_id, item.container_id[:12])
    return f"the limit of container {owner}" if owner else "the limit of its control group"


def _rows(killings: Sequence[OomKill], names: Mapping[str, str]) -> list[tuple[str, ...]]:
    return [(item.time.ToJsonString(), str(item.pid), item.name, _whose(item, names)) for item in killings]
