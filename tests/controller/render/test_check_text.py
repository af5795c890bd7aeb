"""A check for people: the fleet of 40 hosts on terminals and in a pipe, line for line."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.endings import State
from controller.render import check_text, escape
from controller.render.check_text import Again, View
from controller.render.paper import paper
from controller.store.runs import Run
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_INFO, STATUS_OK, STATUS_SKIPPED, STATUS_WARN, Finding, Status
from tests.controller import reports, terminal

GOLDEN = Path(__file__).parent / "golden"
AGAIN = Again("fleetmedic check {hosts} --inventory ./inventory.yml", " --inventory ./inventory.yml")
HERE = Again("fleetmedic check --include 'HOST-*'")
UNKNOWN = 99


def view(*, everything: bool = False, folded: bool = True, again: Again = AGAIN) -> View:
    return View(everything, folded, again, reports.NOW)


def writer(run: Run, seen: View, columns: int, *, no_colour: bool = True) -> Callable[[TextIO], None]:
    return lambda stream: check_text.body(paper(stream, {}, columns, no_colour=no_colour), run, seen)


def on_terminal(run: Run, columns: int = 100, seen: View | None = None, *, no_colour: bool = True) -> str:
    return terminal.written(columns, writer(run, seen or view(), columns, no_colour=no_colour))


def piped(run: Run, folder: Path, seen: View | None = None) -> str:
    file = folder / "out"
    with file.open("w", encoding="utf-8") as stream:
        writer(run, seen or view(), 80, no_colour=False)(stream)
    return file.read_text()


@pytest.mark.covers("exp:X12", "exp:R1", "exp:R2", "exp:R3")
@pytest.mark.parametrize("columns", [80, 100])
def test_forty_hosts_look_like_this_on_a_terminal(columns: int) -> None:
    text = on_terminal(reports.forty_hosts(), columns)
    assert text == (GOLDEN / f"forty-hosts-{columns}.txt").read_text()
    assert max(map(len, text.splitlines())) <= columns


@pytest.mark.covers("exp:R9")
def test_forty_hosts_in_a_pipe_are_whole_lines_without_an_escape(tmp_path: Path) -> None:
    text = piped(reports.forty_hosts(), tmp_path)
    assert text == (GOLDEN / "forty-hosts-piped.txt").read_text()
    assert "\x1b" not in text


@pytest.mark.covers("exp:X12")
def test_every_host_and_every_bad_result_can_be_found_in_a_pipe(tmp_path: Path) -> None:
    run = reports.forty_hosts()
    lines = piped(run, tmp_path).splitlines()
    for report in run.reports:
        assert any(re.match(rf"(CRIT|WARN|UNREACH|OK) {report.host}( |$)", line) for line in lines), report.host


@pytest.mark.covers("exp:R2")
def test_colour_changes_nothing_but_colour() -> None:
    run = reports.forty_hosts()
    coloured = on_terminal(run, no_colour=False)
    assert "\x1b[31;1m" in coloured
    assert terminal.COLOUR.sub("", coloured) == on_terminal(run)


@pytest.mark.covers("exp:R3")
def test_without_folding_each_host_has_its_line() -> None:
    text = on_terminal(reports.forty_hosts(), seen=view(folded=False))
    assert len(re.findall(r"^✗ CRIT    app(?:07|11) ", text, re.MULTILINE)) == 2
    assert "same on" not in text


@pytest.mark.covers("exp:R20")
@pytest.mark.parametrize("status", [0, UNKNOWN])
@pytest.mark.parametrize("everything", [True, False])
def test_a_status_of_a_newer_agent_is_a_question_mark_and_never_ok(
    status: "Status.ValueType", everything: bool, tmp_path: Path
) -> None:
    report = reports.answered("web01", reports.finding("NEW-RULE", status, summary="odd"))
    run = reports.run(report)
    assert report.state == State.FAILED
    shown = on_terminal(run, seen=view(everything=everything))
    assert shown.startswith("? ?       web01 ")
    assert "✓" not in shown
    assert piped(run, tmp_path, view(everything=everything)).startswith("? web01 NEW-RULE ")
    assert "1 host: 1 failed " in shown


@pytest.mark.covers("exp:R20")
def test_what_was_skipped_is_named_with_its_reason_and_not_counted_as_looked_at(tmp_path: Path) -> None:
    skips = [reports.skipped(f"DOCKER-{name}", "needs root") for name in ("A", "B", "C", "D", "E")]
    run = reports.run(reports.answered("web01", *skips, reports.skipped("PG-UP", "no PostgreSQL here")))
    text = piped(run, tmp_path)
    assert "SKIPPED web01 needs root: DOCKER-A, DOCKER-B and 3 more\n" in text
    assert "SKIPPED web01 no PostgreSQL here: PG-UP\n" in text
    whole = piped(run, tmp_path, view(everything=True))
    assert "SKIPPED web01 needs root: DOCKER-A, DOCKER-B, DOCKER-C, DOCKER-D, DOCKER-E\n" in whole


def test_equal_results_about_several_subjects_name_them_all() -> None:
    full = [
        reports.finding("HOST-DISK-SPACE", STATUS_WARN, name=f"/srv/{name}", summary="93% of 120 GB is used")
        for name in ("a", "b", "c", "d")
    ]
    text = on_terminal(reports.run(reports.answered("db01", *full[:2])))
    assert "host /srv/a, /srv/b: 93%" in text
    assert "host /srv/a, /srv/b and 2 more: 93%" in on_terminal(reports.run(reports.answered("db01", *full)))


def test_what_is_well_is_shown_when_asked_for(tmp_path: Path) -> None:
    run = reports.run(reports.answered("web01", reports.finding(), reports.finding("X-Y", STATUS_INFO, summary="new")))
    assert "HOST-MEM" not in piped(run, tmp_path)
    whole = piped(run, tmp_path, view(everything=True))
    assert whole.index("INFO web01 X-Y") < whole.index("OK web01 HOST-MEM")


@pytest.mark.covers("exp:R2")
def test_a_silent_host_comes_before_a_warning_and_after_what_is_critical() -> None:
    run = reports.run(
        reports.answered("a", reports.finding("W-W", STATUS_WARN)),
        reports.silent("b"),
        reports.silent("c", State.TIMEOUT, "connected, but no whole answer"),
        reports.answered("d", reports.finding("C-C", STATUS_CRIT)),
    )
    signs = [line.split()[1] for line in on_terminal(run).splitlines() if re.match(r"[✗?!✓]", line)]
    assert signs == ["CRIT", "UNREACH", "TIMEOUT", "WARN"]


@pytest.mark.covers("exp:R1", "inv:F2")
def test_the_totals_count_each_host_once() -> None:
    run = reports.run(
        reports.answered("a", reports.finding()),
        reports.answered("b", reports.finding(), reports.finding("W-W", STATUS_WARN)),
        reports.answered("c", reports.finding("C-C", STATUS_CRIT), reports.finding("W-W", STATUS_WARN)),
        reports.silent("d"),
        reports.silent("e", State.TIMEOUT),
        *(reports.silent(state, state) for state in (State.SKIPPED, State.NOT_ATTEMPTED, State.CANCELLED)),
    )
    totals = on_terminal(run, seen=view(again=HERE)).splitlines()[-2]
    assert totals == "8 hosts: 1 ok  1 warn  1 failed  2 unreachable  3 not checked   5 checks in 3.4s   run 7F3K"
    assert sum(map(int, re.findall(r"(\d+) (?:ok|warn|failed|unreachable|not checked)", totals))) == len(run.reports)


def test_nothing_bad_names_the_way_to_see_it_all() -> None:
    text = on_terminal(reports.run(reports.answered("a", reports.finding())))
    assert text.endswith("all of it: fleetmedic check all --inventory ./inventory.yml --show all   exit code 0\n")
    here = on_terminal(reports.run(reports.answered("a", reports.finding())), seen=view(again=HERE))
    assert here.endswith("all of it: fleetmedic check --include 'HOST-*' --show all   exit code 0\n")


def test_a_host_on_which_every_check_was_skipped_is_not_ok() -> None:
    nothing = reports.answered("b", reports.finding("S-S", STATUS_SKIPPED))
    text = on_terminal(reports.run(reports.answered("a", reports.finding()), nothing))
    assert "2 hosts: 1 ok  1 not checked   1 check in" in text
    assert re.search(r"OK +1 host +a\n", text)


@pytest.mark.covers("exp:R19")
@pytest.mark.parametrize(
    ("since", "said"),
    [
        (reports.NOW - 9, "since 14:39Z (9s)"),
        (reports.NOW - 3599, "since 13:40Z (59m)"),
        (reports.NOW - 7200, "since 12:40Z (2h)"),
        (reports.NOW - 90_000, "since 2024-01-14 13:40Z (1d)"),
        (reports.NOW + 30, "since 14:40Z (0s)"),
        (1e15, "since when is no date"),
        (-1e15, "since when is no date"),
    ],
)
def test_a_bad_result_says_since_when(since: float, said: str) -> None:
    run = reports.run(reports.answered("a", reports.finding("C-C", STATUS_CRIT, since=since)))
    assert said in on_terminal(run)


def test_what_is_well_has_no_since() -> None:
    run = reports.run(reports.answered("a", reports.finding(since=reports.NOW - 9)))
    assert "since" not in on_terminal(run, seen=view(everything=True))


@pytest.mark.covers("exp:R19")
def test_the_next_step_names_the_hosts_that_need_it() -> None:
    step = "fleetmedic check {host} --show all"
    run = reports.run(*(reports.answered(f"a{n}", reports.finding("C-C", STATUS_CRIT, next_step=step)) for n in (1, 2)))
    assert "next: fleetmedic check a1,a2 --inventory ./inventory.yml --show all" in on_terminal(run)


@pytest.mark.covers("exp:X3")
@pytest.mark.parametrize(("offset", "said"), [(7.0, True), (-7.0, True), (0.9, False), (None, False)])
def test_a_clock_that_is_off_is_told(offset: float | None, said: bool) -> None:
    text = on_terminal(reports.run(reports.answered("a", reports.finding(), clock_offset=offset)))
    assert ("its clock is" in text) is said
    assert not said or f"{offset:+.1f}s" in text


hostile = st.text(st.characters(codec="utf-8"), max_size=40)


@pytest.mark.covers("sec:B5")
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(hostile, hostile, hostile, hostile, hostile, st.integers(-1, 12)), max_size=4))
def test_no_text_of_a_host_reaches_the_terminal_raw(items: list[tuple[str, str, str, str, str, int]]) -> None:
    findings = [
        reports.finding(identity, _status(status), service, name, summary, step)
        for identity, service, name, summary, step, status in items
    ]
    run = reports.run(reports.answered("web01", *findings), reports.silent("web02", cause="a\x1b]0;x\x07\nb\u202e"))
    text = on_terminal(run, seen=view(everything=True))
    for row in text.splitlines():
        assert escape.line(row) == row


def _status(value: int) -> "Status.ValueType":
    made = Finding()
    made.ParseFromString(bytes([0x10, max(0, value)]))
    return made.status


def test_the_line_before_the_answers_is_for_who_waits_at_a_terminal(tmp_path: Path) -> None:
    def write(stream: TextIO) -> None:
        check_text.head(paper(stream, {}, 100, no_colour=True), "prod", 40, "./inventory.yml", 32, 10.0)

    assert terminal.written(100, write) == "prod: 40 hosts   inventory ./inventory.yml   forks 32   deadline 10s\n\n"
    file = tmp_path / "out"
    with file.open("w") as stream:
        write(stream)
    assert file.read_text() == ""


def test_the_example_is_the_one_of_the_page() -> None:
    states = [report.state for report in reports.forty_hosts().reports]
    well = [report.host for report in reports.forty_hosts().reports if report.state == State.OK and not report.warns]
    assert (len(states), len(well), states.count(State.FAILED), states.count(State.UNREACHABLE)) == (40, 34, 3, 1)


def test_an_ok_result_has_the_word_ok() -> None:
    text = on_terminal(
        reports.run(reports.answered("a", reports.finding("X-Y", STATUS_OK))), seen=view(everything=True)
    )
    assert text.startswith("✓ OK      a               X-Y  host memory: 41% is free\n")


def test_a_summary_without_end_is_cut() -> None:
    text = on_terminal(reports.run(reports.answered("a", reports.finding(status=STATUS_CRIT, summary="x y " * 10**6))))
    assert len(text) < 6000


@pytest.mark.covers("exp:R20")
def test_on_a_terminal_what_is_not_there_is_one_line_and_a_missing_right_one_of_its_own(tmp_path: Path) -> None:
    absences = [reports.skipped(f"{name}-X", f"no {name} found") for name in ("PG", "TLS", "DNS")]
    run = reports.run(reports.answered("web01", *absences, reports.skipped("DOCKER-A", "needs root")))
    shown = on_terminal(run)
    assert "3 checks with nothing to look at there (DNS, PG, TLS): --show all has the" in shown
    assert "needs root: DOCKER-A" in shown
    assert "no TLS found" not in shown
    assert "no TLS found: TLS-X" in on_terminal(run, seen=view(everything=True))
    assert "no TLS found: TLS-X" in piped(run, tmp_path)
