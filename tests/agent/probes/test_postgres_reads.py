"""A PostgreSQL that lets the agent in and answers none of its queries; and what refusals are called."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.config import Config
from agent.probes import postgres as probe
from agent.probes.postgres_errors import classify
from fleetmedic.v1.snapshot_pb2 import Snapshot, Target
from tests.agent.rules.judged import one, statuses
from tests.lab.postgres import Postgres


@contextmanager
def locked(server: Postgres, view: str) -> Iterator[None]:
    """A view of the catalogue that nobody else may read, as while a superuser changes it."""
    with server.connect() as connection:
        connection.execute("SET allow_system_table_mods = on")
        connection.execute(f"ALTER VIEW pg_catalog.{view} SET (security_barrier = true)".encode())
        yield
        connection.rollback()


def test_a_login_whose_queries_fail_is_never_ok_and_says_why(postgres: Postgres, tmp_path: Path) -> None:
    config = Config(None, "h", tmp_path, tmp_path)
    target = Target(probe="postgres", service="p", name="p", socket="/run/postgresql", port=5432, pid=postgres.pid)
    with locked(postgres, "pg_stat_activity"):
        seen, fresh = probe.look(target, config, None)
    assert fresh is not None
    fresh.connection.close()
    assert (seen.login.error_class, seen.login.read_error_class) == ("", "timeout")
    assert "lock timeout" in seen.login.read_error_text
    snapshot = Snapshot(target=target, postgres=seen)
    up = one("PG-UP", snapshot)
    assert statuses([up]) == ["warn"]
    assert "lock timeout" in up.summary
    for rule in ("PG-CONN-SATURATION", "PG-IDLE-TXN", "PG-LOCK-ROOT"):
        found = one(rule, snapshot)
        assert statuses([found]) == ["error"]
        assert "lock timeout" in found.reason

    again, fresh = probe.look(target, config, None)
    assert fresh is not None
    fresh.connection.close()
    assert again.login.read_error_class == ""
    assert statuses([one("PG-UP", Snapshot(target=target, postgres=again))]) == ["ok"]


@pytest.mark.parametrize(
    ("text", "error_class"),
    [
        ("FATAL:  the database system is not accepting connections\nDETAIL:  Recovery is not paused.", "57P03"),
        ("FATAL:  the database system is not yet accepting connections", "57P03"),
        (
            "FATAL:  the database system is not accepting connections\nDETAIL:  Hot standby mode is disabled.",
            "standby",
        ),
        ("canceling statement due to lock timeout", "timeout"),
        ("canceling statement due to statement timeout", "timeout"),
    ],
)
def test_a_refusal_is_known_by_its_words(text: str, error_class: str) -> None:
    assert classify(text) == error_class
