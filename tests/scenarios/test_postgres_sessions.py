"""Sessions that are too long, too many or in each other's way, and disks that fill up: found by a real agent."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.coverage import Evidence
from tests.lab import agents, fixtures, locks, postgres
from tests.lab.agents import Desk, Fleet
from tests.lab.postgres import Postgres
from tests.lab.waiting import until
from tests.scenarios.test_postgres import FULL, at, held

MEGABYTE = 2**20


@pytest.fixture
def server(folder: Path) -> Iterator[Postgres]:
    """Run a PostgreSQL of the test's own, which the session's agent finds by itself."""
    with postgres.run(folder, port=5444, settings=FULL) as started:
        yield locks.prepared(started)


@contextlib.contextmanager
def running(server: Postgres, statement: str, **more: str) -> Iterator[psycopg.Connection]:
    """A session that runs a statement on a thread of its own until the block ends."""
    with contextlib.closing(server.connect("app", autocommit=True, **more)) as session:

        def run() -> None:
            with contextlib.suppress(psycopg.Error):
                session.execute(statement.encode())

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield session
        # One that was cancelled in the meantime may be closed.
        with contextlib.suppress(psycopg.Error):
            session.cancel_safe()
        thread.join(5)


@pytest.mark.covers("chk:PG-LONG-QUERY", "exp:E9")
def test_a_long_statement_is_named_with_whose_it_is_and_a_dump_is_only_told(
    site: Fleet, server: Postgres, evidence: Evidence
) -> None:
    asked = agents.asking(site, fleetmedic_limits={"PG-LONG-QUERY": {"list_seconds": 0.5, "warn_seconds": 1}})
    evidence.well("PG-LONG-QUERY", asked.findings("--include", "PG-LONG-QUERY"), **at(server))

    sleeping = "SELECT pg_sleep(30), 'hunter2'"
    with running(server, sleeping, application_name="pg_dump"):
        time.sleep(1.2)
        told = asked.findings("--include", "PG-LONG-QUERY")
        with running(server, sleeping, application_name="nightly-report"):
            time.sleep(1.2)
            found = asked.findings("--include", "PG-LONG-QUERY")

    dump = next(item for item in told if item["name"] == at(server)["name"])
    assert (dump["status"], "pg_dump" in dump["summary"]) == ("info", True)
    long = evidence.fault("PG-LONG-QUERY", found, **at(server))
    assert "application nightly-report" in long["summary"]
    assert "SELECT pg_sleep(?), ?" in long["summary"]
    assert "pg_cancel_backend" in long["next"]
    assert len(long["table"]["rows"]) == 2


def test_a_statement_that_is_no_utf_8_hides_no_finding(site: Fleet, server: Postgres, evidence: Evidence) -> None:
    """A database without an encoding takes any bytes, and the server tells them to whoever looks at its sessions."""
    with contextlib.closing(server.connect(autocommit=True)) as owner:
        owner.execute("CREATE DATABASE old ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    asked = agents.asking(site, fleetmedic_limits={"PG-LONG-QUERY": {"list_seconds": 0.5, "warn_seconds": 1}})
    with contextlib.closing(server.connect("app", "old", autocommit=True, client_encoding="SQL_ASCII")) as session:
        sleeping = threading.Thread(target=session.execute, args=(b"SELECT pg_sleep(4) AS caf\xe9",), daemon=True)
        sleeping.start()
        time.sleep(1.2)
        found = asked.findings("--include", "PG-LONG-QUERY")
        sleeping.join(10)
    assert "caf\ufffd" in evidence.fault("PG-LONG-QUERY", found, **at(server))["summary"]


@pytest.mark.covers("chk:PG-LONG-TXN")
def test_a_transaction_that_is_open_for_long_is_named(site: Fleet, server: Postgres, evidence: Evidence) -> None:
    asked = agents.asking(site, fleetmedic_limits={"PG-LONG-TXN": {"warn_seconds": 1}})
    evidence.well("PG-LONG-TXN", asked.findings("--include", "PG-LONG-TXN"), **at(server))

    with held(server, 1, role="app", application="forgetful"):
        time.sleep(1.2)
        found = asked.findings("--include", "PG-LONG-TXN")

    assert "application forgetful" in evidence.fault("PG-LONG-TXN", found, **at(server))["summary"]


@pytest.mark.covers("chk:PG-LOCK-DDL-QUEUE", "chk:D6", "exp:E10")
def test_a_schema_change_that_waits_for_a_reader_is_named_and_cancelling_it_frees_the_queue(
    site: Fleet, server: Postgres, evidence: Evidence
) -> None:
    with contextlib.closing(server.connect(autocommit=True)) as session:
        session.execute("ALTER TABLE stock OWNER TO app")
    evidence.well("PG-LOCK-DDL-QUEUE", site.findings("--include", "PG-*"), **at(server))

    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(contextlib.closing(server.connect("app", application_name="reader")))
        reader.execute("SELECT * FROM stock")
        change = stack.enter_context(running(server, "ALTER TABLE stock ADD note text", application_name="migration"))
        pid = change.info.backend_pid
        until("the change waits", lambda: waiting(server) == 1)
        for _ in range(2):
            stack.enter_context(running(server, "SELECT * FROM stock", application_name="web"))
        until("others queue", lambda: waiting(server) == 3)
        found = site.findings("--include", "PG-*")
        change.cancel_safe()
        until("the queue is gone", lambda: waiting(server) == 0)
        after = site.findings("--include", "PG-LOCK-DDL-QUEUE")

    queue = evidence.fault("PG-LOCK-DDL-QUEUE", found)
    assert queue["status"] == "crit"
    assert "application migration" in queue["summary"]
    assert "2 sessions queue behind it" in queue["summary"]
    assert f"pg_cancel_backend({pid})" in queue["next"]
    evidence.well("PG-LOCK-DDL-QUEUE", after, **at(server))


def waiting(server: Postgres) -> int:
    with contextlib.closing(server.connect()) as session:
        row = session.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
    return int(row[0]) if row else 0


@pytest.mark.covers("chk:PG-CONN-HOG", "exp:E8")
def test_a_client_that_holds_most_connections_is_named(site: Fleet, server: Postgres, evidence: Evidence) -> None:
    evidence.well("PG-CONN-HOG", site.findings("--include", "PG-CONN-*"), **at(server))

    with held(server, 5, role="app", application="leaky"):
        found = site.findings("--include", "PG-CONN-*")

    hog = evidence.fault("PG-CONN-HOG", found, **at(server))
    assert "leaky from local holds 5 of 9 slots (56%, limit 50%)" in hog["summary"]


@pytest.mark.covers("chk:PG-DISK", "exp:E11")
def test_the_disk_of_a_server_is_found_by_its_process_though_it_takes_no_login(
    site: Fleet, desk: Desk, folder: Path, evidence: Evidence
) -> None:
    fixtures.need(root=True)
    own = folder / "own"
    own.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "own", own], check=True)
    try:
        hba = ("local all postgres trust", "local all all reject")
        with postgres.run(own, port=5445, hba=hba):
            evidence.well("PG-DISK", site.findings("--include", "PG-DISK"), name=f"{own} data")
            free = next(i for i in site.findings("--include", "PG-DISK") if i["name"] == f"{own} data")["metrics"][1]
            (own / "ballast").write_bytes(b"x" * int(free["value"] - 2 * MEGABYTE))
            full = evidence.fault("PG-DISK", site.findings("--include", "PG-DISK"), name=f"{own} data")
            (own / "ballast").unlink()
    finally:
        subprocess.run(["umount", own], check=True)
    assert full["status"] == "crit"
    assert "of 100.0 MiB free" in full["summary"]
    assert "never delete in pg_wal" in full["next"]
    del desk
