"""No container is paused.

A paused container takes connections and answers none: somebody froze it, and forgot.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Limits, Seen, finding
from agent.rules.docker import all_well, engines, service
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, Finding
from fleetmedic.v1.snapshot_pb2 import Container, Snapshot

NEEDS = ("docker",)
NEXT = "ask who paused it; docker unpause NAME brings it back as it was"

COMMAND = "docker ps --filter status=paused"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    for snapshot in engines(seen):
        everybody = (*snapshot.docker.containers, *snapshot.docker.listed)
        paused = [item for item in everybody if item.state == "paused"]
        yield from (_paused(snapshot, item) for item in paused)
        if not paused:
            yield all_well(snapshot, "no container is paused", COMMAND)


def _paused(snapshot: Snapshot, container: Container) -> Finding:
    return finding(
        STATUS_CRIT,
        snapshot.target,
        f"{container.name} is paused: it takes connections and answers none",
        kind="container",
        name=container.name,
        service=service(container),
        equal_command=COMMAND,
        next_step=NEXT.replace("NAME", shlex.quote(container.name)),
    )
