"""Snoozes over hand-made runs: what rests, what is shown again, and what never rests."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller import snoozing
from controller.endings import State
from controller.host_report import HostReport
from controller.snoozing import Rest
from controller.store import events, runs, snoozes
from controller.store.database import connect
from controller.store.snoozes import About, Snooze
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_ERROR, STATUS_OK, STATUS_WARN, Status
from tests.controller.reports import NEWER, NOW, answered, finding, run, silent

HOUR = 3600.0


def snooze(status: "Status.ValueType" = STATUS_CRIT, subject: str = "", name: str = "/") -> Snooze:
    about = (About("db01", "host", "host", name, status),)
    return Snooze("7F3K", "HOST-DISK-SPACE", subject, "disk ordered", "alice", NOW - HOUR, NOW + 4 * HOUR, about)


def disk(status: "Status.ValueType" = STATUS_CRIT, name: str = "/", host: str = "db01") -> HostReport:
    return answered(host, finding("HOST-DISK-SPACE", status, "host", name), finding("HOST-MEM"))


def applied(report: HostReport, *held: Snooze, now: float = NOW) -> tuple[HostReport, Rest]:
    made, rest = snoozing.apply(run(report), held, now)
    return made.reports[0], rest


@pytest.mark.covers("exp:snooze", "exp:L11")
def test_a_snoozed_finding_is_set_aside_and_its_host_judged_by_the_rest() -> None:
    report, rest = applied(disk(), snooze())
    assert report.state == State.OK
    assert [item.id for item in report.answer.findings] == ["HOST-MEM"]
    assert report.statuses == {STATUS_OK}
    assert [(item.host, item.finding.id, item.snooze.id) for item in rest.resting] == [
        ("db01", "HOST-DISK-SPACE", "7F3K")
    ]
    assert rest.quiet == {"db01"}


@pytest.mark.covers("exp:snooze")
def test_a_host_with_another_fault_is_as_bad_as_that() -> None:
    both = answered("db01", finding("HOST-DISK-SPACE", STATUS_CRIT, name="/"), finding("REDIS-UP", STATUS_CRIT))
    report, rest = applied(both, snooze())
    assert (report.state, rest.quiet, len(rest.resting)) == (State.FAILED, frozenset(), 1)


@pytest.mark.covers("exp:snooze")
@pytest.mark.parametrize(
    ("held", "report", "rests"),
    [
        (snooze(STATUS_WARN), disk(STATUS_WARN), True),
        (snooze(STATUS_WARN), disk(STATUS_CRIT), False),
        (snooze(STATUS_CRIT), disk(STATUS_WARN), True),
        (snooze(), disk(STATUS_ERROR), False),
        (snooze(), disk(NEWER), False),
        (snooze(), disk(host="db02"), False),
        (snooze(), disk(name="/data"), True),
        (snooze(STATUS_WARN), disk(name="/data"), False),
        (snooze(subject="/"), disk(name="/data"), False),
        (snooze(subject="/"), disk(name="/"), True),
    ],
)
def test_what_is_worse_elsewhere_or_could_not_be_looked_at_is_shown(
    held: Snooze, report: HostReport, rests: bool
) -> None:
    shown, rest = applied(report, held)
    assert bool(rest.resting) == rests
    if not rests:
        assert shown is report


@pytest.mark.covers("exp:snooze")
@pytest.mark.parametrize("state", [State.UNREACHABLE, State.TIMEOUT, State.FAILED, State.NOT_ATTEMPTED])
def test_nothing_rests_on_a_host_without_a_whole_answer(state: State) -> None:
    broken = replace(silent("db01", state), answer=disk().answer)
    report, rest = applied(broken, snooze())
    assert report is broken
    assert rest.resting == ()


@pytest.mark.covers("exp:snooze")
def test_a_new_subject_is_measured_by_the_mildest_that_was_snoozed() -> None:
    about = (*snooze(STATUS_CRIT).about, *snooze(STATUS_WARN, name="/var").about)
    held = replace(snooze(), about=about)
    assert applied(disk(STATUS_CRIT, "/"), held)[1].resting
    assert not applied(disk(STATUS_CRIT, "/var"), held)[1].resting
    assert not applied(disk(STATUS_CRIT, "/new"), held)[1].resting
    assert applied(disk(STATUS_WARN, "/new"), held)[1].resting


@pytest.mark.covers("exp:snooze")
def test_a_snooze_that_ended_hides_nothing_and_is_told() -> None:
    over = replace(snooze(), until=NOW - 720)
    report, rest = applied(disk(), over)
    assert (report.state, rest.resting, rest.ended, rest.ending) == (State.FAILED, (), (over,), ())
    by_hand = replace(snooze(), ended_at=NOW - 10, ended_by="bob")
    assert applied(disk(), by_hand)[1].ended == (by_hand,)
    soon = replace(snooze(), until=NOW + 1500)
    assert applied(disk(), soon)[1].ending == (soon,)
    assert applied(disk(host="db02"), over, soon)[1] == Rest(), "of hosts that are not asked nothing is told"


def test_without_snoozes_nothing_is_made_anew() -> None:
    whole = run(disk())
    assert snoozing.apply(whole, (), NOW) == (whole, snoozing.NONE)
    assert snoozing.apply(whole, (), NOW)[0] is whole


@pytest.fixture
def base(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Open an empty store."""
    opened = connect(tmp_path / "a.db")
    yield opened
    opened.close()


def keep(base: sqlite3.Connection, identity: str, at: float, *found: HostReport) -> None:
    runs.save(base, replace(run(*found, identity=identity), started_at=at), "alice", at)


@pytest.mark.covers("exp:snooze")
def test_a_finding_is_snoozed_as_the_newest_run_of_the_last_day_has_it(base: sqlite3.Connection) -> None:
    keep(base, "OLD2", NOW - 2 * 86400, disk(host="db09"))
    keep(base, "AAAA", NOW - 200, disk(STATUS_WARN), disk(STATUS_CRIT, host="db02"))
    keep(base, "BBBB", NOW - 100, disk(STATUS_CRIT), disk(STATUS_ERROR, host="db03"))
    keep(base, "CCCC", NOW - 50, answered("db01", finding()))
    found = snoozes.seen(base, "HOST-DISK-SPACE", NOW)
    assert {(item.about.host, item.about.status, item.run) for item in found} == {
        ("db01", STATUS_CRIT, "BBBB"),
        ("db02", STATUS_CRIT, "AAAA"),
    }
    assert snoozes.findings(base, NOW) == ["HOST-DISK-SPACE"]


@pytest.mark.covers("exp:snooze")
def test_a_snooze_is_known_until_a_run_has_told_of_its_end(base: sqlite3.Connection) -> None:
    held = snooze()
    snoozes.add(base, held)
    assert snoozes.since_last_run(base) == (held,)
    assert snoozes.at(base, NOW) == (held,)
    assert snoozes.at(base, held.begins_at - 1) == ()
    keep(base, "AAAA", held.until - 10, disk())
    assert snoozes.since_last_run(base) == (held,), "it ended after the last run"
    keep(base, "BBBB", held.until + 10, disk())
    assert snoozes.since_last_run(base) == ()
    assert snoozes.every(base) == (held,)


@pytest.mark.covers("exp:snooze")
def test_an_end_by_hand_is_kept_with_who_and_both_are_in_the_log(base: sqlite3.Connection) -> None:
    snoozes.add(base, snooze())
    snoozes.end(base, snoozes.every(base), "bob", NOW)
    (ended,) = snoozes.every(base)
    assert (ended.end, ended.ended_by) == (NOW, "bob")
    assert snoozes.at(base, NOW - 1) == (ended,)
    assert snoozes.at(base, NOW + 1) == ()
    assert [row[0] for row in base.execute("SELECT kind FROM events ORDER BY sequence")] == ["snooze", "snooze-end"]
    assert list(events.broken(base)) == []


@pytest.mark.covers("exp:snooze")
def test_an_empty_table_costs_one_query_that_goes_by_an_index(base: sqlite3.Connection) -> None:
    said: list[str] = []
    base.set_trace_callback(said.append)
    assert snoozes.since_last_run(base) == ()
    base.set_trace_callback(None)
    (query,) = said
    plan = [row[3] for row in base.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert "SEARCH snoozes USING INDEX snoozes_by_end (until>?)" in plan, plan
    assert not [step for step in plan if step.startswith("SCAN snoozes")]
