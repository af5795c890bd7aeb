"""Whoever is killed at whatever moment of an operation: nothing is done twice, and how it ended is never lost."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from fleetmedic.v1.action_pb2 import Action, FlushKeys, RestartContainer
from tests.lab import agents, images
from tests.lab import redis as servers
from tests.lab.dockerd import Engine
from tests.lab.redis import Redis
from tests.scenarios.actions import killing
from tests.scenarios.actions.killing import MOMENTS, VICTIMS, Victim

REDIS_PORT = 6392
CONTAINER = "kills-orders"
CONFIG = f"""
[docker]
socket = "{{socket}}"

[[redis]]
service = "carts"
host = "127.0.0.1"
port = {REDIS_PORT}

[actions]
containers = ["{CONTAINER}"]

[[actions.keys]]
service = "carts"
pattern = "cache:*"
"""
CELLS = itertools.count(1)


@pytest.fixture(scope="module")
def server(lab: Path) -> Iterator[Redis]:
    """Run a Redis whose keys are deleted."""
    with servers.run(lab / "kills-redis", port=REDIS_PORT) as running:
        yield running


@pytest.fixture(scope="module")
def agent(lab: Path, server: Redis, engine: Engine) -> Iterator[Victim]:
    """Run the agent that is killed."""
    config = CONFIG.replace("{socket}", str(engine.socket))
    with killing.agent(agents.desk(lab / "kills"), "db01", config) as running:
        yield running


@pytest.fixture(scope="module")
def container(engine: Engine) -> Iterator[Container]:
    """Run a container that each cell restarts."""
    with images.run_container(engine, CONTAINER, ["sleep", "600"], init=True) as running:
        yield running


class Emptied:
    """Counts how often the keys were deleted: each time it finds none, it makes them anew."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._times = 0
        self._fill()

    def __call__(self) -> int:
        if not self._client.dbsize():
            self._times += 1
            self._fill()
        return self._times

    def _fill(self) -> None:
        self._client.mset({f"cache:{number}": "x" for number in range(50)})


@pytest.mark.covers("sec:R1", "sec:A7")
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_keys_are_deleted_once_or_not_at_all(agent: Victim, server: Redis, moment: str, victim: str) -> None:
    with server.client() as client:
        client.flushall()
        flush = Action(flush_keys=FlushKeys(service="carts", pattern="cache:*"))
        result = killing.kill_at(moment, victim, agent, flush, Emptied(client), f"O-{next(CELLS)}")
    if "interrupted" in result:
        left = 0 if moment in ("effect done", "before result") else 50
        assert f"{left} of 50 keys still match cache:*" in result


class Restarts:
    """Counts a container's restarts by the engine's own events."""

    def __init__(self, engine: Engine, container: Container) -> None:
        self._engine = engine
        self._filters = {"event": "restart", "container": container.id}
        self._since = time.time_ns()

    def __call__(self) -> int:
        since, until = self._since // 10**9, int(time.time()) + 1
        seen = self._engine.client.api.events(since=since, until=until, filters=self._filters, decode=True)
        return sum(event["timeNano"] > self._since for event in seen)


@pytest.mark.covers("sec:R1", "sec:A7")
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_container_is_restarted_once_or_not_at_all(
    agent: Victim, engine: Engine, container: Container, moment: str, victim: str
) -> None:
    restart = Action(restart_container=RestartContainer(container=CONTAINER))
    result = killing.kill_at(moment, victim, agent, restart, Restarts(engine, container), f"O-{next(CELLS)}")
    if "interrupted" in result:
        said = "was restarted at" if moment in ("effect done", "before result") else "as when it was planned"
        assert said in result
