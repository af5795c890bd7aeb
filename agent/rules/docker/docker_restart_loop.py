"""No container restarts over and over.

Restarts are counted against the sampler's counts of the last five minutes; a manual restart sets Docker's own counter
back to 0, and counts from there.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Level, Limit, Limits, Seen, age, finding, graded, grown, metric, timestamp
from agent.rules.docker import all_well, engines, service
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Container, Snapshot

NEEDS = ("docker",)
WARN = Limit("warn_restarts", 3, "count", "NM")
CRIT = Limit("crit_restarts", 5, "count", "own")
NEXT = "docker logs --tail 50 NAME shows how it ends; bad configuration, new code or a dependency that is down"

COMMAND = "docker inspect -f '{{.RestartCount}} {{.State.Status}}' NAME"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in engines(seen):
        looping = [made for item in snapshot.docker.containers if (made := _judged(snapshot, item, seen.now, limits))]
        yield from looping
        if not looping:
            yield all_well(snapshot, f"no container restarts over and over{_window(snapshot, seen.now)}", "docker ps")


def _window(snapshot: Snapshot, now: float) -> str:
    """Over what time it was counted: an agent that has just started has not seen much yet."""
    if not snapshot.earlier:
        return " (no earlier sample yet: counts begin now)"
    return f" (counted over {age(now - timestamp(snapshot.earlier[0].taken_time))})"


def restarts(snapshot: Snapshot, container: Container) -> int:
    """How often it restarted within the samples at hand; 0 where there is none."""
    seen = grown(snapshot, f"restarts {container.id}", container.restart_count)
    return int(seen[0]) if seen else 0


def _judged(snapshot: Snapshot, container: Container, now: float, limits: Limits) -> Finding | None:
    count = restarts(snapshot, container)
    status: Level
    status, limit = graded(count, limits.of(WARN), limits.of(CRIT))
    if container.state == "restarting":
        status = STATUS_CRIT
    if status == STATUS_OK:
        return None
    return finding(
        status,
        snapshot.target,
        f"{container.name} restarted {count} times{_window(snapshot, now)} (limit {limit.value:.0f}), "
        f"{container.restart_count} in all, is {container.state}, last exit {container.exit_code}",
        kind="container",
        name=container.name,
        service=service(container),
        metrics=[metric("restarts", count, "count", limit)],
        equal_command=COMMAND.replace("NAME", shlex.quote(container.name)),
        next_step=NEXT.replace("NAME", shlex.quote(container.name)),
    )
