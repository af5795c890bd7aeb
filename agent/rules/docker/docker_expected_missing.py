"""Every container that is expected on this host runs.

Expected are the names under [docker] expected in agent.toml, matched by container name or compose service.
"""

from collections.abc import Iterator

from agent.rule import Limits, Seen, finding, skipped
from agent.rules.docker import all_well, engines, is_called
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("docker",)
NEXT_GONE = "it was removed or never started: deploy it again, or roll the last deployment back"
NEXT_STOPPED = "fleetmedic check {host} --include DOCKER-EXIT-CLASS --show all"

COMMAND = "docker ps -a"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    for snapshot in engines(seen):
        expected = snapshot.docker.expected
        if not expected:
            yield skipped(snapshot.target, "agent.toml names no expected containers under [docker]")
            continue
        missing = [made for name in expected if (made := _missing(snapshot, name))]
        yield from missing
        if not missing:
            yield all_well(snapshot, f"all {len(expected)} expected containers run", COMMAND)


def _missing(snapshot: Snapshot, name: str) -> Finding | None:
    everybody = (*snapshot.docker.containers, *snapshot.docker.listed)
    found = [item for item in everybody if is_called(item, (name,))]
    if any(item.state == "running" for item in found):
        return None
    state = f"is {found[0].state}" if found else "does not exist"
    return finding(
        STATUS_CRIT,
        snapshot.target,
        f"container {name} is expected and {state}",
        kind="container",
        name=name,
        service=name,
        equal_command=COMMAND,
        next_step=NEXT_STOPPED if found else NEXT_GONE,
    )
