"""What the runs of a span of time found, without the whole answers: those are read where they are quoted."""

import sqlite3
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controller.endings import BROKEN, SILENT, State
from controller.store import looked
from controller.store.looked import Pairs
from fleetmedic.v1.agent_pb2 import CheckResponse
from fleetmedic.v1.finding_pb2 import Finding

# Hosts that were bad; skipped and cancelled ones were not looked at, and of an unknown one nothing was heard.
BAD_STATES = tuple(sorted(state.value for state in BROKEN | SILENT))


@dataclass(frozen=True, slots=True)
class Subject:
    """What a finding is about, on which host: its identity over runs."""

    host: str
    id: str
    service: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Bad:
    """What a host said that is warn, crit or error; `first_seen_at` by the host's own clock, as it came."""

    subject: Subject
    status: int
    summary: str
    first_seen_at: float | None


@dataclass(frozen=True, slots=True)
class Glance:
    """One host in one run. `looked` has the judged checks, each with its service; None where that was not kept."""

    host: str
    state: State
    cause: str
    clock_offset: float | None
    looked: Pairs | None
    bad: tuple[Bad, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """One run, times in epoch seconds."""

    id: str
    kind: str
    at: float
    seconds: float
    pattern: str
    inventory: str
    exit_code: int
    glances: tuple[Glance, ...]


def between(base: sqlite3.Connection, start: float, end: float) -> list[Look]:
    """The runs that began between the two times, oldest first."""
    span = (start, end)
    bad = _bad(base, span)
    seen = looked.load(base, start, end)
    glances: dict[str, list[Glance]] = defaultdict(list)
    for run, host, state, cause, offset, key in base.execute(
        "SELECT run, host, state, cause, clock_offset, looked FROM reports JOIN runs ON runs.id = run"
        " WHERE started_at BETWEEN ? AND ? ORDER BY run, place",
        span,
    ):
        found = tuple(bad.get((run, host), ()))
        glances[run].append(Glance(host, State(state), cause, offset, None if key is None else seen[key], found))
    rows = base.execute(
        "SELECT id, kind, started_at, seconds, pattern, inventory, exit_code FROM runs"
        " WHERE started_at BETWEEN ? AND ? ORDER BY started_at, id",
        span,
    )
    return [_look(row, glances[row[0]]) for row in rows]


def _look(row: tuple[str, str, float, float, str, str, int], glances: Iterable[Glance]) -> Look:
    return Look(*row, tuple(glances))


def _bad(base: sqlite3.Connection, span: tuple[float, float]) -> Mapping[tuple[str, str], list[Bad]]:
    made: dict[tuple[str, str], list[Bad]] = defaultdict(list)
    rows = base.execute(
        "SELECT run, host, findings.id, service, findings.kind, name, status, summary, first_seen_at"
        " FROM findings JOIN runs ON runs.id = run WHERE started_at BETWEEN ? AND ? ORDER BY findings.rowid",
        span,
    )
    for run, host, identity, service, kind, name, *rest in rows:
        made[run, host].append(Bad(Subject(host, identity, service, kind, name), *rest))
    return made


def last_before(base: sqlite3.Connection, at: float, within: float) -> Look | None:
    """The run that began last before a time, where there is one in the seconds `within`."""
    row = base.execute(
        "SELECT max(started_at) FROM runs WHERE started_at < ? AND started_at >= ?", (at, at - within)
    ).fetchone()
    return None if row[0] is None else between(base, row[0], row[0])[-1]


def first_bad(base: sqlite3.Connection, start: float, end: float) -> Look | None:
    """The first run between two times in which a host was bad."""
    row = base.execute(
        "SELECT min(started_at) FROM runs WHERE started_at BETWEEN ? AND ?"
        " AND EXISTS (SELECT 1 FROM reports WHERE run = runs.id AND state IN (?, ?, ?, ?))",
        (start, end, *BAD_STATES),
    ).fetchone()
    return None if row[0] is None else between(base, row[0], row[0])[-1]


def finding(base: sqlite3.Connection, run: str, subject: Subject) -> Finding | None:
    """A finding with all its evidence; None where the answer was not kept."""
    row = base.execute("SELECT answer FROM reports WHERE run = ? AND host = ?", (run, subject.host)).fetchone()
    if row is None or row[0] is None:
        return None
    wanted = (subject.id, subject.service, subject.kind, subject.name)
    for item in CheckResponse.FromString(zlib.decompress(row[0])).findings:
        if (item.id, item.subject.service, item.subject.kind, item.subject.name) == wanted:
            return item
    return None
