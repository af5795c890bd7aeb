"""No container was ended by the kernel for memory.

It went over its own limit, or the host had none left. A restart policy hides it: the container runs again until the
next time. What has ended for good is DOCKER-EXIT-CLASS's matter too; this one tells why.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Limits, Seen, age, finding, metric, size, timestamp
from agent.rules.docker import all_well, engines, service
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, Finding
from fleetmedic.v1.snapshot_pb2 import Container, Snapshot

NEEDS = ("docker",)
NEXT = "raise its memory limit, or lower its workers: restarting alone brings it back to the same end"

COMMAND = "docker inspect -f '{{.State.OOMKilled}} {{.HostConfig.Memory}}' NAME"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    for snapshot in engines(seen):
        killed = [item for item in snapshot.docker.containers if item.oom_killed]
        yield from (_killed(snapshot, item, seen.now) for item in killed)
        if not killed:
            yield all_well(snapshot, "no container was ended for memory", "docker ps -a")


def _killed(snapshot: Snapshot, container: Container, now: float) -> Finding:
    when = ""
    if container.HasField("finished_time"):
        when = f" {age(max(0.0, now - timestamp(container.finished_time)))} ago"
    limit = container.use.memory_limit_bytes
    of = f", its limit is {size(limit)}" if limit else ""
    return finding(
        STATUS_CRIT,
        snapshot.target,
        f"{container.name} was killed for memory{when} (exit {container.exit_code}), and is {container.state}{of}",
        kind="container",
        name=container.name,
        service=service(container),
        metrics=[metric("memory_limit", limit, "bytes")] if limit else [],
        equal_command=COMMAND.replace("NAME", shlex.quote(container.name)),
        next_step=NEXT,
    )
