"""Which checks a host was judged by in a run, written once for all hosts that share them."""

import json
import sqlite3
from collections.abc import Mapping

from controller.host_report import HostReport
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_INFO, STATUS_OK, STATUS_WARN

Pairs = frozenset[tuple[str, str]]
JUDGED = frozenset({STATUS_OK, STATUS_INFO, STATUS_WARN, STATUS_CRIT})
# Of one host: an agent that lies must not fill the disk.
MOST_PAIRS = 500


def pairs(report: HostReport) -> Pairs:
    """Check id and service of all that was judged; a check that could not look at one target of several is left out."""
    if report.statuses <= JUDGED:
        # Nearly all, of a fleet's tens of thousands.
        return frozenset([(finding.id, finding.subject.service) for finding in report.answer.findings])
    judged: set[tuple[str, str]] = set()
    blind: set[tuple[str, str]] = set()
    for finding in report.answer.findings:
        (judged if finding.status in JUDGED else blind).add((finding.id, finding.subject.service))
    return frozenset(judged - blind)


def key(base: sqlite3.Connection, found: Pairs, known: dict[Pairs, int]) -> int:
    """The row that has these pairs, made where there is none; `known` holds those of this run so far."""
    if found not in known:
        text = json.dumps(sorted(found)[:MOST_PAIRS])
        base.execute("INSERT OR IGNORE INTO looked (pairs) VALUES (?)", (text,))
        (known[found],) = base.execute("SELECT key FROM looked WHERE pairs = ?", (text,)).fetchone()
    return known[found]


def load(base: sqlite3.Connection, start: float, end: float) -> Mapping[int, Pairs]:
    """By key, those of the runs that began between the two times."""
    rows = base.execute(
        "SELECT key, pairs FROM looked WHERE key IN (SELECT looked FROM reports JOIN runs ON runs.id = reports.run"
        " WHERE runs.started_at BETWEEN ? AND ?)",
        (start, end),
    )
    return {place: frozenset((identity, service) for identity, service in json.loads(text)) for place, text in rows}
