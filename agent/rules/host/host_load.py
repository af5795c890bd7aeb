"""No more than two tasks for each processor want to run or wait for a disk.

Load alone is no fault: it is a warning where the kernel's pressure says that programs really wait, else it is only
told.
"""

from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, finding, metric
from agent.rules.host import unread
from fleetmedic.v1.finding_pb2 import STATUS_ERROR, STATUS_INFO, STATUS_OK, STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import KernelSnapshot, Snapshot

NEEDS = ("kernel",)
UNANSWERED = STATUS_ERROR
WARN = Limit("warn_per_processor", 2, "count", "NM")
PRESSURE = Limit("pressure_some", 60, "percent", "own")
NEXT = "docker stats and top say who runs; many in state D wait for a disk (HOST-PSI)"

COMMAND = "cat /proc/loadavg; nproc"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("kernel"):
        yield unread(snapshot) or _judged(snapshot, limits)


def _judged(snapshot: Snapshot, limits: Limits) -> Finding:
    kernel = snapshot.kernel
    each = kernel.load_1 / max(1, kernel.processors)
    warn = limits.of(WARN)
    status = STATUS_OK
    if each > warn.value:
        status = STATUS_WARN if _waits(kernel, limits.of(PRESSURE).value) else STATUS_INFO
    summary = (
        f"load {kernel.load_1:.2f} {kernel.load_5:.2f} {kernel.load_15:.2f} on {kernel.processors} processors, "
        f"{each:.1f} for each (limit {warn.value:g})"
    )
    return finding(
        status,
        snapshot.target,
        summary,
        metrics=[metric("load_per_processor", each, "count", warn)],
        equal_command=COMMAND,
        next_step=NEXT,
    )


def _waits(kernel: KernelSnapshot, limit: float) -> bool:
    """Where the kernel measures no pressure, load is all there is to go by."""
    if not kernel.pressure:
        return True
    return any(kernel.pressure[name].some_60 > limit for name in ("cpu", "io") if name in kernel.pressure)
