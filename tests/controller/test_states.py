"""Each state a host can end in, in every output and in the store: counted once, and never taken for well."""

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest

from controller import changes, exit_codes
from controller.endings import State
from controller.host_report import HostReport
from controller.render import check_json, check_junit, check_nagios, check_paste, check_text, run_text
from controller.render.check_text import Again, View
from controller.render.paper import Paper
from controller.reports import timeline
from controller.snoozing import NONE
from controller.store import history, runs
from controller.store.database import connect
from controller.store.runs import Run
from fleetmedic.v1.agent_pb2 import CheckResponse
from tests.controller import reports

WELL = {State.OK, State.CHANGED}
SILENT = {State.UNREACHABLE, State.TIMEOUT}
CAUSE = "said why"


def ended(state: State) -> HostReport:
    if state in WELL:
        return HostReport(state.value, state, "", 0.1, reports.answered("x", reports.finding()).answer)
    return HostReport(state.value, state, CAUSE, 0.1, CheckResponse())


def all_states(exit_code: int = 6) -> Run:
    return reports.run(*(ended(state) for state in State), exit_code=exit_code)


def piped() -> Paper:
    return Paper(StringIO(), False, False, True, 100)


def said(paper: Paper) -> str:
    assert isinstance(paper.stream, StringIO)
    return paper.stream.getvalue()


@pytest.fixture
def base(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Open an empty store."""
    opened = connect(tmp_path / "a.db")
    yield opened
    opened.close()


@pytest.mark.covers("inv:F1")
def test_the_names_are_these_and_one_that_is_not_known_is_unknown() -> None:
    assert [state.value for state in State] == [
        "ok", "changed", "failed", "gate_failed", "unreachable", "timeout", "unknown", "skipped", "not_attempted",
        "cancelled",
    ]  # fmt: skip
    assert State("of a later version") == State.UNKNOWN


@pytest.mark.covers("inv:F1")
def test_the_totals_count_a_host_of_each_state_once_and_only_the_well_as_well() -> None:
    told = {word: count for count, word in check_text.tally(all_states().reports, NONE)}
    assert sum(told.values()) == len(State)
    assert (told["ok"], told["failed"], told["unreachable"], told["not checked"]) == (2, 2, 2, 4)
    assert check_json.summary(all_states())["states"] == {state.value: 1 for state in State}


@pytest.mark.covers("inv:F1")
def test_a_host_of_each_state_that_is_not_well_is_named_with_its_cause_in_every_form() -> None:
    run = all_states()
    text, shown = piped(), piped()
    check_text.body(text, run, View(False, True, Again("fleetmedic check"), reports.NOW))
    run_text.body(shown, run, None)
    forms = {
        "text": said(text),
        "run": said(shown),
        "paste": "\n".join(check_paste.lines(run)),
        # Its first line names the worst once more.
        "nagios": check_nagios.text(run, NONE).partition("\n")[2],
    }
    for form, whole in forms.items():
        for state in set(State) - WELL - {State.SKIPPED}:
            # The host is named as its state is.
            lines = [line for line in whole.splitlines() if state.value in line.split() and CAUSE in line]
            assert len(lines) == 1, (form, state, whole)
            assert "OK" not in lines[0].split()
    assert [line for line in forms["text"].splitlines() if line.startswith("OK ")] == ["OK ok", "OK changed"]


@pytest.mark.covers("inv:F1")
def test_a_ci_sees_an_error_for_each_state_that_is_not_well_and_was_to_be_asked() -> None:
    suites = {suite.get("name"): suite for suite in ElementTree.fromstring(check_junit.document(all_states(), NONE))}
    for state in State:
        bad = state not in WELL | {State.SKIPPED}
        assert suites[state.value].get("errors") == ("1" if bad else "0"), state


@pytest.mark.covers("inv:F1", "inv:F6")
@pytest.mark.parametrize("state", State)
def test_only_what_is_well_or_was_not_to_be_asked_has_exit_code_0(state: State) -> None:
    code = exit_codes.of_check([ended(state)], strict=False)
    wanted = {State.FAILED: 2, State.GATE_FAILED: 2, State.NOT_ATTEMPTED: 2}
    wanted |= {State.UNREACHABLE: 4, State.TIMEOUT: 4, State.UNKNOWN: 4}
    assert code == wanted.get(state, 0)
    plugin = check_nagios.code(reports.run(ended(state), exit_code=code))
    well = plugin == check_nagios.OK
    assert well == (state in WELL | {State.SKIPPED})
    assert check_nagios.code(reports.run(ended(state), exit_code=130)) == check_nagios.UNKNOWN


@pytest.mark.covers("inv:F1")
def test_each_state_comes_back_from_the_store_with_its_lateness(base: sqlite3.Connection) -> None:
    run = reports.run(*all_states().reports, HostReport("late", State.TIMEOUT, CAUSE, 1.0, CheckResponse(), late=0.25))
    runs.save(base, run, "alice", time.time())
    loaded = runs.load(base, run.id)
    assert loaded is not None
    assert [(item.host, item.state, item.cause, item.late) for item in loaded.reports] == [
        (item.host, item.state, item.cause, item.late) for item in run.reports
    ]
    assert check_json.host(loaded.reports[-1])["late"] == 0.25


@pytest.mark.covers("inv:F1")
def test_a_state_that_a_later_version_wrote_is_shown_as_unknown(base: sqlite3.Connection) -> None:
    run = reports.run(ended(State.OK))
    runs.save(base, run, "alice", time.time())
    base.execute("UPDATE reports SET state = 'rolled_back'")
    loaded = runs.load(base, run.id)
    assert loaded is not None
    assert loaded.reports[0].state == State.UNKNOWN


@pytest.mark.covers("inv:F1")
def test_a_post_mortem_counts_each_and_takes_our_own_leaving_for_no_fault_of_the_host(base: sqlite3.Connection) -> None:
    runs.save(base, all_states(), "alice", reports.NOW)
    (look,) = history.between(base, 0, reports.NOW)
    assert timeline.counts(look) == (
        "10 hosts: 2 failed, 2 no answer, 2 ok, 1 not checked, 1 not waited for, 2 not asked"
    )
    assert Counter(history.BAD_STATES) == Counter(["failed", "gate_failed", "unreachable", "timeout"])


@pytest.mark.covers("inv:F1")
@pytest.mark.parametrize("state", [State.UNKNOWN, State.CANCELLED, State.SKIPPED])
def test_a_host_that_was_not_heard_neither_fell_silent_nor_came_back(state: State) -> None:
    well, silent = HostReport("a", State.OK, "", 0.1, ended(State.OK).answer), reports.silent("a")
    unheard = HostReport("a", state, CAUSE, 0.1, CheckResponse())
    for before, after in ((well, unheard), (silent, unheard), (unheard, well)):
        assert not changes.compare(reports.run(before), reports.run(after)).hosts
