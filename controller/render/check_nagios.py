"""A check as a Nagios plugin says it: one status line with performance data, then the long output."""

from collections.abc import Iterable, Iterator

from controller.endings import ACHIEVED, SILENT, State
from controller.exit_codes import SIGNALLED
from controller.host_report import HARMLESS, HostReport
from controller.render.check_text import ORDER, WORDS, counted, tally, until
from controller.render.escape import line
from controller.snoozing import Rest
from controller.store.runs import Run
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_WARN

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
NAMES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
# Nagios reads 4 KB of a plugin in its oldest versions and 8 KB since.
MOST_LINES = 30
WIDEST = 200
FIRST_WIDEST = 120
# What ends the text, separates the performance data, or is markup on Nagios' own page.
_SPECIAL = str.maketrans({"|": "/", "<": "(", ">": ")", "`": "'"})


def code(run: Run) -> int:
    """Critical: a check is, or a host gives no answer. Unknown: something could not look. Warning: a check warns."""
    if run.exit_code >= SIGNALLED:
        return UNKNOWN
    if any(report.state in SILENT or STATUS_CRIT in report.statuses for report in run.reports):
        return CRITICAL
    if any(report.state not in ACHIEVED and report.state != State.SKIPPED for report in run.reports):
        return UNKNOWN
    return WARNING if any(report.warns for report in run.reports) else OK


def text(run: Run, rest: Rest, store: str = "") -> str:
    """All of the plugin's output, without the last line end; `store` is the flag by which the run is found."""
    results = list(_results(run.reports))
    first = f"; {cut(results[0], FIRST_WIDEST)}" if results else ""
    shown = [*results[:MOST_LINES], *([f"and {len(results) - MOST_LINES} more"] if len(results) > MOST_LINES else [])]
    snoozed = [
        f"SNOOZED {item.host} {item.finding.id}: {item.snooze.reason}, by {item.snooze.actor}"
        f" {until(item.snooze, run.started_at + run.seconds)}"
        for item in rest.resting[:MOST_LINES]
    ]
    kept = [f"run {run.id}: fleetmedic runs show {run.id}{store}"] if run.id else []
    long = [cut(harmless(said)) for said in (*shown, *snoozed, *kept)]
    head = f"FLEETMEDIC {NAMES[code(run)]} - {harmless(f'{_totals(run, rest)}{first}')} | {_performance(run, rest)}"
    return "\n".join([head, *long])


def trouble(said: str) -> str:
    """What a plugin says that could not look at all."""
    return f"FLEETMEDIC UNKNOWN - {cut(harmless(said))}"


def harmless(said: str) -> str:
    return line(said).translate(_SPECIAL)


def cut(said: str, most: int = WIDEST) -> str:
    return said if len(said) <= most else said[: most - 3] + "..."


def _totals(run: Run, rest: Rest) -> str:
    said = ", ".join(f"{count} {name}" for count, name in tally(run.reports, rest) if count)
    return f"{counted(len(run.reports), 'host')}: {said}"


def _performance(run: Run, rest: Rest) -> str:
    """label=value;warn;crit;min;max, labels of our own alone."""
    hosts = len(run.reports)
    parts = [f"{name.replace(' ', '_')}={count};;;0;{hosts}" for count, name in tally(run.reports, rest)]
    times = [f"checks={run.checks + len(rest.resting)};;;0", f"time={run.seconds:.3f}s;;;0"]
    return " ".join([f"hosts={hosts};;;0", *parts, *times])


def _results(reports: Iterable[HostReport]) -> Iterator[str]:
    """Every bad result on its host, worst first; silent hosts stand before warnings."""
    ranked: list[tuple[int, str]] = []
    for report in reports:
        if report.cause and report.state != State.SKIPPED:
            ranked.append((len(ORDER), f"{report.state.value.upper()} {report.host} {report.cause}"))
        for finding in report.answer.findings if report.statuses - HARMLESS or report.warns else ():
            warns = finding.status == STATUS_WARN
            if warns or finding.status not in HARMLESS:
                rank = 2 * len(ORDER) if warns else ORDER.index(finding.status) if finding.status in ORDER else -1
                word = WORDS.get(finding.status, "?").upper()
                ranked.append((rank, f"{word} {report.host} {finding.id} {finding.subject.service}: {finding.summary}"))
    yield from (said for _, said in sorted(ranked, key=lambda item: item[0]))
