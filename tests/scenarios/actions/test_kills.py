"""Whoever is killed at whatever moment of an operation: nothing is done twice, and how it ended is never lost."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetmedic.v1.action_pb2 import Action, FlushKeys
from tests.lab import agents
from tests.lab import redis as servers
from tests.lab.redis import Redis
from tests.scenarios.actions import killing
from tests.scenarios.actions.killing import MOMENTS, VICTIMS, Victim

REDIS_PORT = 6392
CONFIG = f"""
[[redis]]
service = "carts"
host = "127.0.0.1"
port = {REDIS_PORT}

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
def agent(lab: Path, server: Redis) -> Iterator[Victim]:
    """Run the agent that is killed."""
    with killing.agent(agents.desk(lab / "kills"), "db01", CONFIG) as running:
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
