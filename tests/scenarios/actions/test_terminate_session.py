"""Sessions of a real PostgreSQL are ended as planned: those that keep others waiting, with the least harm."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from fleetmedic.v1.action_pb2 import OPERATION_STATE_DONE, Action, TerminateSession
from fleetmedic.v1.local_pb2 import (
    REFUSAL_KIND_FAILED_PRECONDITION,
    REFUSAL_KIND_NOT_FOUND,
    REFUSAL_KIND_NOT_PERMITTED,
)
from tests.lab import locks
from tests.lab import postgres as servers
from tests.lab.postgres import Postgres
from tests.lab.waiting import until
from tests.scenarios.actions import operating
from tests.scenarios.actions.operating import Operator

PORT = 5471
REASON = "many tests, one server"
LOGIN = """
[[postgres]]
service = "orders-db"
socket = "{sockets}"
port = 5471
user = "fleetmedic"
"""
PERMITTED = '\n[actions]\nsessions = ["orders-*"]\n'
FREE = Action(terminate_session=TerminateSession(service="orders-db"))


@pytest.fixture(scope="module")
def server(lab: Path) -> Iterator[Postgres]:
    """Run a PostgreSQL whose agent may end sessions."""
    with servers.run(lab / "ending", port=PORT) as running:
        locks.prepared(running)
        with contextlib.closing(running.connect(autocommit=True)) as session:
            session.execute("CREATE ROLE fleetmedic LOGIN")
            session.execute("GRANT pg_monitor, pg_signal_backend TO fleetmedic")
            session.execute("ALTER TABLE stock OWNER TO app")
        yield running


@pytest.fixture(scope="module")
def operator(lab: Path, server: Postgres) -> Iterator[Operator]:
    """Run a worker that may end sessions."""
    config = LOGIN.replace("{sockets}", str(server.sockets)) + PERMITTED
    with operating.working(lab / "ending-agent", config) as working:
        yield working


@contextlib.contextmanager
def session(server: Postgres, role: str = "app", **more: Any) -> Iterator[psycopg.Connection]:
    """Give a session, which may be ended meanwhile."""
    with contextlib.closing(server.connect(role, **more)) as made:
        yield made


@contextlib.contextmanager
def waiting(server: Postgres, statement: str, **more: Any) -> Iterator[list[str]]:
    """Run a statement that waits for a lock; what becomes of it is in the list."""
    ending: list[str] = []
    with session(server, **more) as made:

        def run() -> None:
            try:
                made.execute(statement.encode())
                made.rollback()
                ending.append("went on")
            except psycopg.Error as error:
                ending.append(type(error).__name__)

        thread = threading.Thread(target=run, daemon=True)
        before = waiters(server)
        thread.start()
        until("it waits", lambda: waiters(server) > before)
        yield ending
        thread.join(10)


def waiters(server: Postgres) -> int:
    with contextlib.closing(server.connect(autocommit=True)) as watcher:
        row = watcher.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
    assert row is not None
    return int(row[0])


def there(server: Postgres) -> set[int]:
    with contextlib.closing(server.connect(autocommit=True)) as watcher:
        rows = watcher.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'").fetchall()
        return {row[0] for row in rows} - {watcher.info.backend_pid}


UPDATE = "UPDATE stock SET count = count WHERE id = 1"


@pytest.mark.covers("exp:F3")
def test_the_session_that_idles_in_its_transaction_is_ended_and_all_that_wait_go_on(
    operator: Operator, server: Postgres
) -> None:
    with session(server, application_name="leaky") as root, session(server, application_name="innocent") as innocent:
        root.execute(UPDATE)
        innocent.execute("UPDATE stock SET count = count WHERE id = 2")
        with waiting(server, UPDATE) as first, waiting(server, UPDATE) as second:
            plan = operator.plan(FREE, reason=REASON)
            (effect,) = plan.effects
            assert (effect.does, effect.identity.partition(" ")[0]) == ("terminate", str(root.info.backend_pid))
            assert plan.summary == f"terminate {root.info.backend_pid}: 2 waiting sessions can go on"
            assert "rolled back" in plan.irreversible
            before = there(server)
            assert root.info.backend_pid in before
            ended = operator.apply(plan)
            assert ended.state == OPERATION_STATE_DONE, ended.result
            assert ended.result == f"session {root.info.backend_pid} is ended"
            assert before - there(server) == {root.info.backend_pid}
            until("both went on", lambda: (first, second) == (["went on"], ["went on"]))
        innocent.execute("SELECT 1")
        assert b"leaky" in operator.evidence(ended, "sessions.json")


@pytest.mark.covers("exp:F3")
def test_of_a_root_that_works_only_the_statement_is_cancelled(operator: Operator, server: Postgres) -> None:
    with session(server) as root:
        root.execute(UPDATE)
        working = threading.Thread(target=slow, args=(root,), daemon=True)
        working.start()
        with waiting(server, UPDATE) as victim:
            plan = operator.plan(FREE, reason=REASON)
            assert [effect.does for effect in plan.effects] == ["cancel"]
            ended = operator.apply(plan)
            assert ended.result == f"the statement of session {root.info.backend_pid} is cancelled"
            until("the victim went on", lambda: victim == ["went on"])
        working.join(10)
        root.rollback()
        assert root.execute("SELECT 1").fetchone() == (1,)


def slow(root: psycopg.Connection) -> None:
    with contextlib.suppress(psycopg.errors.QueryCanceled):
        root.execute("SELECT pg_sleep(30)")


@pytest.mark.covers("exp:F3")
def test_a_schema_change_that_others_queue_behind_is_cancelled_and_whoever_it_waits_for_is_left_alone(
    operator: Operator, server: Postgres
) -> None:
    with session(server) as reader:
        reader.execute("SELECT * FROM stock")
        with (
            waiting(server, "ALTER TABLE stock ADD note text", application_name="migration") as change,
            waiting(server, "SELECT * FROM stock") as victim,
        ):
            ended = operator.apply(operator.plan(FREE, reason=REASON))
            assert ended.state == OPERATION_STATE_DONE, ended.result
            until("the change is cancelled", lambda: change == ["QueryCanceled"])
            until("the reader behind it went on", lambda: victim == ["went on"])
        assert reader.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.covers("exp:F3")
@pytest.mark.parametrize(
    ("role", "application", "said"),
    [("postgres", "psql", "a superuser's"), ("app", "pg_dump", "a backup or upkeep (pg_dump)")],
)
def test_no_session_is_ended_that_is(
    operator: Operator, server: Postgres, role: str, application: str, said: str
) -> None:
    with session(server, role, application_name=application) as root:
        root.execute(UPDATE)
        with waiting(server, UPDATE):
            refusal = operator.refused(FREE)
            assert refusal.kind == REFUSAL_KIND_NOT_PERMITTED
            assert said in refusal.reason
            assert root.info.backend_pid in there(server)
            root.rollback()


@pytest.mark.covers("exp:F3", "sec:A8")
def test_a_session_that_is_gone_or_another_s_by_now_refuses_the_plan_and_nothing_is_ended(
    operator: Operator, server: Postgres
) -> None:
    with session(server) as other, session(server) as root:
        root.execute(UPDATE)
        with waiting(server, UPDATE) as victim:
            plan = operator.plan(FREE, reason=REASON)
            root.close()
            until("the victim went on", lambda: victim == ["went on"])
        other.execute(UPDATE)
        with waiting(server, UPDATE):
            refusal = operator.not_applied(plan)
            assert refusal.kind == REFUSAL_KIND_FAILED_PRECONDITION
            assert "is not there any more, or is another one" in refusal.reason
            assert other.info.backend_pid in there(server)
            other.rollback()


@pytest.mark.covers("exp:F3")
def test_a_pid_with_another_start_than_the_one_shown_is_no_session(operator: Operator, server: Postgres) -> None:
    with session(server) as root:
        root.execute(UPDATE)
        named = TerminateSession(service="orders-db")
        named.sessions.add(pid=root.info.backend_pid).backend_start.FromSeconds(int(time.time()) - 3600)
        assert operator.refused(Action(terminate_session=named)).kind == REFUSAL_KIND_NOT_FOUND
        root.rollback()


@pytest.mark.covers("exp:F3")
def test_where_nobody_waits_there_is_nothing_to_apply(operator: Operator) -> None:
    plan = operator.plan(FREE, reason=REASON)
    assert (plan.plan_id, plan.summary) == ("", "no session waits for a lock")


@pytest.mark.covers("exp:F3", "sec:actions")
def test_what_agent_toml_does_not_permit_or_the_role_may_not_is_refused_with_the_mend(
    folder: Path, server: Postgres
) -> None:
    login = LOGIN.replace("{sockets}", str(server.sockets))
    with operating.working(folder / "unnamed", login) as operator:
        refusal = operator.refused(FREE)
        assert refusal.kind == REFUSAL_KIND_NOT_PERMITTED
        assert '[actions] sessions = ["orders-db"]' in refusal.reason
    with contextlib.closing(server.connect(autocommit=True)) as owner:
        owner.execute("CREATE ROLE watching LOGIN")
        owner.execute("GRANT pg_monitor TO watching")
    config = login.replace('"fleetmedic"', '"watching"') + PERMITTED
    with operating.working(folder / "watching", config) as operator, session(server) as root:
        root.execute(UPDATE)
        with waiting(server, UPDATE):
            refusal = operator.refused(FREE)
            assert refusal.reason == "the agent's role may not: GRANT pg_signal_backend TO watching"
            root.rollback()
