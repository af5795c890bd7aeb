"""Whoever is killed at whatever moment of an operation: nothing is done twice, and how it ended is never lost."""

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from docker.models.containers import Container

from fleetmedic.v1.action_pb2 import Action, FlushKeys, RestartContainer, TerminateSession
from tests.lab import agents, images, locks, postgres
from tests.lab import redis as servers
from tests.lab.dockerd import Engine
from tests.lab.postgres import Postgres
from tests.lab.redis import Redis
from tests.lab.waiting import until
from tests.scenarios.actions import killing
from tests.scenarios.actions.killing import MOMENTS, VICTIMS, Victim

REDIS_PORT = 6392
POSTGRES_PORT = 5472
ENDED = "terminating connection due to administrator command"
CONTAINER = "kills-orders"
CONFIG = f"""
[docker]
socket = "{{socket}}"

[[redis]]
service = "carts"
host = "127.0.0.1"
port = {REDIS_PORT}

[[postgres]]
service = "orders-db"
socket = "{{sockets}}"
port = {POSTGRES_PORT}
user = "fleetmedic"

[actions]
containers = ["{CONTAINER}"]
sessions = ["orders-db"]

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
def database(lab: Path) -> Iterator[Postgres]:
    """Run a PostgreSQL whose sessions are ended."""
    with postgres.run(lab / "kills-postgres", port=POSTGRES_PORT) as running:
        locks.prepared(running)
        with contextlib.closing(running.connect(autocommit=True)) as session:
            session.execute("CREATE ROLE fleetmedic LOGIN")
            session.execute("GRANT pg_monitor, pg_signal_backend TO fleetmedic")
        yield running


@pytest.fixture(scope="module")
def agent(lab: Path, server: Redis, engine: Engine, database: Postgres) -> Iterator[Victim]:
    """Run the agent that is killed."""
    config = CONFIG.replace("{socket}", str(engine.socket)).replace("{sockets}", str(database.sockets))
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


@contextlib.contextmanager
def blocked(database: Postgres) -> Iterator[int]:
    """Have a session wait for another one that idles in its transaction; give this one's pid."""
    update = "UPDATE stock SET count = count WHERE id = 1"
    with (
        contextlib.closing(database.connect("app")) as root,
        contextlib.closing(database.connect("app", autocommit=True)) as victim,
        contextlib.closing(database.connect(autocommit=True)) as watcher,
    ):
        root.execute(update)
        thread = threading.Thread(target=victim.execute, args=(update,), daemon=True)
        thread.start()
        question = "SELECT cardinality(pg_blocking_pids(%s))"
        until("it waits", lambda: watcher.execute(question, (victim.info.backend_pid,)).fetchone() == (1,))
        yield root.info.backend_pid
        with contextlib.suppress(psycopg.Error):
            root.rollback()
        thread.join(10)


@pytest.mark.covers("sec:R1", "sec:A7")
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_session_is_ended_once_or_not_at_all(agent: Victim, database: Postgres, moment: str, victim: str) -> None:
    before = database.log.read_text().count(ENDED)
    free = Action(terminate_session=TerminateSession(service="orders-db"))
    with blocked(database) as root:
        result = killing.kill_at(
            moment, victim, agent, free, lambda: database.log.read_text().count(ENDED) - before, f"O-{next(CELLS)}"
        )
    if "interrupted" in result:
        said = "gone" if moment in ("effect done", "before result") else "idle in transaction"
        assert f"session {root} is {said}" in result
