"""Every container that was created could be started.

A wrong command, a port that is taken, a file or right that is missing: the engine says which. It mostly comes with a
deployment.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Limits, Seen, finding
from agent.rules.docker import all_well, engines, service
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, Finding
from fleetmedic.v1.snapshot_pb2 import Container, Snapshot

NEEDS = ("docker",)
NEXT = "mend what the engine names, or roll the last deployment back: as it is it can't start"

COMMAND = "docker inspect -f '{{.State.Error}}' NAME"
# What the engine's words mean, for those who do not read them every day.
CAUSES = (
    ("executable file not found", "its command is not in the image"),
    ("port is already allocated", "its port is taken"),
    ("address already in use", "its port is taken"),
    ("no such file or directory", "a file or folder it needs is missing"),
    ("permission denied", "its command may not be executed"),
    ("not a directory", "a file is mounted over a folder, or a folder over a file"),
)


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    for snapshot in engines(seen):
        failed = [item for item in snapshot.docker.containers if item.state == "created" and item.error]
        yield from (_failed(snapshot, item) for item in failed)
        if not failed:
            yield all_well(snapshot, "every container that was created could be started", "docker ps -a")


def _failed(snapshot: Snapshot, container: Container) -> Finding:
    meaning = next((cause for words, cause in CAUSES if words in container.error), "the engine can't start it")
    return finding(
        STATUS_CRIT,
        snapshot.target,
        f"{container.name} could not be started, {meaning}: {container.error[:300]}",
        kind="container",
        name=container.name,
        service=service(container),
        excerpt=container.error,
        equal_command=COMMAND.replace("NAME", shlex.quote(container.name)),
        next_step=NEXT,
    )
