"""What is read of many runs: who was bad since when, and which checks had looked."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.host_report import HostReport
from controller.store import history, runs
from controller.store.database import connect
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_ERROR, STATUS_INFO, STATUS_OK, STATUS_WARN
from tests.controller import reports
from tests.controller.reports import NOW, answered, finding, silent, skipped


@pytest.fixture
def base(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Open an empty store."""
    opened = connect(tmp_path / "a.db")
    yield opened
    opened.close()


def keep(base: sqlite3.Connection, identity: str, at: float, *given: HostReport) -> None:
    runs.save(base, replace(reports.run(*given, identity=identity), started_at=at), "alice", at)


@pytest.mark.covers("exp:looked")
def test_a_check_that_could_not_look_at_one_of_its_targets_has_not_looked(base: sqlite3.Connection) -> None:
    keep(
        base,
        "AAAA",
        NOW,
        answered("well", finding("A-A"), finding("B-B", STATUS_INFO), skipped("C-C", "needs root")),
        answered("bad", finding("A-A", STATUS_CRIT), finding("B-B"), finding("B-B", STATUS_ERROR, name="other")),
        answered("none"),
        silent("dead"),
    )
    (look,) = history.between(base, NOW, NOW)
    assert [glance.looked for glance in look.glances] == [
        {("A-A", "host"), ("B-B", "host")},
        {("A-A", "host")},
        frozenset(),
        frozenset(),
    ]


def test_hosts_of_one_kind_share_what_is_kept_of_their_checks(base: sqlite3.Connection) -> None:
    alike = [answered(f"web{number}", finding("A-A"), finding("B-B")) for number in range(50)]
    for identity in ("AAAA", "BBBB"):
        keep(base, identity, NOW, *alike)
    assert base.execute("SELECT count(*) FROM looked").fetchone() == (1,)


def test_a_host_that_names_thousands_of_checks_is_kept_in_bounds(base: sqlite3.Connection) -> None:
    keep(base, "AAAA", NOW, answered("evil", *(finding(f"X-{number}") for number in range(3000))))
    (look,) = history.between(base, NOW, NOW)
    assert len(look.glances[0].looked or ()) == 500


def test_runs_come_in_order_with_what_was_bad_and_only_those_of_the_span(base: sqlite3.Connection) -> None:
    keep(base, "CCCC", NOW + 20, answered("a", finding()))
    keep(base, "BBBB", NOW + 10, answered("a", finding("C-C", STATUS_CRIT, summary="broken", since=NOW + 5)))
    keep(base, "AAAA", NOW, answered("a", finding()))
    looks = history.between(base, NOW + 1, NOW + 20)
    assert [look.id for look in looks] == ["BBBB", "CCCC"]
    (bad,) = looks[0].glances[0].bad
    assert (bad.subject.host, bad.subject.id, bad.summary, bad.first_seen_at) == ("a", "C-C", "broken", NOW + 5)
    before = history.last_before(base, NOW + 10, 60.0)
    assert before is not None
    assert before.id == "AAAA"
    assert history.last_before(base, NOW + 10, 5.0) is None


def test_the_first_bad_run_has_a_host_that_failed_or_was_silent_and_not_one_that_warned(
    base: sqlite3.Connection,
) -> None:
    keep(base, "AAAA", NOW, answered("a", finding("W-W", STATUS_WARN)))
    keep(base, "BBBB", NOW + 1, silent("a"))
    keep(base, "CCCC", NOW + 2, answered("a", finding("C-C", STATUS_CRIT)))
    found = history.first_bad(base, NOW, NOW + 9)
    assert found is not None
    assert found.id == "BBBB"
    assert history.first_bad(base, NOW, NOW) is None


def test_a_finding_is_had_whole_and_none_where_no_answer_was_kept(base: sqlite3.Connection) -> None:
    whole = finding("C-C", STATUS_CRIT, name="this", summary="broken")
    whole.equal_command = "df -h"
    keep(base, "AAAA", NOW, answered("a", finding("C-C", STATUS_CRIT, name="other"), whole), silent("b"))
    subject = history.Subject("a", "C-C", "host", "host", "this")
    found = history.finding(base, "AAAA", subject)
    assert found == whole
    for other in (replace(subject, host="b"), replace(subject, host="c"), replace(subject, name="none")):
        assert history.finding(base, "AAAA", other) is None


@pytest.mark.covers("exp:looked")
def test_runs_kept_by_the_version_before_say_that_they_do_not_know_what_was_looked_at(
    base: sqlite3.Connection,
) -> None:
    keep(base, "AAAA", NOW, answered("a", finding(status=STATUS_OK)))
    base.execute("UPDATE reports SET looked = NULL")
    (look,) = history.between(base, NOW, NOW)
    assert look.glances[0].looked is None
