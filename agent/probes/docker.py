"""The Docker engine and its containers, by GETs on its socket alone."""

import http.client
import re
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from agent import budgets, cgroups, mounts, procfs, redact
from agent.config import Config
from agent.engine import Engine, EngineError
from agent.jobs import NeedsRight
from agent.procfs import Process
from fleetmedic.v1.snapshot_pb2 import Container, DockerSnapshot, Snapshot, Target

# Containers that are inspected one by one; of those beyond, the list's own row is all that is known.
MOST_INSPECTED = 200
# What the list says of time: "Up 3 seconds", "Exited (1) 2 hours ago", "About a minute".
UNITS = ("second", "minute", "hour", "day", "week", "month", "year")
EXIT = re.compile(r"Exited \((-?\d+)\)")
NEVER = "0001-01-01"
LONGEST_OUTPUT = 2000
DEFAULT_PERIOD = 100_000
ODD = frozenset({"Z", "D"})
# Seconds that a process must stay so to be odd.
ODD_FOR = 0.3
# How a container ends that is told to stop, heeding it or not; `docker restart` does so too, and starts it again.
STOPPED = frozenset({0, 130, 143, 137})
# Seconds that the engine may take for it, and between two looks.
SETTLED = 2.0
LOOK_AGAIN = 0.2
# Instead of a restart policy, where the engine did not tell.
UNKNOWN = "unknown"


def collect(target: Target, config: Config) -> Snapshot:
    made = DockerSnapshot(expected=config.docker_expected)
    engine = Engine(target.socket, budgets.DOCKER_SOCKET)
    began = time.monotonic()
    try:
        engine.ping()
        made.ping.FromNanoseconds(int((time.monotonic() - began) * 1e9))
        _about(engine, made)
        read_containers(engine, made)
        settle(engine, made, began + SETTLED, time.time())
        _read_use(made)
    except PermissionError as error:
        raise NeedsRight(f"needs root, or the docker group, for {target.socket}") from error
    except TimeoutError:
        made.error_class, made.error_text = "timeout", f"no answer in {budgets.DOCKER_SOCKET:g} s"
    except (FileNotFoundError, ConnectionRefusedError) as error:
        made.error_class, made.error_text = "refused", error.strerror or "refused"
    except OSError as error:
        made.error_class, made.error_text = "cut", error.strerror or type(error).__name__
    except EngineError as error:
        made.error_class, made.error_text = "error", redact.text(str(error))
    return Snapshot(docker=made)


def _about(engine: Engine, made: DockerSnapshot) -> None:
    made.version = str(engine.version().get("Version", ""))
    info = engine.info()
    made.cgroup_version = str(info.get("CgroupVersion", ""))
    made.live_restore = info.get("LiveRestoreEnabled") is True
    warnings = info.get("Warnings")
    if isinstance(warnings, list):
        made.warnings.extend(str(line) for line in warnings)


def read_containers(engine: Engine, made: DockerSnapshot) -> None:
    """Fills in `containers` and, beyond MOST_INSPECTED, `listed`."""
    rows = sorted(engine.containers(), key=lambda row: _rank(row, made.expected))
    made.listed.extend(_listed(row) for row in rows[MOST_INSPECTED:])
    for row in rows[:MOST_INSPECTED]:
        try:
            seen = engine.inspect(str(row["Id"]))
        except EngineError as error:
            # 404: removed since it was listed.
            if error.status != http.client.NOT_FOUND:
                made.containers.append(_uninspected(row, error))
            continue
        made.containers.append(_container(seen))


def settle(engine: Engine, made: DockerSnapshot, deadline: float, now: float) -> None:
    """Looks at containers that were stopped a moment ago until they run again, or until `deadline` (monotonic)."""
    while stopped := [item for item in made.containers if _just_stopped(item, made.expected, now)]:
        if time.monotonic() > deadline:
            return
        time.sleep(LOOK_AGAIN)
        for item in stopped:
            try:
                item.CopyFrom(_container(engine.inspect(item.id)))
            except EngineError as error:
                if error.status != http.client.NOT_FOUND:
                    return
                made.containers.remove(item)


def _just_stopped(container: Container, expected: Collection[str], now: float) -> bool:
    named = container.name in expected or container.compose_service in expected
    stays = named or container.restart_policy not in ("", "no", UNKNOWN)
    stopped = container.state == "exited" and container.exit_code in STOPPED and not container.oom_killed
    return stays and stopped and now - container.finished_time.seconds < SETTLED


def _rank(row: Mapping[str, Any], expected: Collection[str]) -> tuple[bool, bool, int, bool]:
    """Expected ones first, then those that restart, then what began or ended last, ended before running."""
    known = _listed(row)
    said = str(row.get("Status", ""))
    since = next((rank for rank, unit in enumerate(UNITS) if unit in said), len(UNITS))
    named = known.name in expected or (known.compose_service != "" and known.compose_service in expected)
    return not named, known.state != "restarting", since, known.state == "running"


def _listed(row: Mapping[str, Any]) -> Container:
    """What /containers/json tells of a container; its names include its links, as /other/alias."""
    names = [str(name).removeprefix("/") for name in row.get("Names") or []]
    labels = row.get("Labels") or {}
    code = EXIT.match(str(row.get("Status", "")))
    return Container(
        id=str(row.get("Id", "")),
        name=next((name for name in names if "/" not in name), ""),
        image=str(row.get("Image", "")),
        image_id=str(row.get("ImageID", "")),
        state=str(row.get("State", "")),
        exit_code=int(code[1]) if code else 0,
        compose_project=str(labels.get("com.docker.compose.project", "")),
        compose_service=str(labels.get("com.docker.compose.service", "")),
    )


def _uninspected(row: Mapping[str, Any], error: EngineError) -> Container:
    """What the list told of a container that the engine can't describe: one that is broken in itself."""
    made = _listed(row)
    made.restart_policy = UNKNOWN
    made.error = f"the engine can't inspect it: {redact.text(str(error))}"
    return made


def _container(seen: Mapping[str, Any]) -> Container:
    state, host = seen.get("State") or {}, seen.get("HostConfig") or {}
    labels = (seen.get("Config") or {}).get("Labels") or {}
    policy = host.get("RestartPolicy") or {}
    health = state.get("Health") or {}
    made = Container(
        id=seen.get("Id", ""),
        name=str(seen.get("Name", "")).lstrip("/"),
        image=(seen.get("Config") or {}).get("Image", ""),
        image_id=seen.get("Image", ""),
        state=state.get("Status", ""),
        exit_code=state.get("ExitCode", 0),
        oom_killed=state.get("OOMKilled", False),
        error=redact.text(state.get("Error", "")),
        restart_count=seen.get("RestartCount", 0),
        restart_policy=policy.get("Name", ""),
        max_retries=policy.get("MaximumRetryCount", 0),
        health=health.get("Status", ""),
        failing_streak=health.get("FailingStreak", 0),
        compose_project=labels.get("com.docker.compose.project", ""),
        compose_service=labels.get("com.docker.compose.service", ""),
        passing=host.get("AutoRemove", False) or labels.get("com.docker.compose.oneoff") == "True",
    )
    made.pid = state.get("Pid", 0)
    made.cpu_limit = _processors(host)
    made.image_version = str(labels.get("org.opencontainers.image.version", ""))
    made.image_revision = str(labels.get("org.opencontainers.image.revision", ""))
    networks = (seen.get("NetworkSettings") or {}).get("Networks") or {}
    made.addresses.extend(filter(None, (str(item.get("IPAddress") or "") for item in networks.values())))
    _read_health(made, state)
    _stamp(made.created_time, seen.get("Created", ""))
    _stamp(made.started_time, state.get("StartedAt", ""))
    _stamp(made.finished_time, state.get("FinishedAt", ""))
    return made


def _read_health(made: Container, state: Mapping[str, Any]) -> None:
    """The newest entry of this start: Docker keeps those from before a restart (checks.md D15)."""
    log = (state.get("Health") or {}).get("Log") or []
    started = _instant(state.get("StartedAt"))
    fresh = [entry for entry in log if _instant(entry.get("End")) >= started]
    if fresh:
        made.health_output = redact.text(str(fresh[-1].get("Output", "")))[:LONGEST_OUTPUT]
        made.health_exit_code = int(fresh[-1].get("ExitCode", 0))


def _instant(text: object) -> datetime:
    """In whatever zone it is told: a start is in UTC, the end of a check has the daemon's own offset."""
    try:
        made = datetime.fromisoformat(str(text))
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return made if made.tzinfo else made.replace(tzinfo=UTC)


def _processors(host: Mapping[str, Any]) -> float:
    """How many it may use: --cpus, or --cpu-quota with its period; 0 for no limit."""
    nano, quota, period = (host.get(name) or 0 for name in ("NanoCpus", "CpuQuota", "CpuPeriod"))
    return nano / 1e9 if nano else max(0.0, quota / (period or DEFAULT_PERIOD))


def _read_use(made: DockerSnapshot) -> None:
    """What the kernel counts for each running container: milliseconds, where the engine takes a second for each."""
    running = {item.id: item for item in made.containers if item.pid}
    if not running:
        return
    mounted = cgroups.hierarchies(mounts.MOUNTINFO.read_text())
    host_network = procfs.namespace("self", "net")
    for item in running.values():
        seen = cgroups.use(item.pid, item.id, mounted)
        if seen is None:
            continue
        item.use.cpu_seconds, item.use.memory_bytes = seen.cpu_seconds, seen.memory_bytes
        item.use.memory_limit_bytes, item.use.oom_kills = seen.limit_bytes, seen.oom_kills
        if procfs.namespace(item.pid, "net") not in ("", host_network):
            for name, value in procfs.traffic(item.pid).items():
                setattr(item.use, name, value)
    _read_processes(running)


def _read_processes(running: Mapping[str, Container]) -> None:
    odd: list[tuple[Container, Process]] = []
    for process in procfs.processes():
        owner = running.get(procfs.container_id(process.pid))
        if owner is None or not owner.HasField("use"):
            continue
        owner.use.processes += 1
        if process.state in ODD:
            odd.append((owner, process))
    if odd:
        # Every process is a zombie for the moment until its parent looks.
        time.sleep(ODD_FOR)
    for owner, process in odd:
        again = procfs.read_process(process.pid)
        if again and (again.start_ticks, again.state) == (process.start_ticks, process.state):
            owner.use.odd.add(
                pid=process.pid, name=process.name, state=process.state, age_seconds=procfs.age_seconds(process)
            )


def _stamp(field: Timestamp, text: str) -> None:
    if text and not text.startswith(NEVER):
        # Docker writes nanoseconds, fromisoformat reads microseconds.
        field.FromDatetime(datetime.fromisoformat(text[:19]).replace(tzinfo=UTC))
