"""Every run: who was asked, what each host gave, and the whole answer of those with something bad."""

import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from controller.endings import State
from controller.exit_codes import SIGNALLED
from controller.host_report import HARMLESS, HostReport
from controller.store import deployments, events, ids, looked
from fleetmedic.v1.agent_pb2 import CheckResponse
from fleetmedic.v1.finding_pb2 import STATUS_SKIPPED, STATUS_WARN

FASTEST = 1
# Rows of one host in one run: an agent that lies must not fill the disk. Its whole answer is kept, compressed.
MOST_ROWS = 500


@dataclass(frozen=True, slots=True)
class Run:
    """One command over the fleet; `reports` in the order of the targets."""

    id: str
    kind: str
    started_at: float
    seconds: float
    pattern: str
    inventory: str
    reports: tuple[HostReport, ...]
    exit_code: int
    # What was asked besides the pattern, as flags (--include, --exclude, --service).
    asked: str = ""

    @property
    def checks(self) -> int:
        """How many judgements there were; a check that was skipped is none."""
        skipped = (
            sum(finding.status == STATUS_SKIPPED for finding in report.answer.findings)
            for report in self.reports
            if STATUS_SKIPPED in report.statuses
        )
        return sum(len(report.answer.findings) for report in self.reports) - sum(skipped)


@dataclass(frozen=True, slots=True)
class Summary:
    """A run's line in a list."""

    id: str
    kind: str
    started_at: float
    seconds: float
    pattern: str
    inventory: str
    hosts: int
    checks: int
    exit_code: int


def new_id(base: sqlite3.Connection, choose: Callable[[Sequence[str]], str]) -> str:
    """A name no run has yet: four signs, more where those run out. `choose` picks one of several at random."""
    return ids.free(base, "SELECT 1 FROM runs WHERE id = ?", choose)


def save(base: sqlite3.Connection, run: Run, actor: str, now: float) -> None:
    """The whole run and its event, in one transaction."""
    with base:
        base.execute("BEGIN IMMEDIATE")
        base.execute(
            "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run.id,
                run.kind,
                run.started_at,
                run.seconds,
                run.pattern,
                run.inventory,
                len(run.reports),
                run.checks,
                run.exit_code,
                run.asked,
            ),
        )
        known: dict[looked.Pairs, int] = {}
        base.executemany(
            "INSERT INTO reports VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (*_report_row(run.id, place, report), looked.key(base, looked.pairs(report), known), report.late)
                for place, report in enumerate(run.reports)
            ],
        )
        base.executemany("INSERT INTO findings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", _finding_rows(run))
        told = (row for report in run.reports for row in deployments.rows(run.id, run.started_at, report))
        base.executemany("INSERT INTO deployments VALUES (?, ?, ?, ?, ?, ?)", told)
        text = f"{run.kind} of {run.pattern}: {len(run.reports)} hosts, exit code {run.exit_code}"
        data = {"run": run.id, "hosts": len(run.reports), "checks": run.checks, "exit_code": run.exit_code}
        events.append(base, events.Event(run.started_at, run.kind, actor, "controller", text, data), now)


def _report_row(run: str, place: int, report: HostReport) -> tuple[object, ...]:
    bad = report.state != State.OK or report.warns
    answer = zlib.compress(report.answer.SerializeToString(), FASTEST) if bad else None
    return (
        run,
        place,
        report.host,
        report.state.value,
        report.cause,
        report.seconds,
        report.clock_offset,
        report.answer.agent.version,
        len(report.answer.findings),
        answer,
    )


def _finding_rows(run: Run) -> Iterator[tuple[object, ...]]:
    for report in run.reports:
        bad = (
            finding
            for finding in report.answer.findings
            if finding.status == STATUS_WARN or finding.status not in HARMLESS
        )
        for finding in islice(bad, MOST_ROWS):
            subject = finding.subject
            stamp = finding.first_seen_time if finding.HasField("first_seen_time") else None
            seen = stamp and stamp.seconds + stamp.nanos / 1e9
            row = (run.id, report.host, finding.id, finding.status, subject.service, subject.kind, subject.name)
            yield (*row, finding.summary, seen)


def recent(base: sqlite3.Connection, most: int) -> list[Summary]:
    """The last runs, newest first."""
    rows = base.execute(
        "SELECT id, kind, started_at, seconds, pattern, inventory, hosts, checks, exit_code"
        " FROM runs ORDER BY started_at DESC LIMIT ?",
        (most,),
    )
    return [Summary(*row) for row in rows]


def names(base: sqlite3.Connection) -> list[str]:
    return [row[0] for row in base.execute("SELECT id FROM runs")]


def last(base: sqlite3.Connection) -> str | None:
    """The name of the newest run that nobody interrupted; None in an empty store."""
    row = base.execute(
        "SELECT id FROM runs WHERE exit_code < ? ORDER BY started_at DESC LIMIT 1", (SIGNALLED,)
    ).fetchone()
    return None if row is None else row[0]


def newest(base: sqlite3.Connection, inventory: str) -> str | None:
    """The name of the newest run of that inventory, interrupted or not; None where there is none."""
    row = base.execute(
        "SELECT id FROM runs WHERE inventory = ? ORDER BY started_at DESC LIMIT 1", (inventory,)
    ).fetchone()
    return None if row is None else row[0]


def last_alike(base: sqlite3.Connection, pattern: str, inventory: str, asked: str) -> str | None:
    """The name of the newest run of the same pattern, inventory and question that nobody interrupted."""
    row = base.execute(
        "SELECT id FROM runs WHERE pattern = ? AND inventory = ? AND asked = ? AND exit_code < ?"
        " ORDER BY started_at DESC LIMIT 1",
        (pattern, inventory, asked, SIGNALLED),
    ).fetchone()
    return None if row is None else row[0]


def load(base: sqlite3.Connection, run_id: str) -> Run | None:
    """A run as it was, except that hosts that were wholly well come without their findings; None where unknown."""
    row = base.execute(
        "SELECT id, kind, started_at, seconds, pattern, inventory, exit_code, asked FROM runs WHERE id = ?",
        (run_id.upper(),),
    ).fetchone()
    if row is None:
        return None
    reports = base.execute(
        "SELECT host, state, cause, seconds, answer, clock_offset, late FROM reports WHERE run = ? ORDER BY place",
        (row[0],),
    )
    identity, kind, started_at, seconds, pattern, inventory, exit_code, asked = row
    seen = tuple(_report(*fields) for fields in reports)
    return Run(identity, kind, started_at, seconds, pattern, inventory, seen, exit_code, asked)


def _report(
    host: str,
    state: str,
    cause: str,
    seconds: float,
    answer: bytes | None,
    clock_offset: float | None,
    late: float | None,
) -> HostReport:
    made = CheckResponse.FromString(zlib.decompress(answer)) if answer else CheckResponse()
    return HostReport(host, State(state), cause, seconds, made, clock_offset, late=late)
