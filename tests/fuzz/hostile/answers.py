"""Hostile agents: answers of every kind, asked for over mutual TLS, kept, compared and shown in every form."""

import asyncio
import io
import itertools
import json
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from controller import changes, compare, describing, fleet, tables
from controller.calling import Bounds
from controller.cli import describe
from controller.describing import Described
from controller.doctor.standing import stands
from controller.endings import State
from controller.host_report import HostReport
from controller.inventory.connection import Endpoint
from controller.render import (
    changes_text,
    check_json,
    check_junit,
    check_nagios,
    check_paste,
    check_text,
    incident_json,
    incident_markdown,
    ping,
    run_text,
    show_text,
    standing,
    tree,
)
from controller.render.check_text import Again, View
from controller.render.paper import Paper
from controller.render.ping import Pinged
from controller.render.standing import Standings
from controller.reports import gathering
from controller.reports.gathering import Given
from controller.reports.severity import LEVELS
from controller.snoozing import NONE
from controller.store import database, runs
from controller.transport.mtls import Identity
from fleetmedic.v1.agent_pb2 import CheckRequest, CheckResponse, DescribeResponse
from tests.controller import odd_agents, reports
from tests.controller.hostile_answers import PIECES, cycling, filled
from tests.controller.odd_agents import Answer, Call
from tests.controller.reports import NOW
from tests.lab.authority import Authority

HOSTS = 25
NOW_UTC = datetime.fromtimestamp(NOW, UTC)
BOUNDS = Bounds(HOSTS, 5.0, 10.0)
VIEW = View(everything=True, folded=True, again=Again("fleetmedic check"), now=NOW)
Kind = type[CheckResponse] | type[DescribeResponse]


def body(kind: Kind, seed: int) -> bytes:
    """One message: random bytes, a whole one with something odd in every field, or one of those that was damaged."""
    dice = random.Random(seed)
    if dice.random() < 0.2:
        return dice.randbytes(dice.randrange(1, 400))
    words = [dice.choice(PIECES) + dice.choice(PIECES) * dice.choice((0, 0, 1, 40)) for _ in range(7)]
    message = filled(kind(), *cycling(words, dice.randrange(1000)), depth=dice.choice((1, 2, 3, 4)))
    if isinstance(message, CheckResponse):
        message.last = dice.random() < 0.9
        del message.findings[dice.choice((0, 1, 2, 2)) :]
    raw = bytearray(message.SerializeToString())
    for _ in range(dice.choice((0, 0, 1, 3, 20)) if raw else 0):
        raw[dice.randrange(len(raw))] = dice.randrange(256)
    return bytes(raw[: dice.randrange(len(raw) + 1)] if dice.random() < 0.1 else raw)


def answering(kind: Kind, first: int) -> Answer:
    """Each call gets the next body; some answers come in several messages, with more than is read."""
    numbers, lock = itertools.count(first), threading.Lock()

    def answer(_: bytes, call: Call) -> Iterator[bytes]:
        with lock:
            seed = next(numbers)
        call.send_initial_metadata(())
        for part in range(random.Random(seed).choice((1, 1, 1, 2, 12)) if kind is CheckResponse else 1):
            yield body(kind, 1000 * seed + part)

    return answer


def run(count: int, authority: Authority, folder: Path, seed: int = 1) -> Counter[str]:
    """So many answers, half of checks and half of descriptions: how the hosts ended. Any exception is a bug of ours."""
    identity = odd_agents.identity(authority)
    names = [f"evil{number:02d}" for number in range(HOSTS)]
    seen: Counter[str] = Counter()
    rounds = -(-count // (2 * HOSTS))
    with odd_agents.serving(authority, names, answering(CheckResponse, seed * 10**6)) as checked:
        before = reports.run(*(reports.answered(name) for name in names), identity="AAAA")
        for _ in range(rounds):
            made = asyncio.run(_check(checked, identity))
            seen.update(f"check {report.state.value}" for report in made)
            show_check(made, before, folder)
    with odd_agents.serving(authority, names, answering(DescribeResponse, seed * 10**6)) as described:
        for _ in range(rounds):
            told = asyncio.run(describing.describe(described, identity, BOUNDS))
            seen.update(f"describe {item.state.value}" for item in told)
            show_described(told)
    return seen


async def _check(endpoints: Sequence[Endpoint], identity: Identity) -> list[HostReport]:
    asked = {endpoint: CheckRequest().SerializeToString() for endpoint in endpoints}
    return [report async for report in fleet.check(asked, identity, BOUNDS)]


def show_check(made: Sequence[HostReport], before: runs.Run, folder: Path) -> None:
    """All that becomes of a check: compared over hosts, kept, loaded, shown, written, and reported on."""
    run = reports.run(*compare.with_odd_ones_out(list(made)))
    base = sqlite3.connect(":memory:", isolation_level=None)
    database.migrate(base)
    runs.save(base, run, "alice", NOW)
    loaded = runs.load(base, run.id)
    assert loaded is not None
    incident = gathering.gather(base, Given("Hostile", LEVELS["SEV2"], NOW - 600, NOW + 60, False), NOW + 120)
    base.close()
    for terminal in (True, False):
        paper = Paper(io.StringIO(), terminal, False, True, 100)
        check_text.body(paper, run, VIEW)
        run_text.body(paper, loaded, None)
        changes_text.body(paper, run, changes.compare(before, run), VIEW, 2)
        for name, kind in tables.KINDS.items():
            table = tables.table(kind, run.reports)
            show_text.body(paper, name, table, len(made), 0)
            for record in show_text.records(name, table):
                json.loads(record, parse_constant=_refuse)
    json.loads(check_json.document(run), parse_constant=_refuse)
    for report in run.reports:
        json.loads(check_json.one_line(check_json.host(report)), parse_constant=_refuse)
    check_junit.document(run, NONE)
    check_nagios.text(run, NONE)
    check_paste.lines(run)
    incident_markdown.document(incident)
    json.loads(incident_json.document(incident), parse_constant=_refuse)
    tree.write(folder, run, run, VIEW)


def show_described(told: Sequence[Described]) -> None:
    pinged = Pinged(told, 1.0, 0)
    for terminal in (True, False):
        paper = Paper(io.StringIO(), terminal, False, True, 100)
        ping.body(paper, pinged)
        standing.body(paper, Standings([stands(item, 7, NOW_UTC) for item in told], 7, NOW_UTC, 0, ""))
    json.loads(ping.document(pinged), parse_constant=_refuse)
    for item in told:
        standing.document(Standings([stands(item, 7, NOW_UTC)], 7, NOW_UTC, 0, ""))
        describe._text(replace(item, state=State.OK) if item.answer else item)
        json.loads(json.dumps(describe._record(item)), parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
