"""No container uses more than 80 % of the processors it may use.

Counted between two samples: of its own limit where it has one, else of the whole host's processors.
"""

import os
import shlex
from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, age, finding, grown, metric
from agent.rules.docker import all_well, counted, engines, service, uncounted
from fleetmedic.v1.finding_pb2 import STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import Container, Snapshot

NEEDS = ("docker",)
WARN = Limit("warn_share", 0.80, "ratio", "APA")
LEAST = Limit("least_seconds", 10, "seconds", "own")
NEXT = "docker top NAME says which process; compare with before the last deployment, or give it more processors"

COMMAND = "docker stats --no-stream NAME"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in engines(seen):
        if blind := uncounted(snapshot, "control groups"):
            yield blind
            continue
        watched = counted(snapshot)
        busy = [made for item in watched if (made := _judged(snapshot, item, limits))]
        yield from busy
        if not busy:
            yield all_well(snapshot, f"{len(watched)} running containers, none over its processors", "docker stats")


def _judged(snapshot: Snapshot, container: Container, limits: Limits) -> Finding | None:
    used = grown(snapshot, f"cpu_seconds {container.id}", container.use.cpu_seconds)
    # A moment's rate says nothing.
    if used is None or used[1] < limits.of(LEAST).value:
        return None
    allowed = container.cpu_limit or float(os.cpu_count() or 1)
    share = used[0] / used[1] / allowed
    warn = limits.of(WARN)
    if share <= warn.value:
        return None
    return finding(
        STATUS_WARN,
        snapshot.target,
        f"{container.name} used {share:.0%} of its {allowed:g} processors in {age(used[1])} (limit {warn.value:.0%})",
        kind="container",
        name=container.name,
        service=service(container),
        metrics=[metric("cpu_share", share, "ratio", warn)],
        equal_command=COMMAND.replace("NAME", shlex.quote(container.name)),
        next_step=NEXT.replace("NAME", shlex.quote(container.name)),
    )
