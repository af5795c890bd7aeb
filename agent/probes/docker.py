"""The Docker engine and its containers, by GETs on its socket alone."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from agent import budgets, redact
from agent.config import Config
from agent.engine import Engine, EngineError
from agent.jobs import NeedsRight
from fleetmedic.v1.snapshot_pb2 import Container, DockerSnapshot, Snapshot, Target

# Containers that are inspected one by one; beyond this only the ones in trouble are.
MOST_INSPECTED = 200
NEVER = "0001-01-01"


def collect(target: Target, config: Config) -> Snapshot:
    made = DockerSnapshot(expected=config.docker_expected)
    engine = Engine(target.socket, budgets.DOCKER_SOCKET)
    began = time.monotonic()
    try:
        engine.ping()
        made.ping.FromNanoseconds(int((time.monotonic() - began) * 1e9))
        _about(engine, made)
        _containers(engine, made)
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


def _containers(engine: Engine, made: DockerSnapshot) -> None:
    listed = engine.containers()
    for row in sorted(listed, key=lambda row: row.get("State") == "running")[:MOST_INSPECTED]:
        try:
            seen = engine.inspect(str(row["Id"]))
        except EngineError:
            # Removed since it was listed.
            continue
        made.containers.append(_container(seen))


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
