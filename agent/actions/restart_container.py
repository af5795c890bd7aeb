"""Restarts a container that agent.toml lists, keeps before what a restart loses, and waits until it is well.

Once, and never in a loop: restarts hide leaks. Never one that holds data, nor one that its engine would remove.
"""

import docker

from agent import procfs, redact
from agent.action import Hand, not_allowed, not_now
from agent.actions import containers
from agent.actions.containers import Seen
from agent.check import Medic
from agent.discovery import POSTGRES_NAMES, REDIS_NAMES
from fleetmedic.v1.action_pb2 import RISK_MODERATE, Plan, RestartContainer

RISK = RISK_MODERATE
CURES = ("DOCKER-UNHEALTHY",)
SETTLE = 10.0
# Part of an image's own name, or the name of a process: what keeps data that a restart can hurt.
IMAGES = (
    "postgres",
    "postgis",
    "timescale",
    "redis",
    "valkey",
    "keydb",
    "mysql",
    "mariadb",
    "percona",
    "mongo",
    "rabbitmq",
    "kafka",
    "zookeeper",
    "etcd",
    "elasticsearch",
    "opensearch",
    "cassandra",
    "clickhouse",
    "influxdb",
    "minio",
)
PROCESSES = POSTGRES_NAMES | REDIS_NAMES | {"mysqld", "mariadbd", "mongod", "rabbitmq-server", "etcd", "minio"}
TIMED_OUT = -1


def plan(asked: RestartContainer, medic: Medic) -> Plan:
    seen = containers.named(asked.container, medic)
    _hold_to(seen, medic)
    made = containers.draft(seen, "restart")
    signal = seen.settings.get("StopSignal") or "SIGTERM"
    made.steps.append(f"restart it: {signal}, and SIGKILL after {seen.stop_seconds} s")
    made.steps.append(
        f"wait up to {containers.patience(seen):.0f} s until it {_wanted(seen)}; once, whatever comes of it"
    )
    made.irreversible = "what it has in memory and its count of restarts are lost; the evidence is kept before"
    made.equal_commands.extend(
        (
            f"{seen.docker} top {seen.name}",
            f"{seen.docker} stats --no-stream {seen.name}",
            f"{seen.docker} restart -t {seen.stop_seconds} {seen.name}",
            f"{seen.docker} inspect -f '{{{{json .State}}}}' {seen.name}",
        )
    )
    made.warnings.extend(_warnings(seen))
    return made


def _wanted(seen: Seen) -> str:
    if seen.health:
        return "runs and a health check of this start succeeds"
    return f"has run for {containers.STEADY:.0f} s, for it has no health check"


def _hold_to(seen: Seen, medic: Medic) -> None:
    """Refused where it is not to be restarted, with what to do instead."""
    name = seen.name
    if seen.state == "paused":
        raise not_now(f"{name} is paused: unpause it first, a frozen process can't stop")
    if seen.state != "running":
        raise not_now(f"{name} {containers.told(seen)}: only one that runs is restarted")
    if seen.passing:
        raise not_allowed(f"{name} was started with --rm: its engine would remove it; by hand, start another instead")
    if why := _holds_data(seen, medic):
        raise not_allowed(
            f"{name} holds data ({why}), and is not restarted by this action; by hand, when its data is on disk (a "
            f"CHECKPOINT, a finished BGSAVE): docker restart {name}"
        )
    if not 0 <= seen.stop_seconds <= containers.LONGEST_STOP:
        raise not_allowed(
            f"{name} may take {'as long as it likes' if seen.stop_seconds < 0 else f'{seen.stop_seconds} s'} to stop "
            f"(StopTimeout); by hand: docker restart {name}"
        )


def _holds_data(seen: Seen, medic: Medic) -> str:
    """Why it is taken to hold data; "" where it is not."""
    if medic.config.actions.holds_data(seen.name):
        return "agent.toml says so"
    # Of REGISTRY/PATH/NAME:TAG@DIGEST the name.
    image = str(seen.settings.get("Image", "")).rpartition("/")[2].partition("@")[0].partition(":")[0]
    if any(part in image for part in IMAGES):
        return f"image {image}"
    running = {process.name for process in procfs.processes() if procfs.container_id(process.pid) == seen.id}
    found = sorted(running & PROCESSES)
    return f"process {found[0]}" if found else ""


def _warnings(seen: Seen) -> list[str]:
    made = ["connections that are open to it are cut"]
    if seen.sharing:
        made.append(f"{', '.join(seen.sharing)} live in its network, and must be restarted after it")
    if seen.health == "healthy":
        made.append("its health check succeeds: nothing here says that it needs a restart")
    checks = containers.fresh_checks(seen)
    if seen.health == "unhealthy" and checks and checks[-1].get("ExitCode") != TIMED_OUT:
        said = redact.text(str(checks[-1].get("Output", ""))).strip()[: containers.LONGEST_WORD]
        made.append(f"its check says: {said or 'nothing'}; where a dependency is down a restart does not help")
    return made


def apply(planned: Plan, hand: Hand, medic: Medic) -> str:
    def restart(client: docker.APIClient, seen: Seen) -> None:
        client.restart(seen.id, timeout=seen.stop_seconds)

    return containers.until_well(containers.act(planned, hand, medic, restart), hand, "restarted")


def happened(planned: Plan, medic: Medic) -> str:
    return containers.happened(planned, medic)
