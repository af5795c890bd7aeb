"""A report tells what the runs know, in its order and no more, and asks for the rest."""

import hashlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from controller.endings import State
from controller.host_report import HostReport
from controller.render import escape, incident_json, incident_markdown
from controller.reports import gathering
from controller.reports.gathering import Given
from controller.reports.incident import Incident
from controller.reports.severity import LEVELS, parse
from controller.store import runs
from controller.store.database import connect
from fleetmedic.v1.finding_pb2 import (
    STATUS_CRIT,
    STATUS_ERROR,
    STATUS_INFO,
    STATUS_WARN,
    Finding,
    Metric,
    Row,
    Table,
)
from tests.controller import reports
from tests.controller.render.test_markdown import FOREIGN, HOSTILE
from tests.controller.reports import NEWER, NOW, answered, finding, silent

MINUTE = 60.0


@dataclass
class History:
    """A store that is filled run by run, `minute` by minute from NOW, and reported on."""

    folder: Path
    names: Iterator[str] = field(default_factory=lambda: iter(f"R{number:03d}" for number in range(1000)))

    def __post_init__(self) -> None:
        self.base = connect(self.folder / "a.db")

    def check(self, minute: float, *given: HostReport) -> str:
        name = next(self.names)
        made = replace(reports.run(*given, identity=name), started_at=NOW + minute * MINUTE, seconds=0.5)
        runs.save(self.base, made, "alice", made.started_at)
        return name

    def report(
        self,
        severity: str = "SEV2",
        start: float | None = 0,
        end: float | None = 30,
        title: str = "Orders time out",
        light: bool = False,
    ) -> Incident:
        asked = Given(title, LEVELS[severity], _at(start), _at(end), light)
        return gathering.gather(self.base, asked, NOW + 60 * MINUTE)

    def text(self, **given: Any) -> str:
        return incident_markdown.document(self.report(**given))


def _at(minute: float | None) -> float | None:
    return None if minute is None else NOW + minute * MINUTE


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    """Open an empty store."""
    made = History(tmp_path)
    yield made
    made.base.close()


def lock(minute: float = 3, summary: str = "session 203 blocks 5 sessions", status: Any = STATUS_CRIT) -> Finding:
    made = finding("PG-LOCK-ROOT", status, "postgres", "pid 203", summary, "end session 203", NOW + minute * MINUTE)
    made.equal_command = "psql -c 'SELECT 1'"
    made.table.CopyFrom(Table(columns=["pid", "state"], rows=[Row(cells=["203", "idle in transaction"])]))
    made.excerpt = "LOG:  still waiting"
    return made


def health(minute: float = 4) -> Finding:
    return finding("HTTP-HEALTH", STATUS_CRIT, "orders", "http://x/ready", "503", "look", NOW + minute * MINUTE)


def well_db(host: str = "db01") -> HostReport:
    return answered(host, finding("PG-LOCK-ROOT", service="postgres", name="x"))


def well_web(host: str = "web01") -> HostReport:
    return answered(host, finding("HTTP-HEALTH", service="orders", name="http://x/ready"))


def play_lock(history: History) -> list[str]:
    return [
        history.check(-2, well_web(), well_db()),
        history.check(5, answered("web01", health()), answered("db01", lock())),
        history.check(10, answered("web01", health()), answered("db01", lock(summary="blocks 9 sessions"))),
        history.check(15, well_web(), well_db()),
    ]


def headings(text: str, level: str = "##") -> list[str]:
    """Read by a Markdown parser, so that what is quoted is none."""
    parsed = MarkdownIt("commonmark").parse(text.partition("\n---\n")[2])
    tag = f"h{len(level)}"
    return [
        after.content
        for token, after in zip(parsed, parsed[1:], strict=False)
        if (token.type, token.tag) == ("heading_open", tag)
    ]


def section(text: str, heading: str) -> str:
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def times(incident: Incident, kind: str) -> list[tuple[float, tuple[str, ...], str]]:
    return [((row.at - NOW) / MINUTE, row.hosts, row.run) for row in incident.timeline if row.kind == kind]


@pytest.mark.covers("exp:I5")
def test_the_seven_sections_are_there_in_the_procedures_order_with_and_without_runs(history: History) -> None:
    wanted = [
        "Summary", "Timeline", "Root cause", "Contributing factors", "What went well", "What could be improved",
        "Action items",
    ]  # fmt: skip
    assert headings(history.text()) == wanted
    play_lock(history)
    assert headings(history.text()) == [*wanted, "Evidence"]


@pytest.mark.covers("exp:I2")
def test_a_light_review_has_three_sections(history: History) -> None:
    play_lock(history)
    text = history.text(severity="SEV3", light=True)
    assert headings(text) == ["Summary", "What we change", "Actions"]
    assert "PG-LOCK-ROOT" in text
    assert LEVELS["SEV3"].light
    assert not LEVELS["SEV2"].light


@pytest.mark.covers("exp:I5")
def test_what_only_people_know_is_asked_for_in_every_section_and_never_looks_like_content(history: History) -> None:
    play_lock(history)
    text = history.text()
    for name in headings(text)[:6]:
        assert re.search(r"^ *> (- )?TO FILL: ", section(text, name), re.MULTILINE), name
    assert section(text, "Action items").count("TO FILL") >= 4
    outside = [line for line in text.splitlines() if "TO FILL" in line and not re.match(r" *> |\| A\d|\*Draft", line)]
    assert outside == []


@pytest.mark.covers("exp:I3")
def test_the_front_matter_is_read_back_with_times_as_times(history: History) -> None:
    play_lock(history)
    front = yaml.safe_load(
        history.text(title='He \U0001f600 said: "nö" # \n---\ufffe').split("\n---\n")[0].removeprefix("---\n")
    )
    assert front["title"] == 'He \U0001f600 said: "nö" # \n---\ufffe'
    assert (front["severity"], front["schema"], front["state"]) == ("SEV2", "incident-report/1", "draft")
    assert front["start"].timestamp() == NOW
    assert front["review_due"].timestamp() == NOW + 30 * MINUTE + 48 * 3600
    assert front["milestones"]["onset"].timestamp() == NOW + 3 * MINUTE
    assert front["milestones"]["well_again"].timestamp() == NOW + 15 * MINUTE
    assert front["milestones"]["acknowledged"] is None
    assert front["services"] == ["orders", "postgres"]
    assert front["runs"] == ["R001", "R002", "R003"]


@pytest.mark.covers("exp:I5")
def test_the_timeline_has_each_run_and_what_it_saw_begin_and_end(history: History) -> None:
    before, first, second, last = play_lock(history)
    made = history.report()
    assert times(made, "check") == [(-2, (), before), (5, (), first), (10, (), second), (15, (), last)]
    assert times(made, "first seen") == [(3, ("db01",), first), (4, ("web01",), first)]
    assert times(made, "gone") == [(15, ("db01",), last), (15, ("web01",), last)]
    timeline = section(history.text(), "Timeline")
    assert "| 14:43:00Z | first seen | **db01**: PG-LOCK-ROOT (crit): session 203 blocks 5 sessions |" in timeline
    assert "those without a date are of 2024-01-15" in timeline


@pytest.mark.covers("exp:I5")
def test_what_depends_on_what_began_before_it_is_told_as_its_likely_consequence(history: History) -> None:
    play_lock(history)
    made = history.report()
    assert [item.id for item in made.leads] == ["PG-LOCK-ROOT", "HTTP-HEALTH"]
    assert [(link.effect, link.cause) for link in made.links] == [("E2", "E1")]
    said = section(history.text(), "Root cause")
    assert "**Likely a consequence** of PG-LOCK-ROOT ([E1](#e1)): seen within the same minute" in said
    assert "evidence and no verdict" in said


def test_what_began_well_before_is_no_consequence_of_what_came_later(history: History) -> None:
    history.check(-2, well_web(), well_db())
    history.check(5, answered("web01", health(0)), answered("db01", lock(4)))
    made = history.report()
    assert [item.id for item in made.leads] == ["HTTP-HEALTH", "PG-LOCK-ROOT"]
    assert made.links == ()


def test_of_what_one_look_saw_the_deepest_stands_first(history: History) -> None:
    memory = finding("HOST-MEM", STATUS_CRIT, summary="1% is free", since=NOW + 3 * MINUTE + 2)
    history.check(3, answered("web01", health(3)), answered("db01", lock(3), memory))
    made = history.report()
    assert [item.id for item in made.leads] == ["HOST-MEM", "PG-LOCK-ROOT", "HTTP-HEALTH"]
    assert [(link.effect, link.cause) for link in made.links] == [("E2", "E1"), ("E3", "E2")]


@pytest.mark.covers("exp:I6")
def test_the_five_whys_go_down_the_evidence_and_then_ask(history: History) -> None:
    play_lock(history)
    said = section(history.text(), "Root cause").partition("### Five whys")[2]
    assert re.findall(r"^(\d)\. (Why.*?\?)", said, re.MULTILINE) == [
        ("1", "Why were users affected?"),
        ("2", "Why was HTTP-HEALTH on web01 bad?"),
        ("3", "Why was PG-LOCK-ROOT on db01 bad?"),
        ("4", "Why?"),
        ("5", "Why?"),
    ]
    assert said.count("TO FILL: because") == 3


@pytest.mark.covers("exp:looked")
def test_a_run_that_did_not_look_does_not_make_it_well_again(history: History) -> None:
    history.check(5, answered("db01", lock()))
    history.check(10, answered("db01", finding("HOST-MEM")))
    history.check(11, answered("db01", reports.skipped("PG-LOCK-ROOT", "no login")))
    history.check(12, silent("db01"))
    made = history.report()
    assert times(made, "gone") == []
    assert made.found[0].still == ("db01",)
    assert "Not seen well again by any run: PG-LOCK-ROOT on db01" in history.text()
    assert "end what was not seen well again: PG-LOCK-ROOT on db01" in section(history.text(), "Action items")


def test_what_comes_back_is_a_second_finding(history: History) -> None:
    history.check(1, answered("db01", lock(1)))
    history.check(5, well_db())
    history.check(10, answered("db01", lock(9)))
    made = history.report()
    assert [(item.key, item.onset, item.still) for item in made.found] == [
        ("E1", NOW + MINUTE, ()),
        ("E2", NOW + 9 * MINUTE, ("db01",)),
    ]


def test_what_gets_worse_is_told_with_when(history: History) -> None:
    history.check(1, answered("db01", lock(1, "waits 6s", STATUS_WARN)))
    second = history.check(4, answered("db01", lock(1, "waits 31s")))
    made = history.report()
    assert times(made, "worse") == [(4, ("db01",), second)]
    assert [item.word for item in made.found] == ["crit"]
    assert "PG-LOCK-ROOT is crit now: waits 31s" in history.text()


def test_equal_findings_of_many_hosts_are_one_row(history: History) -> None:
    names = [f"app{number:02d}" for number in range(1, 21)]
    history.check(5, *(answered(name, health(4 + number / 60)) for number, name in enumerate(names)))
    history.check(9, *(well_web(name) for name in names[:15]), *(answered(name, health(4)) for name in names[15:]))
    made = history.report()
    assert [len(item.hosts) for item in made.found] == [20]
    text = history.text()
    assert "**app01-20**: HTTP-HEALTH (crit): 503" in text
    assert "**app01-15**: HTTP-HEALTH looked again and finds nothing bad" in text
    assert "| no (app16-20) |" in text


def test_runs_with_the_same_result_are_folded_into_first_and_last(history: History) -> None:
    names = [history.check(minute, answered("db01", lock())) for minute in range(5, 25)]
    assert times(history.report(), "check") == [(5, (), names[0]), (24, (), names[-1])]
    assert "the last of 19 more with the same result since run R000" in history.text()


def test_a_host_that_fell_silent_is_told_with_when_it_answered_again(history: History) -> None:
    history.check(-1, well_db())
    first = history.check(3, silent("db01", State.TIMEOUT, "no whole answer"))
    last = history.check(9, well_db())
    made = history.report()
    assert times(made, "first seen") == [(3, ("db01",), first)]
    assert times(made, "gone") == [(9, ("db01",), last)]
    text = history.text()
    assert "no answer: no whole answer" in section(text, "Timeline")
    assert "answers again" in section(text, "Timeline")
    assert "No answer from db01" in section(text, "What could be improved")
    assert "Every host answered" not in text


@pytest.mark.covers("exp:X3")
def test_the_time_of_a_host_whose_clock_is_off_is_corrected_and_said_to_be(history: History) -> None:
    history.check(5, answered("db01", lock(4), clock_offset=90.0))
    made = history.report()
    assert times(made, "first seen")[0][0] == 2.5
    assert "The clock of db01 was 90.0s ahead" in section(history.text(), "What could be improved")


@pytest.mark.covers("sec:B7")
@pytest.mark.parametrize("date", [10**15, -(10**15), int(NOW) + 10**6])
def test_a_first_sight_that_can_not_be_is_that_of_the_run(history: History, date: int) -> None:
    bad = lock()
    bad.first_seen_time.seconds = date
    history.check(5, answered("db01", bad))
    assert times(history.report(), "first seen")[0][0] == 5


def test_it_began_no_earlier_than_it_was_last_found_well(history: History) -> None:
    history.check(2, well_db())
    history.check(5, answered("db01", lock(-50)))
    assert times(history.report(), "first seen")[0][0] == 2


def test_what_was_bad_long_before_is_a_condition_and_not_a_lead(history: History) -> None:
    history.check(5, answered("lb01", finding("TLS-EXPIRY", STATUS_CRIT, "tls", since=NOW - 9 * 86400)))
    history.check(6, answered("db01", lock(5)))
    made = history.report()
    assert [item.id for item in made.leads] == ["PG-LOCK-ROOT"]
    assert [item.id for item in made.background] == ["TLS-EXPIRY"]
    text = history.text()
    assert "Critical since long before the start: TLS-EXPIRY on lb01" in section(text, "Contributing factors")
    assert "| 2024-01-06 14:40:00Z | first seen |" in text
    assert [name for name, _, _ in made.services.affected] == ["postgres"]
    assert made.services.since_before == ("tls",)


def test_a_warning_contributes_and_a_check_that_could_not_look_is_no_cause(history: History) -> None:
    blind = finding("PG-DISK", STATUS_ERROR, "postgres", summary="permission denied")
    history.check(5, answered("db01", lock(), blind, finding("HOST-MEM", STATUS_WARN, summary="9% is free")))
    text = history.text()
    assert "HOST-MEM on db01: 9% is free" in section(text, "Contributing factors")
    assert "Could not look: PG-DISK on db01: permission denied" in section(text, "What could be improved")
    assert "PG-DISK" not in section(text, "Root cause")


def test_a_status_that_is_not_known_is_never_taken_for_well(history: History) -> None:
    history.check(5, answered("db01", finding("N-N", NEWER)))
    made = history.report()
    assert [(item.id, item.word, item.critical) for item in made.found] == [("N-N", "?", True)]


@pytest.mark.covers("exp:I7")
def test_without_a_start_it_is_the_first_sight_of_what_the_first_bad_run_saw(history: History) -> None:
    _, first, *_ = play_lock(history)
    window = history.report(start=None, end=None).asked.window
    assert (window.start, window.end) == (NOW + 3 * MINUTE, NOW + 60 * MINUTE)
    assert first in window.start_from
    assert f"its start was taken from the first sight of what was bad in run {first}" in history.text(start=None)


@pytest.mark.covers("exp:I7")
def test_without_a_start_and_without_anything_bad_the_start_is_not_known(history: History) -> None:
    history.check(5, well_db())
    made = history.report(start=None, end=None)
    assert made.asked.window.start is None
    text = history.text(start=None, end=None)
    assert "**start not known**" in text
    assert "nothing critical began" in section(text, "Summary")


@pytest.mark.covers("exp:I7")
def test_runs_outside_the_time_are_not_in_it(history: History) -> None:
    history.check(-1600, answered("db01", lock(-1600)))
    history.check(40, answered("db01", lock(35)))
    made = history.report()
    assert (made.runs, made.before, made.found, made.timeline) == ((), None, (), ())
    assert "No runs were kept between 2024-01-15 14:40:00Z and 2024-01-15 15:10:00Z" in history.text()


def deployed(ago: float, release: str) -> Finding:
    made = finding("DEPLOY-RECENT", STATUS_INFO, "orders", "orders-app", "orders-app was deployed")
    made.metrics.append(Metric(name="seconds", value=ago))
    made.table.rows.append(Row(cells=("image", release)))
    return made


@pytest.mark.covers("exp:C7")
def test_what_was_deployed_shortly_before_stands_in_the_timeline_and_among_what_may_have_contributed(
    history: History,
) -> None:
    history.check(
        0, well_db(), answered("web01", deployed(60, "orders:2")), answered("web02", deployed(50, "orders:2"))
    )
    history.check(4, answered("db01", lock()), answered("web01", deployed(300, "orders:2"), health()))
    text = history.text(start=0, end=10)
    assert re.search(r"\| change \| \*\*web01,02\*\*: orders was deployed: orders:2 \|", text)
    contributed = section(text, "Contributing factors")
    assert re.search(r"- A change \S+ before the first sight: orders was deployed: orders:2 on web01,02", contributed)


@pytest.mark.covers("exp:S5")
def test_the_json_has_the_whole_model_and_the_hash_of_each_quote(history: History) -> None:
    play_lock(history)
    made = json.loads(incident_json.document(history.report()))
    assert made["schema"] == "incident-report/1"
    assert made["duration_seconds"] == 1800
    assert [row["run"] for row in made["runs"]] == ["R001", "R002", "R003"]
    assert made["run_before"]["run"] == "R000"
    assert [row["key"] for row in made["findings"]] == ["E1", "E2"] == [row["key"] for row in made["evidence"]]
    first = made["evidence"][0]
    assert (first["host"], first["run"], first["command"]) == ("db01", "R002", "psql -c 'SELECT 1'")
    assert first["quote"].splitlines()[0] == "blocks 9 sessions"
    assert "203  idle in transaction" in first["quote"]
    assert "LOG:  still waiting" in first["quote"]
    for row in made["evidence"]:
        assert row["sha256"] == hashlib.sha256(row["quote"].encode()).hexdigest()
    assert made["root_cause"]["verdict"] is None
    assert made["to_fill"]["summary"]
    assert first["sha256"] in history.text()


@pytest.mark.covers("exp:I7")
def test_the_same_input_gives_the_same_bytes(history: History) -> None:
    play_lock(history)
    assert history.text() == history.text()
    assert incident_json.document(history.report()) == incident_json.document(history.report())


@pytest.mark.covers("sec:B5")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_nothing_a_host_says_becomes_markup(tmp_path: Path, data: st.DataObject) -> None:
    said = [data.draw(FOREIGN.map(lambda text: text.encode("utf-8", "ignore").decode())) for _ in range(8)]
    _hold_inert(tmp_path, said)


@pytest.mark.covers("sec:B5")
@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_summary_id_table_command_and_excerpt_stay_inert(tmp_path: Path, hostile: str) -> None:
    _hold_inert(tmp_path, [hostile] * 8)


def _hold_inert(folder: Path, said: list[str]) -> None:
    """Holds the report of a hostile host against that of a tame one: the same structure, block by block."""
    tame, wild = (_report_of(folder, words) for words in (["x"] * 8, said))
    reader = MarkdownIt("gfm-like", {"html": True, "linkify": False}).enable("table")
    links = {token.attrGet("href") for token in _flat(reader.parse(_body(wild))) if token.type == "link_open"}
    assert links <= {"#e1", "#e2"}
    # An empty word leaves a mark of its own away; those are looked at by the tests of the escaping.
    if all(escape.line(word).strip() for word in said):
        assert _shape(reader, tame) == _shape(reader, wild)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", wild)
    yaml.safe_load(wild.split("\n---\n")[0].removeprefix("---\n"))


def _report_of(folder: Path, words: list[str]) -> str:
    summary, identity, service, name, cell, command, excerpt, step = words
    bad = finding(f"A{identity}", STATUS_CRIT, f"s{service}", f"n{name}", f"m{summary}", f"t{step}", NOW)
    bad.equal_command, bad.excerpt = f"c{command}", f"e{excerpt}"
    bad.table.CopyFrom(Table(columns=["a", "b"], rows=[Row(cells=[cell, "last"])]))
    (folder / "a.db").unlink(missing_ok=True)
    history = History(folder)
    history.check(-1, answered("web01", finding("X-X")))
    history.check(5, answered("db01", bad), silent("web01", cause=f"c{summary}"))
    text = history.text(title=f"T{summary}")
    history.base.close()
    return text


def _body(text: str) -> str:
    return text.partition("\n---\n")[2]


def _flat(parsed: Any) -> Iterator[Any]:
    for token in parsed:
        yield token
        yield from _flat(token.children or [])


def _shape(reader: MarkdownIt, text: str) -> list[str]:
    return [token.type for token in _flat(reader.parse(_body(text))) if token.type not in ("text", "text_special")]


@pytest.mark.covers("perf:report")
def test_forty_hosts_six_hours_and_five_hundred_findings_take_less_than_a_second(history: History) -> None:
    hosts = [f"app{number:02d}" for number in range(40)]
    for look in range(72):
        made = []
        for number, host in enumerate(hosts):
            bad = [
                finding(f"A-{item}", STATUS_CRIT, "backend", host, "bad " * 20, since=NOW + look * 300)
                for item in range(13)
                if (look + number + item) % 12 == 0 or look % 2
            ]
            made.append(answered(host, *bad, *(finding(f"B-{item}") for item in range(30))))
        history.check(look * 5, *made)
    (rows,) = history.base.execute("SELECT count(*) FROM findings").fetchone()
    assert rows >= 500
    spent = []
    for _ in range(3):
        began = time.process_time()
        made_of = history.report(end=360)
        text = incident_markdown.document(made_of) + incident_json.document(made_of)
        spent.append(time.process_time() - began)
    assert len({episode.subject for item in made_of.found for episode in item.episodes}) >= 500
    assert min(spent) < 1.0, spent
    assert len(text) > 1000


@pytest.mark.covers("exp:B7")
@pytest.mark.parametrize(
    ("text", "name"),
    [("SEV1", "SEV1"), ("sev2", "SEV2"), ("P3", "SEV3"), ("p4", "SEV4"), ("1", "SEV1"), (" Sev-2 ", "SEV2")],
)
def test_a_severity_has_three_spellings_in_any_case(text: str, name: str) -> None:
    assert parse(text).name == name


@pytest.mark.covers("exp:B7")
@pytest.mark.parametrize("text", ["SEV5", "0", "", "high", "P", "SEV11", "２"])
def test_another_severity_is_refused_naming_the_four(text: str) -> None:
    with pytest.raises(ValueError) as refusal:
        parse(text)
    assert "SEV1, SEV2, SEV3, SEV4" in str(refusal.value)


@pytest.mark.covers("exp:I7")
@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Database connection pool exhaustion", "database-connection-pool-exhaustion"),
        ("../../etc/passwd", "etc-passwd"),
        ("Größe: 50 %!", "groe-50"),
        ("主机", "incident"),
        ("a" * 300, "a" * 60),
        ("word " * 30, "-".join(["word"] * 12)),
    ],
)
def test_a_title_names_the_files_by_its_plain_letters(title: str, slug: str) -> None:
    assert gathering.slug(title) == slug
