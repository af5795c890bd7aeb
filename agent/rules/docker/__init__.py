"""Rules about the Docker engine and its containers, and which containers ought to run."""

from collections.abc import Collection, Iterator

from agent.rule import Seen, finding, skipped
from fleetmedic.v1.finding_pb2 import STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Container, DockerSnapshot, Snapshot

# "unknown" where the engine can't inspect it: nobody said that it may end.
STAYING = frozenset({"always", "unless-stopped", "unknown"})


def service(container: Container) -> str:
    return container.compose_service or container.name


def services(seen: DockerSnapshot) -> set[str]:
    return {service(item) for item in (*seen.containers, *seen.listed)}


def is_called(container: Container, names: Collection[str]) -> bool:
    """By its name, or by its compose service: compose's own names differ between its versions."""
    return container.name in names or container.compose_service in names


def ought_to_run(container: Container, docker: DockerSnapshot) -> bool:
    """Expected by configuration, or started so that the engine would start it again."""
    if is_called(container, docker.expected):
        return True
    # After a success the engine leaves an on-failure container ended: it was a job, and is done.
    again = container.restart_policy == "on-failure" and container.exit_code != 0
    return not container.passing and (again or container.restart_policy in STAYING)


def counted(snapshot: Snapshot) -> list[Container]:
    """Running containers that the kernel's counters tell of."""
    return [item for item in snapshot.docker.containers if item.state == "running" and item.HasField("use")]


def uncounted(snapshot: Snapshot, what: str) -> Finding | None:
    """What to say where containers run and the kernel's counters of none of them may be read."""
    running = any(item.state == "running" for item in snapshot.docker.containers)
    return (
        skipped(snapshot.target, f"needs root to read the {what} of containers")
        if running and not counted(snapshot)
        else None
    )


def engines(seen: Seen) -> Iterator[Snapshot]:
    """Engines that answered; of one that did not, DOCKER-DAEMON speaks."""
    return (snapshot for snapshot in seen.of("docker") if not snapshot.docker.error_class)


def all_well(snapshot: Snapshot, summary: str, command: str) -> Finding:
    return finding(STATUS_OK, snapshot.target, summary, equal_command=command)
