"""The Docker engine answers within 3 seconds.

A hung engine takes no orders though its containers may run on. Restarting it stops them all unless live-restore is on.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Limits, Seen, finding, metric, seconds
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("docker",)
UNANSWERED = STATUS_CRIT
NEXT = (
    "look at the disk under its data root and at journalctl -u docker; "
    "do not restart it before you know whether live-restore is on"
)


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    for snapshot in seen.of("docker"):
        yield _judged(snapshot)


def _judged(snapshot: Snapshot) -> Finding:
    docker = snapshot.docker
    command = f"docker -H {shlex.quote(f'unix://{snapshot.target.socket}')} info"
    if docker.error_class:
        summary = f"the engine gives no answer ({docker.error_class}): {docker.error_text}"
        return finding(STATUS_CRIT, snapshot.target, summary, equal_command=command, next_step=NEXT)
    took = seconds(docker.ping)
    everybody = (*docker.containers, *docker.listed)
    running = sum(item.state == "running" for item in everybody)
    summary = (
        f"answers in {1000 * took:.0f} ms, version {docker.version}, cgroup v{docker.cgroup_version}, "
        f"{running} of {len(everybody)} containers running"
    )
    measured = [metric("ping_seconds", took, "seconds")]
    return finding(STATUS_OK, snapshot.target, summary, metrics=measured, equal_command=command)
