"""What agents saw as tables, over snapshots made by hand."""

import json
from collections.abc import Mapping
from io import StringIO

import pytest

from controller import tables
from controller.endings import State
from controller.host_report import HostReport
from controller.render import show_text
from controller.render.paper import Paper
from controller.tables import KINDS, Table
from fleetmedic.v1.agent_pb2 import CheckResponse
from fleetmedic.v1.snapshot_pb2 import (
    FAILURE_KIND_NOT_LOOKED,
    FAILURE_KIND_TIMEOUT,
    Container,
    ContainerUse,
    Failure,
    HostProcess,
    PostgresLockEdge,
    PostgresOwner,
    PostgresSession,
    Snapshot,
    Target,
)
from tests.controller.reports import silent

HOSTILE = "\x1b[31m\u202ex\ny"


def seen(probe: str) -> Snapshot:
    return Snapshot(target=Target(probe=probe, service=probe, name=f"{probe} here"))


def report(host: str, *snapshots: Snapshot) -> HostReport:
    return HostReport(host, State.OK, "", 0.1, CheckResponse(last=True, snapshots=snapshots))


def postgres(*owners: PostgresOwner) -> Snapshot:
    made = seen("postgres")
    made.postgres.sees_all_sessions = True
    made.postgres.owners.extend(owners)
    return made


def rows(table: Table) -> list[Mapping[str, object]]:
    names = [column.name for column in table.kind.columns]
    return [{"host": " ".join(item.hosts), **dict(zip(names, item.row, strict=True))} for item in table.rows]


def text(name: str, table: Table, *, terminal: bool = False, width: int = 100) -> str:
    stream = StringIO()
    show_text.body(Paper(stream, terminal, False, True, width), name, table, 2, 0)
    return stream.getvalue()


def test_rows_of_all_hosts_stand_in_one_order() -> None:
    one = postgres(PostgresOwner(state="idle", count=3), PostgresOwner(state="active", count=9))
    other = postgres(PostgresOwner(state="idle in transaction", count=5))
    made = tables.table(KINDS["sessions"], [report("db01", one), report("db02", other)])
    assert [(row["host"], row["count"]) for row in rows(made)] == [("db01", 9), ("db02", 5), ("db01", 3)]


def test_what_could_not_be_seen_is_told_and_never_an_empty_table() -> None:
    blind, timed_out, absent, refused = (seen("postgres") for _ in range(4))
    blind.postgres.login.role = "fleetmedic"
    timed_out.failure.CopyFrom(Failure(kind=FAILURE_KIND_TIMEOUT, detail="killed after 6 s"))
    absent.failure.CopyFrom(Failure(kind=FAILURE_KIND_NOT_LOOKED, detail="no PostgreSQL found"))
    refused.postgres.login.error_class, refused.postgres.login.error_text = "28P01", "no password"
    made = tables.table(
        KINDS["sessions"],
        [report("a", blind), report("b", timed_out), report("c", absent), report("d", refused), silent("e")],
    )
    assert [host for host, _ in made.unseen] == ["a", "b", "d", "e"]
    assert "GRANT pg_monitor TO fleetmedic" in made.unseen[0][1]
    assert "killed after 6 s" in made.unseen[1][1]
    assert made.absent == (("c", "no PostgreSQL found"),)
    assert made.rows == ()


def test_a_full_server_seen_by_process_titles_alone_still_has_its_owners() -> None:
    full = postgres(PostgresOwner(state="idle", count=97, user="app"))
    full.postgres.sees_all_sessions = False
    full.postgres.login.error_class = "53300"
    made = tables.table(KINDS["sessions"], [report("db01", full)])
    assert (len(made.rows), made.unseen) == (1, ())


def test_the_root_of_a_lock_stands_before_those_that_wait_themselves() -> None:
    made = postgres()
    made.postgres.sessions.extend(
        [PostgresSession(pid=1, application="report", state="idle in transaction"), PostgresSession(pid=2)]
    )
    made.postgres.lock_edges.extend(
        [
            PostgresLockEdge(waiting=3, blocking=2, waiting_seconds=9),
            PostgresLockEdge(waiting=2, blocking=1, waiting_seconds=5),
            PostgresLockEdge(waiting=4, blocking=0, waiting_seconds=1),
        ]
    )
    found = rows(tables.table(KINDS["locks"], [report("db01", made)]))
    assert [(row["waiting"], row["blocked by"], row["which is"]) for row in found] == [
        (2, 1, "root"),
        (3, 2, "waits itself"),
        (4, 0, "prepared transaction"),
    ]
    assert found[0]["application"] == "report"


def test_a_container_uses_processors_since_the_recorders_last_look_and_is_unknown_without_one() -> None:
    made = seen("docker")
    made.taken_time.FromSeconds(1000)
    made.docker.containers.append(Container(id="c1", name="web", state="running", use=ContainerUse(cpu_seconds=30)))
    assert rows(tables.table(KINDS["containers"], [report("h", made)]))[0]["cpu"] is None
    sample = made.earlier.add()
    sample.taken_time.FromSeconds(980)
    sample.counters["cpu_seconds c1"] = 20
    assert rows(tables.table(KINDS["containers"], [report("h", made)]))[0]["cpu"] == 50.0
    # Started anew since: what it spent before is not known.
    sample.counters["cpu_seconds c1"] = 99
    assert rows(tables.table(KINDS["containers"], [report("h", made)]))[0]["cpu"] is None


def test_processes_are_named_by_their_container_and_dead_ones_come_first() -> None:
    made, engine = seen("processes"), seen("docker")
    engine.docker.containers.append(Container(id="c1", name="web"))
    made.processes.processes.extend(
        [
            HostProcess(pid=1, state="S", resident_bytes=9, container_id="c1"),
            HostProcess(pid=2, state="Z", container_id="c2" * 32, name="python3"),
            HostProcess(pid=3, state="S", resident_bytes=99),
        ]
    )
    found = rows(tables.table(KINDS["processes"], [report("h", made, engine)]))
    assert [(row["pid"], row["container"]) for row in found] == [(2, "c2c2c2c2c2c2"), (1, "web"), (3, "")]
    assert found[0]["command"] == "[python3]"


@pytest.mark.parametrize("terminal", [True, False])
def test_what_a_host_writes_can_not_act_on_a_terminal(terminal: bool) -> None:
    owner = PostgresOwner(state=HOSTILE, user=HOSTILE, application=HOSTILE, client=HOSTILE, count=1)
    said = text("sessions", tables.table(KINDS["sessions"], [report("db01", postgres(owner))]), terminal=terminal)
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert len(said.splitlines()) == 3


def test_on_a_terminal_a_row_is_cut_and_elsewhere_whole() -> None:
    owner = PostgresOwner(state="idle", count=1, application="a" * 200, client="c" * 200)
    made = tables.table(KINDS["sessions"], [report("db01", postgres(owner))])
    assert "c" * 200 in text("sessions", made)
    assert "a" * 200 not in text("sessions", made, terminal=True)


def test_json_has_a_record_for_each_row_with_units_in_its_names() -> None:
    made = tables.table(KINDS["sessions"], [report("db01", postgres(PostgresOwner(state="idle", count=3)))])
    records = [json.loads(line) for line in show_text.records("sessions", made)]
    assert records[0]["count"] == 3
    assert records[-1] == {
        "type": "summary",
        "schema": "fleetmedic-show/1",
        "table": "sessions",
        "rows": 1,
        "unseen": [],
        "absent": [],
    }


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_kind_makes_rows_as_wide_as_its_columns_of_whatever_a_probe_may_send(name: str) -> None:
    kind = KINDS[name]
    made = []
    for probe in (*kind.probes, *kind.also):
        snapshot = seen(probe)
        getattr(snapshot, probe).SetInParent()
        made.append(snapshot)
    table = tables.table(kind, [report("h", *made)])
    assert all(len(item.row) == len(kind.columns) for item in table.rows)
    assert text(name, table).endswith("2 hosts\n")


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_table_fits_a_terminal_and_says_once_what_all_rows_share(width: int) -> None:
    made = postgres()
    made.postgres.lock_edges.extend(
        PostgresLockEdge(waiting=waiting, blocking=1, waiting_seconds=waiting, mode="ShareLock", relation="orders")
        for waiting in range(10, 15)
    )
    said = text("locks", tables.table(KINDS["locks"], [report("db01", made)]), terminal=True, width=width)
    assert max(map(len, said.splitlines())) <= width
    assert said.count("db01") == (5 if width == 100 else 1)
    waiting = ("14", "13", "12", "11", "10")
    assert all(number in row for number, row in zip(waiting, said.splitlines()[-6:-1], strict=True))
