"""No container has processes that are dead or can't be woken.

Zombies stay where a container's first process does not look after its children (docker run --init does); a process in
uninterruptible sleep waits for a disk or a mount that does not answer.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Limits, Seen, age, finding, metric, table
from agent.rules.docker import all_well, counted, engines, service, uncounted
from fleetmedic.v1.finding_pb2 import STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import Container, Snapshot

NEEDS = ("docker",)
NEXT = "zombies: start it with --init; state D: look at the disk or mount that it waits for, a kill has no effect on it"

COMMAND = "docker top NAME -o pid,ppid,stat,etimes,args"
WORDS = {"Z": "a zombie", "D": "in uninterruptible sleep"}


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    for snapshot in engines(seen):
        if blind := uncounted(snapshot, "processes"):
            yield blind
            continue
        watched = counted(snapshot)
        odd = [item for item in watched if item.use.odd]
        yield from (_odd(snapshot, item) for item in odd)
        if not odd:
            count = sum(item.use.processes for item in watched)
            yield all_well(
                snapshot, f"{count} processes in {len(watched)} containers, none is stuck", "docker top NAME"
            )


def _odd(snapshot: Snapshot, container: Container) -> Finding:
    odd = sorted(container.use.odd, key=lambda process: -process.age_seconds)
    first = odd[0]
    rows = [(str(item.pid), item.name, item.state, age(item.age_seconds)) for item in odd]
    return finding(
        STATUS_WARN,
        snapshot.target,
        f"{container.name}: {len(odd)} of {container.use.processes} processes are stuck, "
        f"{first.name} (pid {first.pid}) is {WORDS[first.state]}",
        kind="container",
        name=container.name,
        service=service(container),
        metrics=[metric("stuck", len(odd), "count"), metric("processes", container.use.processes, "count")],
        table=table(("pid", "name", "state", "age"), rows),
        equal_command=COMMAND.replace("NAME", shlex.quote(container.name)),
        next_step=NEXT,
    )
