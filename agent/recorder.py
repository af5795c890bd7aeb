"""The flight recorder: since when a finding stands, and what counters were before; SQLite in the state folder."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_ERROR, STATUS_OK, STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import Sample, Snapshot

KEEP_SECONDS = 24 * 3600
BAD = frozenset({STATUS_WARN, STATUS_CRIT, STATUS_ERROR})

# Not NULL but '' in every column of identity, so that the primary keys hold.
SCHEMA = """
CREATE TABLE IF NOT EXISTS first_seen (
    id TEXT, service TEXT, kind TEXT, name TEXT, since REAL NOT NULL,
    PRIMARY KEY (id, service, kind, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (
    target TEXT, at REAL, name TEXT, value REAL NOT NULL,
    PRIMARY KEY (target, at, name)) WITHOUT ROWID;
"""


class Recorder:
    """One file, opened for one check. It is memory, not evidence: written without fsync.

    Where it can't be read or written (a full or read-only disk is what we are called for) the memory is gone, not the
    check: a finding then has no date, and a rate begins now.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "recorder.db"

    def earlier(self, snapshot: Snapshot, now: float, window: float) -> Sequence[Sample]:
        """Counters of a snapshot's target in the last `window` seconds, oldest first."""
        rows = []
        with suppress(sqlite3.Error), closing(self._open()) as base:
            rows = base.execute(
                "SELECT at, name, value FROM counters WHERE target = ? AND at BETWEEN ? AND ? ORDER BY at",
                (_key(snapshot), now - window, now),
            ).fetchall()
        samples: dict[float, Sample] = {}
        for at, name, value in rows:
            sample = samples.setdefault(at, Sample())
            sample.taken_time.FromMilliseconds(int(at * 1000))
            sample.counters[name] = value
        return list(samples.values())

    def keep(self, snapshots: Iterable[tuple[Snapshot, Mapping[str, float]]], now: float) -> None:
        """Adds the counters of this moment, and forgets those older than a day."""
        rows = [
            (_key(snapshot), now, name, value) for snapshot, counters in snapshots for name, value in counters.items()
        ]
        with suppress(sqlite3.Error), closing(self._open()) as base, base:
            base.executemany("INSERT OR REPLACE INTO counters VALUES (?, ?, ?, ?)", rows)
            base.execute("DELETE FROM counters WHERE at < ?", (now - KEEP_SECONDS,))

    def date(self, findings: Iterable[Finding], now: float) -> None:
        """Stamps each bad finding with when it was first seen, in place; one that is ok again is forgotten."""
        with suppress(sqlite3.Error), closing(self._open()) as base, base:
            for finding in findings:
                subject = finding.subject
                key = (finding.id, subject.service, subject.kind, subject.name)
                if finding.status in BAD:
                    base.execute("INSERT OR IGNORE INTO first_seen VALUES (?, ?, ?, ?, ?)", (*key, now))
                    (since,) = base.execute(
                        "SELECT since FROM first_seen WHERE (id, service, kind, name) = (?, ?, ?, ?)", key
                    ).fetchone()
                    finding.first_seen_time.FromMilliseconds(int(since * 1000))
                elif finding.status == STATUS_OK:
                    base.execute("DELETE FROM first_seen WHERE (id, service, kind, name) = (?, ?, ?, ?)", key)

    def _open(self) -> sqlite3.Connection:
        base = sqlite3.connect(self._file, timeout=1.0)
        base.execute("PRAGMA synchronous = OFF")
        base.executescript(SCHEMA)
        return base


def _key(snapshot: Snapshot) -> str:
    target = snapshot.target
    return f"{target.probe}\t{target.service}\t{target.name}"
