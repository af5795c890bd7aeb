"""No container's network drops packets.

Counted between two samples, for its own interfaces; a container on the host's network has none.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Limits, Seen, age, finding, grown, metric
from agent.rules.docker import all_well, counted, engines, service, uncounted
from fleetmedic.v1.finding_pb2 import STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import Container, Snapshot

NEEDS = ("docker",)
NEXT = "look at the network between it and its peers: queue lengths, MTU, and what the host's own interfaces drop"

COMMAND = "docker exec NAME cat /proc/net/dev"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    for snapshot in engines(seen):
        if blind := uncounted(snapshot, "networks"):
            yield blind
            continue
        watched = counted(snapshot)
        dropping = [made for item in watched if (made := _judged(snapshot, item))]
        yield from dropping
        if not dropping:
            yield all_well(snapshot, f"{len(watched)} running containers, none drops packets", "docker stats")


def _judged(snapshot: Snapshot, container: Container) -> Finding | None:
    dropped = grown(snapshot, f"dropped {container.id}", container.use.dropped)
    errors = grown(snapshot, f"errors {container.id}", container.use.errors)
    if dropped is None or errors is None or not dropped[0] + errors[0]:
        return None
    return finding(
        STATUS_WARN,
        snapshot.target,
        f"{container.name}: {dropped[0]:.0f} packets dropped and {errors[0]:.0f} in error in {age(dropped[1])}",
        kind="container",
        name=container.name,
        service=service(container),
        metrics=[metric("dropped", dropped[0], "count"), metric("errors", errors[0], "count")],
        equal_command=COMMAND.replace("NAME", shlex.quote(container.name)),
        next_step=NEXT,
    )
