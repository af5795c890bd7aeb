"""What changed between two runs: by identity, and never taking what was not looked at for gone."""

from dataclasses import replace

import pytest

from controller import changes, compare
from controller.changes import Change, Changes
from controller.endings import State
from controller.host_report import HostReport
from controller.store.runs import Run
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_ERROR, STATUS_INFO, STATUS_OK, STATUS_WARN, Finding, Status
from tests.controller import reports
from tests.controller.reports import NEWER, answered, finding, run, silent, skipped


def bad(status: "Status.ValueType" = STATUS_CRIT, summary: str = "no answer", name: str = "6379") -> HostReport:
    return answered("db01", finding("REDIS-UP", status, "redis", name, summary))


def kept(of: Run) -> Run:
    """A run as the store gives it back: of a healthy host no findings."""
    whole = (
        replace(report, answer=type(report.answer)()) if report.state == State.OK and not report.warns else report
        for report in of.reports
    )
    return replace(of, reports=tuple(whole))


def told(found: Changes) -> list[tuple[str, object, object]]:
    return [(item.change.value, item.was, item.now) for item in found.findings]


@pytest.mark.covers("exp:diff", "exp:new")
@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (STATUS_OK, STATUS_CRIT, ("new", STATUS_OK, STATUS_CRIT)),
        (STATUS_INFO, STATUS_WARN, ("new", STATUS_INFO, STATUS_WARN)),
        (STATUS_WARN, STATUS_CRIT, ("worse", STATUS_WARN, STATUS_CRIT)),
        (STATUS_WARN, STATUS_ERROR, ("worse", STATUS_WARN, STATUS_ERROR)),
        (STATUS_CRIT, STATUS_ERROR, ("worse", STATUS_CRIT, STATUS_ERROR)),
        (STATUS_CRIT, NEWER, ("worse", STATUS_CRIT, NEWER)),
        (STATUS_CRIT, STATUS_WARN, ("better", STATUS_CRIT, STATUS_WARN)),
        (STATUS_CRIT, STATUS_OK, ("gone", STATUS_CRIT, STATUS_OK)),
        (STATUS_WARN, STATUS_INFO, ("gone", STATUS_WARN, STATUS_INFO)),
    ],
)
def test_a_changed_status_is_a_change(
    before: "Status.ValueType", after: "Status.ValueType", change: tuple[str, object, object]
) -> None:
    found = changes.compare(run(bad(before)), run(bad(after)))
    assert told(found) == [change]
    assert found.standing == 0


@pytest.mark.covers("exp:diff")
def test_a_changed_number_in_the_summary_is_no_change_and_is_counted() -> None:
    found = changes.compare(run(bad(summary="held for 5s")), run(bad(summary="held for 9s")))
    assert (found.findings, found.hosts, found.standing) == ((), (), 1)


@pytest.mark.covers("exp:diff")
def test_another_subject_is_another_finding() -> None:
    found = changes.compare(run(bad(name="6379")), run(bad(name="6380")))
    assert [(item.change, item.finding.subject.name) for item in found.findings] == [(Change.NEW, "6380")]
    # Nobody looked at the first one again: it may be down, or not found.
    assert found.untold == 1


def differs(host: str = "c") -> HostReport:
    odd = finding("PY-VERSION", STATUS_WARN, "orders", "Python of orders", "3.12, as on 1 of 3")
    odd.subject.kind = compare.KIND
    return answered(host, finding("PY-VERSION", service="orders", name="uvicorn orders:app"), odd)


def same(host: str) -> HostReport:
    return answered(host, finding("PY-VERSION", service="orders", name="uvicorn orders:app"))


@pytest.mark.covers("exp:diff")
def test_a_host_that_differed_is_like_the_others_only_where_the_others_answered() -> None:
    before = run(same("a"), same("b"), differs())
    alone = changes.compare(before, run(silent("a"), silent("b"), same("c")))
    assert (alone.count(Change.GONE), alone.untold) == (0, 1)
    assert changes.compare(before, run(same("a"), same("b"), same("c"))).count(Change.GONE) == 1


@pytest.mark.covers("exp:diff")
@pytest.mark.parametrize(
    ("now", "gone"),
    [
        (finding("PG-LOCK-ROOT", service="postgres", name="/run/postgresql"), 1),
        (finding("PG-LOCK-ROOT", service="postgres", name="127.0.0.1:5433"), 0),
        (finding("PG-LOCK-ROOT", service="other", name="/run/postgresql"), 0),
        (finding("PG-UP", service="postgres", name="/run/postgresql"), 0),
        (skipped("PG-LOCK-ROOT", "no postgres snapshot"), 0),
    ],
)
def test_a_lock_is_over_where_its_own_server_has_none_and_not_where_nobody_looked_there(
    now: Finding, gone: int
) -> None:
    lock = finding("PG-LOCK-ROOT", STATUS_CRIT, "postgres", "/run/postgresql pid 203", "blocks 5")
    found = changes.compare(run(answered("db01", lock)), run(answered("db01", now)))
    assert (found.count(Change.GONE), found.untold) == (gone, 1 - gone)


@pytest.mark.covers("exp:diff")
def test_a_container_is_well_again_where_its_engine_says_so_of_all() -> None:
    ill = finding("DOCKER-UNHEALTHY", STATUS_CRIT, "orders", "orders-app", "fails")
    ill.subject.kind = "container"
    well = finding("DOCKER-UNHEALTHY", service="docker", name="/run/docker.sock")
    well.subject.kind = "docker"
    assert changes.compare(run(answered("a", ill)), run(answered("a", well))).count(Change.GONE) == 1


@pytest.mark.covers("exp:diff")
def test_a_healthy_host_of_the_store_is_known_to_be_well_without_its_findings() -> None:
    well = kept(run(answered("db01", finding("REDIS-UP", service="redis", name="6379"))))
    assert not well.reports[0].answer.findings
    assert told(changes.compare(well, run(bad()))) == [("new", None, STATUS_CRIT)]
    assert told(changes.compare(run(bad()), well)) == [("gone", STATUS_CRIT, STATUS_OK)]
    assert told(changes.compare(run(bad(STATUS_WARN)), well)) == [("gone", STATUS_WARN, STATUS_OK)]


@pytest.mark.covers("exp:diff", "exp:R20")
@pytest.mark.parametrize(
    "after",
    [
        silent("db01"),
        silent("db01", State.TIMEOUT),
        silent("db01", State.SKIPPED),
        silent("db01", State.CANCELLED),
        silent("db01", State.FAILED, "the agent broke its answer off"),
        answered("db01", skipped("REDIS-UP", "needs root")),
        answered("db01", finding("REDIS-UP", STATUS_ERROR, "redis", "another")),
    ],
    ids=lambda report: f"{report.state.value} {len(report.answer.findings)}",
)
def test_what_was_not_looked_at_again_is_not_gone(after: HostReport) -> None:
    found = changes.compare(run(bad()), run(after))
    assert found.count(Change.GONE) == 0
    assert found.untold == 1


def test_what_a_host_that_is_not_asked_any_more_had_is_counted() -> None:
    found = changes.compare(run(bad(), answered("web01", finding())), run(answered("web01", finding())))
    assert (found.untold, found.findings) == (1, ())


@pytest.mark.covers("exp:diff")
def test_a_run_of_another_question_makes_nothing_gone_that_it_did_not_ask_for() -> None:
    other = replace(run(answered("db01", finding("HOST-MEM"))), asked="--include HOST-MEM")
    found = changes.compare(run(bad()), other)
    assert (found.findings, found.untold, found.same_question) == ((), 1, False)
    both = replace(run(answered("db01", finding("REDIS-UP", service="redis", name="6379"))), asked="--include REDIS-*")
    assert told(changes.compare(run(bad()), both)) == [("gone", STATUS_CRIT, STATUS_OK)]


@pytest.mark.covers("exp:diff", "exp:new")
def test_hosts_that_fell_silent_and_came_back_are_told_and_those_that_stay_so_are_counted() -> None:
    def states(first: HostReport, second: HostReport) -> tuple[list[tuple[str, object, str]], int]:
        found = changes.compare(run(first), run(second))
        return [(item.change.value, item.was, item.now.value) for item in found.hosts], found.standing_hosts

    well, dead, late = answered("db01", finding()), silent("db01"), silent("db01", State.TIMEOUT)
    refused = silent("db01", State.FAILED, "not permitted")
    assert states(well, dead) == ([("silent", State.OK, "unreachable")], 0)
    assert states(dead, well) == ([("back", State.UNREACHABLE, "ok")], 0)
    assert states(dead, bad()) == ([("back", State.UNREACHABLE, "failed")], 0)
    assert states(dead, late) == ([], 1)
    assert states(dead, refused) == ([("silent", State.UNREACHABLE, "failed")], 0)
    assert states(well, silent("db01", State.SKIPPED)) == ([], 0)
    found = changes.compare(run(), run(dead))
    assert [(item.change, item.was) for item in found.hosts] == [(Change.SILENT, None)]


@pytest.mark.covers("exp:new", "exp:R7")
@pytest.mark.parametrize(
    ("before", "after", "strict", "code"),
    [
        (bad(), bad(), True, 0),
        (bad(STATUS_OK), bad(), False, 2),
        (bad(STATUS_OK), bad(STATUS_WARN), False, 0),
        (bad(STATUS_OK), bad(STATUS_WARN), True, 16),
        (bad(STATUS_CRIT), bad(STATUS_WARN), True, 0),
        (bad(STATUS_CRIT), bad(STATUS_OK), True, 0),
        (bad(STATUS_CRIT), bad(STATUS_ERROR), False, 2),
        (bad(STATUS_OK), bad(NEWER), False, 2),
        (bad(STATUS_OK), silent("db01"), False, 4),
        (bad(STATUS_OK), silent("db01", State.NOT_ATTEMPTED), False, 2),
        (silent("db01"), silent("db01"), False, 0),
        (silent("db01"), bad(), False, 2),
    ],
)
def test_the_exit_code_is_of_what_is_new_or_worse(
    before: HostReport, after: HostReport, strict: bool, code: int
) -> None:
    assert changes.exit_code(changes.compare(run(before), run(after)), strict=strict) == code


def test_what_is_snoozed_is_neither_told_nor_counted_as_standing() -> None:
    first = run(answered("db01", finding("A-A", STATUS_CRIT), finding("B-B", STATUS_WARN)))
    second = run(
        answered("db01", finding("A-A", STATUS_CRIT), finding("B-B", STATUS_CRIT), finding("C-C", STATUS_WARN))
    )
    found = changes.compare(first, second)
    assert (found.standing, len(found.findings)) == (1, 2)
    every = list(second.reports[0].answer.findings)
    left = changes.without(found, [("db01", item) for item in every[:2]])
    assert ([item.finding.id for item in left.findings], left.standing) == (["C-C"], 0)
    assert changes.without(found, [("other", item) for item in every]) == replace(found, standing=0)


def test_the_worst_comes_first() -> None:
    after = answered(
        "db01",
        finding("A-A", STATUS_WARN),
        finding("B-B", STATUS_CRIT),
        finding("C-C", STATUS_ERROR),
        finding("D-D", NEWER),
        finding("E-E"),
    )
    found = changes.compare(run(answered("db01", finding("E-E", STATUS_CRIT))), run(after))
    assert [item.finding.id for item in found.findings] == ["D-D", "B-B", "C-C", "A-A", "E-E"]


@pytest.mark.covers("exp:diff")
def test_a_run_against_itself_has_no_change_and_every_bad_finding_stands() -> None:
    fleet = reports.forty_hosts()
    found = changes.compare(kept(fleet), fleet)
    assert (found.findings, found.hosts, found.standing, found.standing_hosts, found.untold) == ((), (), 5, 1, 0)
    nothing = changes.compare(changes.nothing_before(fleet), fleet)
    assert (nothing.count(Change.NEW), nothing.count(Change.SILENT), nothing.standing) == (5, 1, 0)
