"""A kept run for people: for each host what was bad, with the evidence."""

from collections.abc import Sequence
from datetime import UTC, datetime

from controller.endings import State
from controller.host_report import HostReport
from controller.render.check_text import ORDER, WORDS
from controller.render.escape import LONGEST, block, line
from controller.render.next_step import fleet_of, step
from controller.render.paper import Paper
from controller.render.show_text import size
from controller.snoozing import NONE, Rest
from controller.store.runs import Run
from fleetmedic.v1.finding_pb2 import STATUS_OK, STATUS_SKIPPED, Finding, Table

MOST_WIDE = 60


def body(paper: Paper, run: Run, only: str | None, rest: Rest = NONE) -> None:
    """The run as it was found; what was snoozed then stands among the rest, and is named at the end."""
    when = datetime.fromtimestamp(run.started_at, UTC)
    paper.write(f"run {run.id}   {run.kind} {line(run.pattern)}   {when:%Y-%m-%d %H:%M:%SZ}   {run.seconds:.1f}s")
    if run.inventory:
        paper.write(f"inventory {line(run.inventory)}")
    shown = [report for report in run.reports if only in (None, report.host)]
    given = fleet_of(run.inventory)
    for report in sorted(shown, key=lambda item: item.state == State.OK):
        _host(paper, report, given)
    for item in rest.resting:
        if only in (None, item.host):
            snooze = item.snooze
            said = f"{line(item.finding.id)} on {item.host}: {line(snooze.reason)}, by {line(snooze.actor)}"
            paper.write(f"snoozed then: {said}   snooze {snooze.id}")
    paper.write(f"exit code {run.exit_code}")


def _host(paper: Paper, report: HostReport, given: str) -> None:
    paper.write()
    cause = f": {line(report.cause)}" if report.cause else ""
    paper.write(f"{report.host}  {report.state.value}{cause}  ({report.seconds:.2f}s)")
    rank = {status: place for place, status in enumerate(ORDER)}
    for finding in sorted(report.answer.findings, key=lambda item: rank.get(item.status, -1)):
        if finding.status not in (STATUS_OK, STATUS_SKIPPED):
            _finding(paper, finding, report.host, given)
    quiet = [line(finding.id) for finding in report.answer.findings if finding.status in (STATUS_OK, STATUS_SKIPPED)]
    if quiet:
        paper.hanging("  well or skipped: ", ", ".join(sorted(set(quiet))), 4, 19)


def _finding(paper: Paper, finding: Finding, host: str, given: str) -> None:
    word = WORDS.get(finding.status, "")
    subject = finding.subject
    sign = paper.paint(f"{paper.sign(word) if word else '?'} {(word or '?').upper()}", word)
    summary = line(finding.summary[:LONGEST])
    text = f"{line(finding.id)}  {line(subject.service)} {line(subject.name)}: {summary}"
    paper.hanging(f"  {sign}  ", text, 4, 12)
    for metric in finding.metrics:
        origin = "" if metric.origin == "default" else f", from {line(metric.origin)}"
        limit = f" (limit {_number(metric.limit, metric.unit)}{origin})" if metric.HasField("limit") else ""
        paper.write(f"      {line(metric.name)} = {_number(metric.value, metric.unit)}{limit}")
    if finding.HasField("table"):
        _table(paper, finding.table)
    for part in block(finding.excerpt):
        paper.write(f"      | {part}")
    if finding.equal_command:
        paper.write(f"      same as: {line(finding.equal_command)}")
    if finding.next:
        paper.write(f"      next: {step(finding.next, (host,), given)}")


def _number(value: float, unit: str) -> str:
    if unit == "bytes":
        return size(value)
    if unit == "ratio":
        return f"{value:.0%}" if value <= 1 else f"{value:.2f}"
    return f"{value:g}" if unit in ("count", "code") else f"{value:g} {line(unit)}"


def _table(paper: Paper, table: Table) -> None:
    rows = [list(table.columns)] + [list(row.cells) for row in table.rows]
    cells = [[_cell(paper, cell) for cell in row] for row in rows]
    widths = [max((len(row[place]) for row in cells if place < len(row)), default=0) for place in range(len(rows[0]))]
    for row in cells:
        paper.write("      " + _padded(row, widths).rstrip())
    if table.omitted:
        paper.write(f"      and {table.omitted} more rows")


def _padded(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False))


def _cell(paper: Paper, cell: str) -> str:
    """Cut on a terminal, where a table of long statements can't be read; whole elsewhere."""
    text = line(cell)
    return text if not paper.terminal or len(text) <= MOST_WIDE else text[: MOST_WIDE - 1] + "…"
