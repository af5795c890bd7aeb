"""Errors of the last minutes in the logs of running and just ended containers, counted by endpoint."""

import time
from collections import Counter

from agent import budgets, log_lines, redact
from agent.config import Config
from agent.engine import Engine, EngineError
from agent.jobs import NeedsRight
from fleetmedic.v1.snapshot_pb2 import ErrorsSnapshot, Snapshot, Target

WINDOW = 900
MOST_CONTAINERS = 100
# Of each container, the last ones; a line of 400 bytes is a long one.
MOST_LINES = 20_000
MOST_BYTES = 8 * 1024 * 1024
MOST_ENDPOINTS = 50


def collect(target: Target, config: Config) -> Snapshot:
    del config
    engine = Engine(target.socket, budgets.DOCKER_SOCKET)
    made = ErrorsSnapshot(window_seconds=WINDOW)
    end = time.monotonic() + budgets.LOGS
    try:
        rows = engine.containers()
    except PermissionError as error:
        raise NeedsRight(f"needs root, or the docker group, for {target.socket}") from error
    for place, row in enumerate(sorted(rows, key=lambda row: row.get("State") != "running")):
        names = row.get("Names")
        name = str(names[0] if isinstance(names, list) and names else "").lstrip("/")
        if place >= MOST_CONTAINERS or time.monotonic() > end:
            made.unread.add(container=name, reason="no time left" if place < MOST_CONTAINERS else "too many containers")
            continue
        try:
            _count(engine, str(row.get("Id", "")), name, made)
        except (EngineError, OSError) as error:
            made.unread.add(container=name, reason=redact.text(str(error)) or type(error).__name__)
    return Snapshot(errors=made)


def _count(engine: Engine, identity: str, name: str, made: ErrorsSnapshot) -> None:
    body = engine.log(identity, int(time.time()) - WINDOW, MOST_LINES, MOST_BYTES)
    paths: Counter[str] = Counter()
    lines = 0
    for line in log_lines.unframed(body):
        lines += 1
        path = log_lines.error_path(line)
        if path is not None:
            paths[path] += 1
    if len(body) >= MOST_BYTES or lines >= MOST_LINES:
        made.unread.add(container=name, reason=f"only {lines} lines of its log were read")
    for path, count in paths.most_common(MOST_ENDPOINTS):
        made.endpoints.add(container_id=identity, container=name, path=path, count=count)
