"""Every container's own health check succeeds.

What the check said last is quoted. One that timed out (exit -1) hangs itself; one that answered no mostly names the
dependency that is down. A single failure is told without alarm: a restart cuts a check short, a busy moment too.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Level, Limit, Limits, Seen, finding, metric
from agent.rules.docker import all_well, engines, service
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_INFO, STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import Container, Snapshot

NEEDS = ("docker",)
WARN = Limit("warn_failures", 2, "count", "own")
NEXT_HANGS = "it hangs: keep its evidence (docker top NAME, docker logs --tail 50 NAME), then docker restart NAME"
NEXT_SAYS_NO = "mend what its check names; a restart does not help a container whose dependency is down"

COMMAND = "docker inspect -f '{{json .State.Health}}' NAME"
TIMED_OUT = -1


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    warn = limits.of(WARN)
    for snapshot in engines(seen):
        checked = [item for item in snapshot.docker.containers if item.state == "running" and item.health]
        bad = [item for item in checked if item.health == "unhealthy" or item.failing_streak]
        yield from (_failing(snapshot, item, warn) for item in bad)
        if not bad:
            yield all_well(snapshot, f"{len(checked)} containers with a health check, none fails", "docker ps")


def _failing(snapshot: Snapshot, container: Container, warn: Limit) -> Finding:
    hangs = container.health_exit_code == TIMED_OUT
    said = "the check timed out" if hangs else f"the check said: {container.health_output.strip() or 'nothing'}"
    step = NEXT_HANGS if hangs else NEXT_SAYS_NO
    return finding(
        _status(container, warn),
        snapshot.target,
        f"{container.name} is {container.health}, {container.failing_streak} failures in a row; {said[:300]}",
        kind="container",
        name=container.name,
        service=service(container),
        metrics=[metric("failures_in_a_row", container.failing_streak, "count", warn)],
        excerpt=container.health_output,
        equal_command=COMMAND.replace("NAME", shlex.quote(container.name)),
        next_step=step.replace("NAME", shlex.quote(container.name)),
    )


def _status(container: Container, warn: Limit) -> Level:
    if container.health == "unhealthy":
        return STATUS_CRIT
    # Until it is, the engine still takes it for healthy; while it starts it does not count failures at all.
    return STATUS_WARN if container.failing_streak >= warn.value else STATUS_INFO
