"""No process inside a running container was killed for memory.

A worker that dies so is started again by its master: requests are dropped, and neither docker ps nor docker inspect
shows anything (checks.md D11). The kernel counts it for the container's control group.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Limits, Seen, age, finding, grown, metric, size
from agent.rules.docker import all_well, counted, engines, service, uncounted
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import Container, Snapshot

NEEDS = ("docker",)
NEXT = "lower its number of workers or raise its memory limit; if it began with a release, roll that back"

COMMAND = "cat /sys/fs/cgroup/memory/docker/ID/memory.oom_control; dmesg | grep oom-kill"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    for snapshot in engines(seen):
        if blind := uncounted(snapshot, "control groups"):
            yield blind
            continue
        watched = counted(snapshot)
        killed = [made for item in watched if (made := _judged(snapshot, item))]
        yield from killed
        if not killed:
            yield all_well(
                snapshot, f"no process of {len(watched)} running containers was killed for memory", "docker ps"
            )


def _judged(snapshot: Snapshot, container: Container) -> Finding | None:
    total = container.use.oom_kills
    if not total:
        return None
    recent = grown(snapshot, f"oom_kills {container.id}", total)
    if recent and recent[0]:
        status, when = STATUS_CRIT, f"{recent[0]:.0f} in {age(recent[1])}, "
    else:
        status, when = STATUS_WARN, ""
    return finding(
        status,
        snapshot.target,
        f"{container.name}: the kernel killed processes of it for memory, {when}{total} since it started, "
        f"while it ran on; {size(container.use.memory_bytes)} of {size(container.use.memory_limit_bytes)} in use",
        kind="container",
        name=container.name,
        service=service(container),
        metrics=[metric("oom_kills", total, "count")],
        equal_command=COMMAND.replace("ID", shlex.quote(container.id)),
        next_step=NEXT,
    )
