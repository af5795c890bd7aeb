"""A hostile agent: random bytes, huge and endless answers, odd text; the controller lives and tells of the others."""

import asyncio
import json
import os
import random
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from controller import asking, causes, describing, fleet
from controller.asking import Question
from controller.calling import Bounds
from controller.endings import State
from controller.host_report import HostReport, judged
from controller.inventory.connection import Endpoint
from controller.inventory.loading import load
from controller.render import check_json, check_text, run_text
from controller.render.check_text import Again, View
from controller.render.paper import Paper
from controller.store import database, runs
from controller.transport.mtls import Identity
from fleetmedic.v1.agent_pb2 import CheckRequest, CheckResponse
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot, Target
from tests.controller import odd_agents, reports
from tests.controller.odd_agents import Answer, Call
from tests.lab.agents import BIN
from tests.lab.authority import CLIENT, Authority

DISK = Snapshot(target=Target(probe="disk"))
NASTY = [
    "../../../tmp/evil",
    "/etc/passwd",
    "a\0b",
    "$(touch evil)",
    "`touch evil`",
    "\x1b]0;x\x07",
    "'; DROP TABLE runs",
]


def ask(endpoints: Sequence[Endpoint], identity: Identity) -> list[HostReport]:
    async def collect() -> list[HostReport]:
        asked = {endpoint: CheckRequest().SerializeToString() for endpoint in endpoints}
        return [report async for report in fleet.check(asked, identity, Bounds(32, 1.5, 3.0))]

    return asyncio.run(collect())


def answering(*messages: bytes) -> Answer:
    def answer(_: bytes, call: Call) -> Iterator[bytes]:
        call.send_initial_metadata(())
        yield from messages

    return answer


def beside_a_good_one(authority: Authority, answer: Answer, count: int = 1) -> list[HostReport]:
    """Ask hostile agents and a good one together; hold that the good one's answer came through; give the others."""
    names = [f"evil{number}" for number in range(count)]
    good = answering(CheckResponse(last=True, findings=[reports.finding()]).SerializeToString())
    with odd_agents.serving(authority, names, answer) as evil, odd_agents.serving(authority, ["good"], good) as fine:
        made = {report.host: report for report in ask([*evil, *fine], odd_agents.identity(authority))}
    assert made.pop("good").state == State.OK
    assert made.keys() == set(names)
    return list(made.values())


@pytest.mark.covers("sec:B7")
def test_random_bytes_are_a_failed_host_and_the_others_are_told(authority: Authority) -> None:
    choose = random.Random(7)
    junk = [choose.randbytes(choose.randrange(1, 200)) for _ in range(200)]

    def answer(_: bytes, call: Call) -> Iterator[bytes]:
        call.send_initial_metadata(())
        yield junk.pop()

    made = beside_a_good_one(authority, answer, 40)
    assert {report.state for report in made} == {State.FAILED}
    assert all(report.cause for report in made)


@pytest.mark.covers("sec:B7")
def test_an_answer_larger_than_may_be_is_refused_unread(authority: Authority) -> None:
    huge = CheckResponse(last=True, findings=[reports.finding(summary="x" * 17_000_000)]).SerializeToString()
    (report,) = beside_a_good_one(authority, answering(huge))
    assert report.state == State.FAILED
    assert "resource exhausted" in report.cause
    assert not report.answer.findings


@pytest.mark.covers("sec:B7")
def test_an_answer_without_end_is_cut_off(authority: Authority) -> None:
    part = CheckResponse(findings=[reports.finding(summary="x" * 100_000)]).SerializeToString()

    def endless(_: bytes, call: Call) -> Iterator[bytes]:
        call.send_initial_metadata(())
        while call.is_active():
            yield part

    began = time.monotonic()
    (report,) = beside_a_good_one(authority, endless)
    assert time.monotonic() - began < 2.0
    assert report.state == State.FAILED
    assert len(report.answer.findings) <= fleet.MOST_MESSAGES + 1


@pytest.mark.covers("sec:B7")
def test_a_description_that_is_none_is_no_answer_and_the_others_are_told(authority: Authority) -> None:
    evil, good = answering(b"\xff\xff\xff"), answering(b"")
    identity = odd_agents.identity(authority)
    with (
        odd_agents.serving(authority, ["evil"], evil) as first,
        odd_agents.serving(authority, ["good"], good) as second,
    ):
        made = asyncio.run(describing.describe([*first, *second], identity, Bounds(32, 1.5, 3.0)))
    assert [(item.host, item.answer is None, item.cause) for item in made] == [
        ("evil", True, causes.NO_ANSWER),
        ("good", False, ""),
    ]


text = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(NASTY)
numbers = st.floats() | st.integers(-(2**60), 2**60)


@st.composite
def findings(draw: st.DrawFn) -> Finding:
    made = Finding(id=draw(text), summary=draw(text), reason=draw(text), excerpt=draw(text), next=draw(text))
    made.MergeFromString(b"\x10" + bytes([draw(st.integers(0, 127))]))
    made.equal_command = draw(text)
    made.subject.service, made.subject.kind, made.subject.name = draw(text), draw(text), draw(text)
    if draw(st.booleans()):
        stamp = Timestamp(seconds=draw(st.integers(-(2**63), 2**63 - 1)), nanos=draw(st.integers(-(2**31), 2**31 - 1)))
        made.first_seen_time.CopyFrom(stamp)
    for value in draw(st.lists(numbers, max_size=2)):
        made.metrics.add(name=draw(text), value=value, unit=draw(text), limit=value, owner=draw(text))
    if draw(st.booleans()):
        made.table.columns.extend(draw(st.lists(text, max_size=3)))
        for cells in draw(st.lists(st.lists(text, max_size=4), max_size=3)):
            made.table.rows.add(cells=cells)
    return made


class Screen(StringIO):
    """Say to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.covers("sec:B7", "sec:B5")
@settings(max_examples=250, deadline=None)
@given(st.lists(findings(), max_size=4), text, numbers)
def test_whatever_an_answer_holds_it_is_kept_and_shown(items: list[Finding], name: str, offset: float) -> None:
    answer = CheckResponse(last=True, findings=items)
    answer.agent.name = answer.agent.version = answer.agent.boot_id = name
    clock = float(offset)
    report = HostReport("web01", judged(items), name, 0.1, answer, clock if abs(clock) < 1e18 else None, 1)
    run = reports.run(report)
    base = sqlite3.connect(":memory:", isolation_level=None)
    database.migrate(base)
    runs.save(base, run, "alice", reports.NOW)
    loaded = runs.load(base, run.id)
    base.close()
    assert loaded is not None
    for terminal in (True, False):
        paper = Paper(Screen(), terminal, False, True, 100)
        check_text.body(paper, run, View(True, True, Again("fleetmedic check"), reports.NOW))
        run_text.body(paper, loaded, None)
        assert isinstance(paper.stream, StringIO)
        shown = paper.stream.getvalue()
        assert not set(map(chr, [*range(10), *range(11, 32), 127, 0x202E])) & set(shown)
    for document in (check_json.document(run), check_json.one_line(check_json.host(report))):
        json.loads(document, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


@pytest.mark.covers("sec:B7", "sec:B4")
def test_nothing_is_written_outside_the_store_whatever_the_answer_names(folder: Path, authority: Authority) -> None:
    files = authority.issue("alice", uris=[odd_agents.OPERATOR], usages=[CLIENT]).write(folder / "tls")
    desk, outside = folder / "desk", folder / "outside"
    for place in (desk, outside):
        place.mkdir()
    items = [reports.finding(nasty, STATUS_CRIT, nasty, nasty, nasty, f"fleetmedic check {nasty}") for nasty in NASTY]
    answer = CheckResponse(last=True, request_id="../../evil", findings=items)
    answer.agent.name = answer.agent.boot_id = answer.agent.version = f"{outside}/evil"
    with odd_agents.serving(authority, ["web01"], answering(answer.SerializeToString())) as (web01,):
        inventory = desk / "one.yml"
        inventory.write_text(
            f"all: {{hosts: {{web01: {{fleetmedic_address: {web01.address}, fleetmedic_port: {web01.port}}}}}}}\n"
        )
        before = everything(folder)
        trust = ("--certificate", files.certificate, "--key", files.key, "--ca", files.root)
        done = run(desk, "check", "-i", inventory, *trust)
    assert done.returncode == 2, done.stderr
    identity = done.stdout.partition("   run ")[2].partition("\n")[0]
    for words in (("runs", "show", identity), ("runs", "show", identity, "--format", "json"), ("runs", "list")):
        assert run(desk, *words).returncode == 0
    assert everything(folder) - before == {
        desk / "state", desk / "state" / "fleetmedic", desk / "state" / "fleetmedic" / "controller.db",
    }  # fmt: skip
    assert not list(outside.iterdir())


def run(desk: Path, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [BIN / "fleetmedic", *words],
        env={"PATH": os.defpath, "HOME": str(desk), "XDG_STATE_HOME": str(desk / "state"), "LANG": "C.UTF-8"},
        cwd=desk, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.covers("inv:F1", "inv:F6")
@pytest.mark.parametrize(
    ("question", "answer", "state"),
    [
        (Question(include=("PG-*",)), CheckResponse(), State.FAILED),
        (Question(services=("orders",)), CheckResponse(snapshots=[DISK]), State.FAILED),
        (Question(probes=("postgres",)), CheckResponse(snapshots=[DISK]), State.FAILED),
        (Question(probes=("disk",)), CheckResponse(findings=[reports.finding()]), State.FAILED),
        (Question(probes=("disk", "postgres")), CheckResponse(snapshots=[DISK]), State.OK),
        (Question(), CheckResponse(findings=[reports.finding()]), State.OK),
    ],
)
def test_an_answer_with_nothing_of_what_was_asked_is_a_failure(
    authority: Authority, tmp_path: Path, question: Question, answer: CheckResponse, state: State
) -> None:
    answer.last = True
    with odd_agents.serving(authority, ["web01"], answering(answer.SerializeToString())) as (endpoint,):
        inventory = tmp_path / "hosts.ini"
        inventory.write_text(f"web01 ansible_host=127.0.0.1 fleetmedic_port={endpoint.port}\n")
        hosts = [load([str(inventory)]).host("web01")]
        identity = odd_agents.identity(authority)
        seen: list[HostReport] = []
        made = asking.check_fleet(hosts, question, identity, Bounds(32, 1.5, 3.0), seen.append, lambda *_: None)
    assert [(report.state, report.cause) for report in (*made.reports, *seen)] == [
        (state, "" if state == State.OK else asking.NOTHING)
    ] * 2
