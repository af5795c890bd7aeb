"""The host has memory to spare: a tenth of it is available.

Counted is MemAvailable, what programs can have without swapping. Near nothing the kernel begins to kill.
"""

from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, finding, graded, metric, size, table
from fleetmedic.v1.finding_pb2 import STATUS_ERROR, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("memory",)
UNANSWERED = STATUS_ERROR
WARN = Limit("warn_free_share", 0.10, "ratio", "APA")
CRIT = Limit("crit_free_share", 0.05, "ratio", "own")
NEXT = "look at who holds it (the table): a leak wants a restart after its figures are kept"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("memory"):
        yield _judged(snapshot, limits)


def _judged(snapshot: Snapshot, limits: Limits) -> Finding:
    memory = snapshot.memory
    share = memory.available_bytes / memory.total_bytes
    status, limit = graded(share, limits.of(WARN), limits.of(CRIT), low_is_bad=True)
    summary = (
        f"{size(memory.available_bytes)} of {size(memory.total_bytes)} available ({share:.0%}, limit {limit.value:.0%})"
    )
    if status != STATUS_OK and memory.holders:
        summary += f"; most by {memory.holders[0].name} ({size(memory.holders[0].resident_bytes)})"
    rows = [(str(item.pid), item.name, size(item.resident_bytes), item.container_id[:12]) for item in memory.holders]
    return finding(
        status,
        snapshot.target,
        summary,
        metrics=[
            metric("available_share", share, "ratio", limit),
            metric("available", memory.available_bytes, "bytes"),
            metric("swap_free", memory.swap_free_bytes, "bytes"),
        ],
        table=table(("pid", "name", "resident", "container"), rows),
        equal_command="free -m",
        next_step=NEXT,
    )
