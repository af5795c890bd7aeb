"""Faults made in a real PostgreSQL, found by a real agent over mutual TLS."""

import contextlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.coverage import Evidence
from tests.lab import agents, child, locks, postgres
from tests.lab.agents import Agent, Desk, Fleet
from tests.lab.postgres import Postgres
from tests.lab.waiting import until

FULL = {"max_connections": "12", "superuser_reserved_connections": "3"}


@contextlib.contextmanager
def held(server: Postgres, count: int, role: str = "postgres", application: str = "leaky") -> Iterator[None]:
    """Hold `count` connections, each idle in a transaction."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            session = stack.enter_context(contextlib.closing(server.connect(role, application_name=application)))
            session.execute("SELECT 1")
        yield


@pytest.fixture
def server(folder: Path) -> Iterator[Postgres]:
    """Run a PostgreSQL of the test's own, which the session's agent finds by itself."""
    with postgres.run(folder, port=5440, settings=FULL) as started:
        yield locks.prepared(started)


def at(server: Postgres) -> dict[str, str]:
    return {"name": str(server.sockets)}


def of(server: Postgres, agent: Agent, desk: Desk) -> list[dict[str, Any]]:
    """What one agent alone says of a server."""
    with agents.fleet(desk, [agent]) as fleet:
        return [item for item in fleet.findings("--include", "PG-*") if item["name"] == str(server.sockets)]


def warm(site: Fleet, server: Postgres) -> None:
    """Until the agent holds its warm connection to the server."""

    def connected() -> bool:
        with contextlib.closing(server.connect()) as session:
            row = session.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fleetmedic-agent'"
            ).fetchone()
        return row is not None and row[0] > 0

    until("the warm connection", connected)


@pytest.mark.covers("chk:PG-UP", "chk:D3", "chk:D4.1")
def test_a_full_server_is_named_over_the_warm_connection(site: Fleet, server: Postgres, evidence: Evidence) -> None:
    warm(site, server)
    evidence.well("PG-UP", site.findings("--include", "PG-UP"), **at(server))

    with held(server, 8, role="app"):
        found = site.findings("--include", "PG-*")

    up = evidence.fault("PG-UP", found, **at(server))
    assert "53300" in up["summary"]
    assert "warm connection" in up["summary"]
    assert "app@postgres" in up["summary"]
    evidence.fault("PG-CONN-SATURATION", found, **at(server))


@pytest.mark.covers("chk:D4.4", "chk:PG-UP")
def test_an_agent_started_after_the_server_filled_names_the_owner_from_process_titles(
    desk: Desk, server: Postgres
) -> None:
    with held(server, 9, role="app"), held(server, 3), agents.run(desk, "late01", port=7450) as late:
        found = of(server, late, desk)

    up = next(item for item in found if item["id"] == "PG-UP")
    assert up["status"] == "crit"
    assert "53300" in up["summary"]
    assert "process titles" in up["summary"]
    assert "9 of 12 are app@postgres" in up["summary"], up["table"]
    saturation = next(item for item in found if item["id"] == "PG-CONN-SATURATION")
    assert saturation["status"] == "crit"
    assert {item["status"] for item in found if item["id"] in ("PG-IDLE-TXN", "PG-LOCK-ROOT")} == {"skipped"}


@pytest.mark.covers("chk:D4.3")
def test_a_superusers_slot_is_used_where_ordinary_ones_are_gone(desk: Desk, server: Postgres) -> None:
    with held(server, 9, role="app"), agents.run(desk, "late02", port=7451) as late:
        found = of(server, late, desk)

    up = next(item for item in found if item["id"] == "PG-UP")
    assert up["status"] == "crit"
    assert "53300" in up["summary"]
    assert "process titles" not in up["summary"]
    assert next(item for item in found if item["id"] == "PG-LOCK-ROOT")["status"] == "ok"


@pytest.mark.covers("chk:D4.2")
def test_a_slot_kept_by_reserved_connections_is_used_from_version_16_on(desk: Desk, folder: Path) -> None:
    settings = FULL | {"reserved_connections": "2"}
    binaries = postgres.embedded_binaries()
    with postgres.run(folder, port=5441, settings=settings, binaries=binaries) as server:
        with contextlib.closing(server.connect(autocommit=True)) as session:
            session.execute("CREATE ROLE app LOGIN")
            session.execute("CREATE ROLE fleetmedic LOGIN")
            session.execute("GRANT pg_monitor, pg_use_reserved_connections TO fleetmedic")
        config = f'\n[[postgres]]\nsocket = "{server.sockets}"\nport = {server.port}\n'
        with held(server, 7, role="app"), agents.run(desk, "late03", port=7452, config=config) as late:
            found = of(server, late, desk)

    up = next(item for item in found if item["id"] == "PG-UP")
    assert (up["status"], "53300" in up["summary"]) == ("crit", True)
    assert next(item for item in found if item["id"] == "PG-IDLE-TXN")["status"] == "ok"


@pytest.mark.covers("chk:PG-CONN-SATURATION")
def test_a_server_filling_up_warns_before_it_is_full(site: Fleet, server: Postgres, evidence: Evidence) -> None:
    warm(site, server)
    evidence.well("PG-CONN-SATURATION", site.findings("--include", "PG-*"), **at(server))

    with held(server, 6, role="app"):
        found = site.findings("--include", "PG-*")

    saturation = evidence.fault("PG-CONN-SATURATION", found, **at(server))
    assert "leaky" in saturation["summary"]
    assert "6 idle in transaction" in saturation["summary"]
    evidence.well("PG-UP", found, **at(server))


@pytest.mark.covers("chk:PG-IDLE-TXN", "chk:D7", "inv:limits")
def test_a_reader_idle_in_a_transaction_is_named_though_it_has_no_transaction_id(
    site: Fleet, server: Postgres, evidence: Evidence
) -> None:
    asked = agents.asking(site, fleetmedic_limits={"PG-IDLE-TXN": {"warn_seconds": 0.2, "crit_seconds": 3600}})
    evidence.well("PG-IDLE-TXN", asked.findings("--include", "PG-IDLE-TXN"), **at(server))

    with contextlib.closing(server.connect("app", application_name="reader")) as session:
        session.execute("SELECT count FROM stock WHERE id = 1 AND 'sesame' = 'sesame'")
        until("idle for a while", lambda: threading.Event().wait(0.4) or True)
        found = asked.findings("--include", "PG-IDLE-TXN")

    idle = evidence.fault("PG-IDLE-TXN", found, **at(server))
    assert idle["status"] == "warn"
    assert "application reader" in idle["summary"]
    assert "sesame" not in str(idle)
    assert re.search(r"id = \? AND \? = \?", idle["summary"])
    metric = next(item for item in idle["metrics"] if item["name"] == "oldest_seconds")
    assert (metric["limit"], metric["origin"].rpartition(":")[0]) == (0.2, str(asked.inventory))
    evidence.well("PG-IDLE-TXN", asked.findings("--include", "PG-IDLE-TXN"), **at(server))


@pytest.mark.covers("chk:PG-LOCK-ROOT", "chk:D1", "chk:D2")
def test_the_session_that_blocks_the_others_is_named_and_not_those_that_wait(
    site: Fleet, server: Postgres, evidence: Evidence
) -> None:
    evidence.well("PG-LOCK-ROOT", site.findings("--include", "PG-LOCK-ROOT"), **at(server))

    with locks.row_lock_chain(server, victims=5) as root:
        found = site.findings("--include", "PG-LOCK-ROOT")
        bad = [item for item in found if item["status"] in ("warn", "crit")]

    assert len(bad) == 1
    blocking = evidence.fault("PG-LOCK-ROOT", found, name=f"{server.sockets} pid {root}")
    assert blocking["status"] == "crit"
    assert f"session {root} (app@postgres" in blocking["summary"]
    assert "blocks 5 sessions" in blocking["summary"]
    assert f"pg_terminate_backend({root})" in blocking["next"]
    parts = [row[1] for row in blocking["table"]["rows"]]
    assert parts == ["root", *["victim"] * 5]
    evidence.well("PG-LOCK-ROOT", site.findings("--include", "PG-LOCK-ROOT"), **at(server))


@pytest.mark.covers("chk:PG-UP")
def test_a_stopped_server_is_a_timeout_and_not_a_login_that_failed(
    site: Fleet, server: Postgres, evidence: Evidence
) -> None:
    evidence.well("PG-UP", site.findings("--include", "PG-UP"), **at(server))

    with child.stopped(server.pid):
        found = site.findings("--include", "PG-UP")

    up = evidence.fault("PG-UP", found, **at(server))
    assert "timeout" in up["summary"] or "no answer" in up["summary"]


@pytest.mark.covers("chk:PG-UP", "chk:grants")
@pytest.mark.parametrize(
    ("hba", "error_class"),
    [(("local all all scram-sha-256",), "28P01"), (("local nosuch nobody trust",), "28000")],
)
def test_a_refused_login_prints_the_grants_and_is_never_ok(
    site: Fleet, folder: Path, hba: tuple[str, ...], error_class: str
) -> None:
    with postgres.run(folder, port=5442, hba=hba) as server:
        found = [item for item in site.findings("--include", "PG-*") if item["name"] == str(server.sockets)]

    assert {item["status"] for item in found} == {"skipped"}
    up = next(item for item in found if item["id"] == "PG-UP")
    assert error_class in up["summary"]
    assert "GRANT pg_monitor TO fleetmedic" in up["excerpt"]
    assert "needs a login" in up["reason"]


@pytest.mark.covers("chk:PG-UP")
def test_a_named_server_that_is_not_there_is_refused_and_one_that_starts_is_starting(desk: Desk, folder: Path) -> None:
    config = '\n[[postgres]]\nhost = "127.0.0.1"\nport = 5499\nservice = "ledger"\n'
    with agents.run(desk, "late04", port=7453, config=config) as late, agents.fleet(desk, [late]) as fleet:
        up = next(item for item in fleet.findings("--include", "PG-UP") if item["service"] == "ledger")

    assert (up["status"], "refused" in up["summary"]) == ("crit", True)
    assert up["kind"] == "postgres"


@pytest.mark.covers("chk:3.2")
def test_the_agents_session_can_neither_write_nor_wait(site: Fleet, server: Postgres) -> None:
    warm(site, server)

    with contextlib.closing(server.connect(autocommit=True)) as watcher:
        row = watcher.execute(
            "SELECT count(*), max(pid) FROM pg_stat_activity WHERE application_name = 'fleetmedic-agent'"
        ).fetchone()
        site.findings("--include", "PG-*")
        after = watcher.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fleetmedic-agent'"
        ).fetchone()

    assert row is not None
    assert after == (1,), "one connection for each server, before and after a check"


@pytest.mark.covers("chk:grants")
@pytest.mark.parametrize("role", ["CREATE ROLE weak LOGIN", "CREATE ROLE weak LOGIN NOINHERIT IN ROLE pg_monitor"])
def test_a_role_that_does_not_see_others_sessions_counts_none_and_says_what_it_needs(
    desk: Desk, folder: Path, role: str
) -> None:
    with postgres.run(folder, port=5443, settings=FULL) as server:
        with contextlib.closing(locks.prepared(server).connect(autocommit=True)) as session:
            session.execute(role.encode())
        config = f'\n[[postgres]]\nsocket = "{server.sockets}"\nport = 5443\nuser = "weak"\n'
        with held(server, 3, role="app"), agents.run(desk, "weak01", port=7453, config=config) as agent:
            found = {item["id"]: item for item in of(server, agent, desk)}

    assert found["PG-UP"]["status"] == "ok"
    for rule in ("PG-CONN-SATURATION", "PG-IDLE-TXN", "PG-LOCK-ROOT"):
        assert found[rule]["status"] == "skipped", found[rule]
        assert "GRANT pg_monitor TO weak" in found[rule]["reason"]
