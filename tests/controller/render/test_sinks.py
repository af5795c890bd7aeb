"""Whatever a host says, no place we write it to gets a raw byte of it: 500 hostile hosts, every form of output."""

import csv
import datetime
import io
import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import click.testing
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from controller import changes, snoozing, tables
from controller.cli import describe, runs, snooze
from controller.describing import Described
from controller.doctor import answering
from controller.doctor.ours import Ours
from controller.doctor.standing import stands
from controller.doctor.steps import Diagnosis, Fault, Passed, Step
from controller.endings import State
from controller.host_report import HostReport, judged
from controller.render import (
    audit_text,
    changes_json,
    changes_text,
    check_json,
    check_junit,
    check_nagios,
    check_paste,
    check_text,
    doctor,
    escape,
    freeze_text,
    frozen_text,
    incident_json,
    incident_markdown,
    ping,
    run_text,
    show_text,
    standing,
    tree,
)
from controller.render.check_text import Again, View
from controller.render.doctor import Examined
from controller.render.freeze_text import Wish
from controller.render.paper import Paper
from controller.render.ping import Pinged
from controller.render.standing import Standings
from controller.reports import gathering
from controller.reports.gathering import Given
from controller.reports.severity import LEVELS
from controller.snoozing import Rest
from controller.store import database, snoozes
from controller.store import runs as kept
from controller.store.runs import Run
from controller.store.snoozes import About, Snooze
from controller.telling import Told
from controller.transport.mtls import Identity
from fleetmedic.v1.agent_pb2 import AuditResponse, CheckResponse, DescribeResponse, SetFreezeResponse
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_WARN
from fleetmedic.v1.snapshot_pb2 import Snapshot
from tests.controller import reports
from tests.controller.hostile_answers import PIECES, WORDS, cycling, filled
from tests.controller.reports import NOW

# Controls, what ends a line, what turns text round or hides it. A line end of ours and no other is allowed.
RAW = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]"
)
# One piece a field: lists of lists cost hypothesis more than all that is tested.
SAID = st.tuples(st.lists(st.sampled_from(PIECES) | st.text(max_size=6), min_size=5, max_size=9), st.integers(0, 999))
Said = tuple[list[str], int]
FIVE_HUNDRED = settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))


class Screen(io.StringIO):
    """Say to be a terminal."""

    def isatty(self) -> bool:
        return True


def papers() -> Iterator[Paper]:
    """A terminal without colours, whose escapes are ours and not the host's, and a pipe."""
    for terminal in (True, False):
        yield Paper(Screen(), terminal, False, True, 100)


def text_of(paper: Paper) -> str:
    assert isinstance(paper.stream, io.StringIO)
    return paper.stream.getvalue()


def hostile_run(said: Said, identity: str = "7F3K") -> tuple[Run, Rest]:
    """A host that answers in every field, one whose cause is hostile, and a snooze of somebody hostile."""
    answer = CheckResponse()
    words, numbers = cycling(*said)
    filled(answer, words, numbers, depth=3)
    del answer.snapshots[:]
    answer.findings[0].status, answer.findings[1].status = STATUS_CRIT, STATUS_WARN
    links = {answer.findings[0].subject.service: ((next(words), next(words)),)}
    bad = HostReport("web01", judged(answer.findings), "", 0.1, answer, 3.5, 1, links=links)
    silent = HostReport("web02", State.UNREACHABLE, next(words), 0.1, CheckResponse())
    run = replace(reports.run(bad, silent, identity=identity, inventory=next(words)), pattern=next(words))
    subject = answer.findings[1].subject
    about = About("web01", subject.service, subject.kind, subject.name, STATUS_WARN)
    held = Snooze("K4TP", answer.findings[1].id, "", next(words), next(words), NOW - 60, NOW + 7200, (about,))
    ended = replace(held, id="K4TQ", ended_at=NOW - 30, ended_by=next(words))
    shown, rest = snoozing.apply(run, (held, ended), NOW)
    return shown, rest


def hold(text: str) -> None:
    found = RAW.search(text)
    assert found is None, ascii(text[max(0, found.start() - 40) : found.end() + 20])


@pytest.mark.covers("sec:sinks", "sec:B5")
@FIVE_HUNDRED
@given(SAID)
@example((list(PIECES), 3))
def test_a_terminal_and_a_pipe_get_no_raw_byte_of_a_check_a_run_or_what_changed(said: Said) -> None:
    run, rest = hostile_run(said)
    found = changes.compare(reports.run(reports.answered("web01"), reports.answered("web02"), identity="AAAA"), run)
    for paper in papers():
        view = View(everything=True, folded=True, again=Again("fleetmedic check"), now=NOW, rest=rest)
        check_text.head(paper, run.pattern, 2, run.inventory, 32, 10.0)
        check_text.body(paper, run, view)
        run_text.body(paper, run, None, rest)
        changes_text.body(paper, run, found, view, 2)
        hold(text_of(paper))


@pytest.mark.covers("sec:sinks", "sec:B5")
@FIVE_HUNDRED
@given(SAID)
@example((list(PIECES), 3))
def test_a_program_gets_ascii_json_well_formed_xml_and_a_plugin_s_lines(said: Said) -> None:
    run, rest = hostile_run(said)
    found = changes.compare(reports.run(identity="AAAA"), run)
    for document in (
        check_json.document(run, rest),
        *(check_json.one_line(check_json.host(report)) for report in run.reports),
        check_json.one_line(check_json.summary(run, rest)),
        changes_json.document(run, found, rest, 2),
    ):
        assert document.isascii()
        hold(document)
        json.loads(document, parse_constant=pytest.fail)
    junit = check_junit.document(run, rest)
    hold(junit)
    assert {each.tag for each in ElementTree.fromstring(junit).iter()} <= {
        "testsuites", "testsuite", "properties", "property", "testcase", "failure", "error", "skipped", "system-out",
        "system-err",
    }  # fmt: skip
    nagios = check_nagios.text(run, rest)
    hold(nagios)
    assert nagios.count("|") == 1
    paste = check_paste.lines(run, rest)
    hold("\n".join(paste))
    assert all("\n" not in line for line in paste)


@pytest.mark.covers("sec:sinks", "sec:B5")
@FIVE_HUNDRED
@given(SAID, st.sampled_from(sorted(tables.KINDS)))
def test_tables_of_what_agents_saw_are_shown_without_a_raw_byte(said: Said, name: str) -> None:
    kind = tables.KINDS[name]
    words, numbers = cycling(*said)
    answer = CheckResponse(last=True)
    for probe in (*kind.probes, *kind.also):
        snapshot = answer.snapshots.add()
        filled(getattr(snapshot, probe), words, numbers)
        if probe in kind.probes:
            for field in ("error_class", "error_text"):
                if hasattr(getattr(snapshot, probe), field):
                    setattr(getattr(snapshot, probe), field, "")
        filled(snapshot.target, words, numbers).probe = probe
    failed = Snapshot()
    filled(failed.failure, words, numbers)
    filled(failed.target, words, numbers).probe = kind.probes[0]
    answer.snapshots.append(failed)
    silent = HostReport("web02", State.UNREACHABLE, next(words), 0.1, CheckResponse())
    made = tables.table(kind, [HostReport("web01", State.OK, "", 0.1, answer), silent])
    assert made.rows or made.unseen
    for paper in papers():
        show_text.body(paper, name, made, 2, 0)
        hold(text_of(paper))
    for record in show_text.records(name, made):
        assert record.isascii()
        json.loads(record, parse_constant=pytest.fail)
        hold(record)


@pytest.mark.covers("sec:sinks", "sec:B5")
@FIVE_HUNDRED
@given(SAID)
@example((list(PIECES), 3))
def test_ping_and_describe_show_versions_errors_rules_and_targets_without_a_raw_byte(said: Said) -> None:
    words, numbers = cycling(*said)
    whole, half = (filled(DescribeResponse(), words, numbers) for _ in range(2))
    whole.worker_error = ""
    items = [
        Described("web01", whole, "", 1.5, 0.1),
        Described("web02", half, "", 1.5, 0.1),
        Described("web03", None, next(words), state=State.FAILED),
    ]
    pinged = Pinged(items, 1.0, 4)
    for paper in papers():
        ping.body(paper, pinged)
        hold(text_of(paper))
    for item in items:
        hold(describe._text(item))
        for record in (json.dumps(describe._record(item)), json.dumps(ping.host(item))):
            hold(record)
    hold(ping.document(pinged))


@pytest.mark.covers("sec:sinks", "sec:B5", "sec:B7")
@FIVE_HUNDRED
@given(SAID)
@example((list(PIECES), 3))
def test_how_agents_stand_what_the_doctor_sees_and_freezes_are_shown_without_a_raw_byte(said: Said) -> None:
    words, numbers = cycling(*said)
    now = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    answer, frozen = filled(DescribeResponse(), words, numbers), filled(SetFreezeResponse(), words, numbers)
    offset = 2.0 ** (said[1] % 64) - 1.5
    described = Described("web01", answer, "", offset, 0.1)
    stood = [stands(item, 7, now) for item in (described, Described("web02", None, next(words), state=State.FAILED))]
    standings = Standings(stood, 7, now, 2, "")
    told: list[Told[SetFreezeResponse]] = [Told("web01", frozen, ""), Told("web02", None, next(words), State.FAILED)]
    wish = Wish(True, next(words))
    steps = (Passed(Step.TLS, next(words)),)
    sick = Diagnosis("web01", steps, Fault(Step.IDENTITY, next(words), next(words)), answering.notes(answer))
    ours = Ours("c", "k", Identity(b"", b"", b""), "alice", "admin", "x", now, now)
    examined = Examined(ours, [sick, Diagnosis("web02", steps, None, (next(words),))], "", 2)
    for paper in papers():
        standing.body(paper, standings)
        freeze_text.body(paper, wish, told, 0.1)
        frozen_text.write(paper, [("web01", answer.standing)], alarms=True)
        doctor.body(paper, examined)
        hold(text_of(paper))
    for document in (
        standing.document(standings),
        doctor.document(examined),
        *(freeze_text.record(item, wish) for item in told),
    ):
        hold(json.dumps(document))


@pytest.mark.covers("sec:sinks", "sec:B5")
@FIVE_HUNDRED
@given(SAID, st.booleans())
@example((list(PIECES), 3), True)
def test_records_of_an_audit_log_are_shown_and_exported_without_a_raw_byte(said: Said, whole: bool) -> None:
    words, numbers = cycling(*said)
    record = json.dumps({name: next(words) for name in audit_text.TEXTS}) if whole else next(words)
    message = AuditResponse(
        sequence=abs(next(numbers)) % 2**31, hash=bytes(32), record=record.encode("utf-8", "replace")
    )
    for paper in papers():
        audit_text.write(paper, audit_text.entry("web01", message))
        hold(text_of(paper))
    hold(json.dumps(audit_text.record(audit_text.entry("web01", message))))
    hold(audit_text.exported("web01", message))
    row = audit_text.csv_row("web01", message)
    hold(row)
    assert len(next(csv.reader([audit_text.csv_head()]))) == len(next(csv.reader([row], strict=True)))


READER = MarkdownIt("gfm-like", {"html": True, "linkify": False}).enable("table")


@pytest.mark.covers("sec:sinks", "sec:B5")
@settings(FIVE_HUNDRED, max_examples=150)  # each with a dozen hostile texts, read by a Markdown parser
@given(SAID)
@example((list(PIECES), 3))
def test_a_report_has_no_raw_byte_and_no_html_link_or_picture_of_a_host(said: Said) -> None:
    run, _ = hostile_run(said)
    base = sqlite3.connect(":memory:", isolation_level=None)
    database.migrate(base)
    kept.save(base, run, said[0][0].encode("utf-8", "replace").decode(), NOW)
    given = Given(said[0][1], LEVELS["SEV2"], NOW - 600, NOW + 600, False)
    made = gathering.gather(base, given, NOW + 1200)
    base.close()
    report = incident_markdown.document(made)
    hold(report)
    flat = [
        inner for token in READER.parse(report.partition("\n---\n")[2]) for inner in (token, *(token.children or ()))
    ]
    assert not {token.type for token in flat} & {"html_block", "html_inline", "image"}
    assert all(str(token.attrGet("href")).startswith("#e") for token in flat if token.type == "link_open")
    assert not re.search(r"[/.]", gathering.slug(said[0][1]))
    written = incident_json.document(made)
    json.loads(written)
    hold(written)


@pytest.mark.covers("sec:sinks", "sec:B5", "sec:B4")
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(SAID)
@example((list(PIECES), 3))
def test_the_files_of_an_output_folder_hold_no_raw_byte(tmp_path: Path, said: Said) -> None:
    run, rest = hostile_run(said)
    folder = tmp_path / "out"
    tree.write(
        folder, run, run, View(everything=True, folded=True, again=Again("fleetmedic check"), now=NOW, rest=rest)
    )
    assert {file.name for file in folder.iterdir()} == {
        f"{name}.{kind}" for name in ("web01", "web02", "summary") for kind in ("json", "txt")
    }
    assert list(tmp_path.iterdir()) == [folder]
    for file in folder.iterdir():
        hold(file.read_text())


@pytest.mark.covers("sec:sinks", "sec:B5")
def test_lists_of_runs_and_snoozes_show_five_hundred_hostile_ones_without_a_raw_byte(tmp_path: Path) -> None:
    store = tmp_path / "controller.db"
    base = database.connect(store)
    for number in range(500):
        piece = PIECES[number % len(PIECES)]
        text = f"{piece}x{PIECES[(7 * number + 3) % len(PIECES)]}"
        run = replace(reports.run(identity=f"R{number}", inventory=text), pattern=text)
        kept.save(base, run, text, NOW)
        about = (About("web01", text, text, text, STATUS_CRIT),)
        snoozes.add(base, Snooze(f"S{number}", text, text, text, text, NOW, NOW + 60 + number, about))
    base.close()
    for command, words in (
        (runs.command, ["list", "--most", "500"]),
        (runs.command, ["show", "R3"]),
        (snooze.command, ["list", "--all"]),
        (snooze.command, ["list", "--all", "--format", "json"]),
    ):
        done = click.testing.CliRunner().invoke(command, [*words, "--store", str(store)], standalone_mode=False)
        assert done.exception is None
        hold(done.stdout)
        assert len(done.stdout.splitlines()) >= 500 or "R3" in words


class Page(HTMLParser):
    """Keeps what a browser would see of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, Sequence[tuple[str, str | None]]]] = []
        self.shown = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.shown += data


@pytest.mark.covers("sec:sinks", "sec:B5")
@FIVE_HUNDRED
@given(WORDS)
@example("".join(PIECES))
def test_in_html_it_is_text_and_whole_as_an_element_s_and_as_an_attribute_s(said: str) -> None:
    made = escape.html(said)
    hold(made)
    assert "\n" not in made
    page = Page(f"<p title=\"{made}\" class='{made}'>{made}</p>")
    assert page.tags == [("p", [("title", escape.line(said)), ("class", escape.line(said))])]
    assert page.shown == escape.line(said)


@pytest.mark.covers("sec:sinks", "sec:B5")
@FIVE_HUNDRED
@given(WORDS)
@example("".join(PIECES))
def test_in_csv_it_is_one_cell_and_never_a_formula(said: str) -> None:
    source = f"{escape.csv_cell('first')},{escape.csv_cell(said)},{escape.csv_cell('last')}\r\n"
    ((first, cell, last),) = csv.reader(io.StringIO(source, newline=""), strict=True)
    assert (first, last) == ("first", "last")
    hold(source.removesuffix("\r\n"))
    assert not re.match(r"\s*[=+\-@＝＋－＠]", cell)
    assert cell.removeprefix("'") == escape.line(said).removeprefix("'")


@pytest.mark.covers("sec:sinks")
@pytest.mark.parametrize("said", ["=1+1", "+1", "-1", "@x", "\t=1", "\tx", "\rx", " =1", "＝1", "－1"])
def test_what_a_spreadsheet_would_count_is_marked_as_text(said: str) -> None:
    assert escape.csv_cell(said).startswith("\"'")


@pytest.mark.parametrize(
    ("said", "made"), [("db01", '"db01"'), ("1.5", '"1.5"'), ('a "b"', '"a ""b"""'), ("a-b", '"a-b"')]
)
def test_an_ordinary_cell_stays_as_it_is(said: str, made: str) -> None:
    assert escape.csv_cell(said) == made
