"""No container is near its memory limit.

Counted without what the kernel can drop (inactive file pages), as docker stats does. At the limit the kernel kills.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, finding, graded, metric, size
from agent.rules.docker import all_well, counted, engines, service, uncounted
from fleetmedic.v1.finding_pb2 import STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Container, Snapshot

NEEDS = ("docker",)
WARN = Limit("warn_share", 0.80, "ratio", "APA")
CRIT = Limit("crit_share", 0.90, "ratio", "own")
NEXT = "keep its figures, then restart it before the kernel does; a limit that is too low wants raising"

COMMAND = "docker stats --no-stream NAME"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in engines(seen):
        if blind := uncounted(snapshot, "control groups"):
            yield blind
            continue
        watched = counted(snapshot)
        full = [made for item in watched if (made := _judged(snapshot, item, limits))]
        yield from full
        limited = sum(item.use.memory_limit_bytes > 0 for item in watched)
        if not full:
            yield all_well(snapshot, f"{limited} containers with a memory limit, none is near it", "docker stats")


def _judged(snapshot: Snapshot, container: Container, limits: Limits) -> Finding | None:
    use = container.use
    if not use.memory_limit_bytes:
        return None
    share = use.memory_bytes / use.memory_limit_bytes
    status, limit = graded(share, limits.of(WARN), limits.of(CRIT))
    if status == STATUS_OK:
        return None
    return finding(
        status,
        snapshot.target,
        f"{container.name} uses {size(use.memory_bytes)} of {size(use.memory_limit_bytes)} "
        f"({share:.0%}, limit {limit.value:.0%})",
        kind="container",
        name=container.name,
        service=service(container),
        metrics=[metric("memory_share", share, "ratio", limit), metric("memory", use.memory_bytes, "bytes")],
        equal_command=COMMAND.replace("NAME", shlex.quote(container.name)),
        next_step=NEXT,
    )
