"""The Docker engine and its containers, by GETs on its socket alone."""

import http.client
import re
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from agent import budgets, redact
from agent.config import Config
from agent.engine import Engine, EngineError
from agent.jobs import NeedsRight
from fleetmedic.v1.snapshot_pb2 import Container, DockerSnapshot, Snapshot, Target

# Containers that are inspected one by one; of those beyond, the list's own row is all that is known.
MOST_INSPECTED = 200
# What the list says of time: "Up 3 seconds", "Exited (1) 2 hours ago", "About a minute".
UNITS = ("second", "minute", "hour", "day", "week", "month", "year")
EXIT = re.compile(r"Exited \((-?\d+)\)")
NEVER = "0001-01-01"
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
        health_output=_last_output(health),
        compose_project=labels.get("com.docker.compose.project", ""),
        compose_service=labels.get("com.docker.compose.service", ""),
        passing=host.get("AutoRemove", False) or labels.get("com.docker.compose.oneoff") == "True",
    )
    _stamp(made.started_time, state.get("StartedAt", ""))
    _stamp(made.finished_time, state.get("FinishedAt", ""))
    return made


def _last_output(health: Mapping[str, Any]) -> str:
    log = health.get("Log") or []
    return redact.text(str(log[-1].get("Output", "")))[:2000] if log else ""


def _stamp(field: Timestamp, text: str) -> None:
    if text and not text.startswith(NEVER):
        # Docker writes nanoseconds, fromisoformat reads microseconds.
        field.FromDatetime(datetime.fromisoformat(text[:19]).replace(tzinfo=UTC))
