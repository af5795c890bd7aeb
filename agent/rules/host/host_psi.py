"""Programs do not stand still for want of memory, disk or processors.

The kernel's own measure of pressure: the share of the last seconds in which all (full) or some of the programs waited.
Busy processors alone are no fault, only very long queues for them.
"""

from collections.abc import Iterator

from agent.rule import Level, Limit, Limits, Seen, finding, graded, metric, skipped, table, worst
from fleetmedic.v1.finding_pb2 import STATUS_OK, STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("kernel",)
MEMORY_WARN = Limit("memory_full_warn", 10, "percent", "own")
MEMORY_CRIT = Limit("memory_full_crit", 40, "percent", "own")
IO_WARN = Limit("io_full_warn", 20, "percent", "own")
IO_CRIT = Limit("io_full_crit", 50, "percent", "own")
CPU_WARN = Limit("cpu_some_warn", 95, "percent", "own")
NEXT = (
    "memory: who holds most (HOST-MEM); io: which disk and who writes (HOST-DISK-SPACE, docker stats); cpu: docker top"
)

COMMAND = "grep . /proc/pressure/*"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("kernel"):
        if snapshot.kernel.pressure:
            yield _judged(snapshot, limits)
        else:
            yield skipped(snapshot.target, "this kernel does not measure pressure (CONFIG_PSI)")


def _judged(snapshot: Snapshot, limits: Limits) -> Finding:
    pressure = snapshot.kernel.pressure
    memory, io, cpu = pressure["memory"].full_10, pressure["io"].full_10, pressure["cpu"].some_60
    judged: list[tuple[Level, str]] = []
    for value, warn, crit, text in (
        (memory, MEMORY_WARN, MEMORY_CRIT, "all programs wait for memory"),
        (io, IO_WARN, IO_CRIT, "all programs wait for disks"),
    ):
        status, limit = graded(value, limits.of(warn), limits.of(crit))
        judged.append((status, f"{text} {value:.0f} % of the time (limit {limit.value:.0f} %)"))
    busy = limits.of(CPU_WARN)
    status = STATUS_WARN if cpu >= busy.value else STATUS_OK
    judged.append((status, f"some wait for a processor {cpu:.0f} % of the time (limit {busy.value:.0f} %)"))
    overall = worst(*(status for status, _ in judged))
    said = [text for status, text in judged if status == overall]
    rows = [
        (name, f"{item.some_10:.1f}", f"{item.some_60:.1f}", f"{item.full_10:.1f}", f"{item.full_60:.1f}")
        for name, item in sorted(pressure.items())
    ]
    return finding(
        overall,
        snapshot.target,
        "; ".join(said),
        metrics=[metric("memory_full", memory, "percent"), metric("io_full", io, "percent")],
        table=table(("resource", "some 10 s", "some 60 s", "full 10 s", "full 60 s"), rows),
        equal_command=COMMAND,
        next_step=NEXT,
    )
