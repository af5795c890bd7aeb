"""The flight recorder: since when a finding stands, and what counters were before; SQLite in the state folder."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeAlias

from fleetmedic.v1.finding_pb2 import (
    STATUS_CRIT,
    STATUS_ERROR,
    STATUS_INFO,
    STATUS_OK,
    STATUS_SKIPPED,
    STATUS_WARN,
    Finding,
)
from fleetmedic.v1.snapshot_pb2 import Sample, Snapshot, Target

KEEP_SECONDS = 24 * 3600
REMEMBER_SECONDS = 90 * 24 * 3600
BAD = frozenset({STATUS_WARN, STATUS_CRIT, STATUS_ERROR})
JUDGED = frozenset({STATUS_OK, STATUS_INFO, STATUS_WARN, STATUS_CRIT})
UNJUDGED = frozenset({STATUS_SKIPPED, STATUS_ERROR})
# A request names these, and the next one may not: of such a target, not to be seen is not to be well.
ASKED_FOR = frozenset({"http", "tls", "dns"})
# Of whatever service: the engine that is looked at knows them all.
OF_THE_ENGINE = "container"

Key: TypeAlias = tuple[str, str, str, str]

# Not NULL but '' in every column of identity, so that the primary keys hold.
SCHEMA = """
CREATE TABLE IF NOT EXISTS first_seen (
    id TEXT, service TEXT, kind TEXT, name TEXT, since REAL NOT NULL,
    PRIMARY KEY (id, service, kind, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (
    target TEXT, at REAL, name TEXT, value REAL NOT NULL,
    PRIMARY KEY (target, at, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS servers (
    probe TEXT, name TEXT, service TEXT NOT NULL, first REAL NOT NULL, last REAL NOT NULL,
    PRIMARY KEY (probe, name)) WITHOUT ROWID;
"""
# A server that ran for less than this was somebody's experiment; its end is no finding.
AT_HOME = 60.0


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

    def remember(self, servers: Iterable[Target], now: float) -> list[tuple[Target, float]]:
        """Notes the servers that are here; gives those at home here that are not any more, with when they last were."""
        rows = [(server.probe, server.name, server.service, now, now) for server in servers]
        with suppress(sqlite3.Error), closing(self._open()) as base, base:
            base.executemany(
                "INSERT INTO servers VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET last = excluded.last", rows
            )
            base.execute("DELETE FROM servers WHERE last < ?", (now - KEEP_SECONDS,))
            gone = base.execute(
                "SELECT probe, name, service, last FROM servers WHERE last < ? AND last - first >= ?", (now, AT_HOME)
            ).fetchall()
            return [(Target(probe=probe, name=name, service=service), last) for probe, name, service, last in gone]
        return []

    def keep(self, snapshots: Iterable[tuple[Snapshot, Mapping[str, float]]], now: float) -> None:
        """Adds the counters of this moment, and forgets those older than a day."""
        rows = [
            (_key(snapshot), now, name, value) for snapshot, counters in snapshots for name, value in counters.items()
        ]
        with suppress(sqlite3.Error), closing(self._open()) as base, base:
            base.executemany("INSERT OR REPLACE INTO counters VALUES (?, ?, ?, ?)", rows)
            base.execute("DELETE FROM counters WHERE at < ?", (now - KEEP_SECONDS,))

    def date(self, findings: Sequence[Finding], now: float, *, complete: bool = False) -> None:
        """Stamps each bad finding with when it was first seen, in place; one that is ok again is forgotten.

        `complete`: these are all findings of a check, so that what its rules do not name any more is well again,
        even where they say ok of something else (no session blocks: which one did, they can't know).
        """
        with suppress(sqlite3.Error), closing(self._open()) as base, base:
            for finding in findings:
                key = _subject(finding)
                if finding.status in BAD:
                    base.execute("INSERT OR IGNORE INTO first_seen VALUES (?, ?, ?, ?, ?)", (*key, now))
                    (since,) = base.execute(
                        "SELECT since FROM first_seen WHERE (id, service, kind, name) = (?, ?, ?, ?)", key
                    ).fetchone()
                    finding.first_seen_time.FromMilliseconds(int(since * 1000))
                elif finding.status == STATUS_OK:
                    base.execute("DELETE FROM first_seen WHERE (id, service, kind, name) = (?, ?, ?, ?)", key)
            if complete:
                _forget(base, findings, now)

    def _open(self) -> sqlite3.Connection:
        base = sqlite3.connect(self._file, timeout=1.0)
        base.execute("PRAGMA synchronous = OFF")
        base.executescript(SCHEMA)
        return base


def _subject(finding: Finding) -> Key:
    return finding.id, finding.subject.service, finding.subject.kind, finding.subject.name


def _forget(base: sqlite3.Connection, findings: Sequence[Finding], now: float) -> None:
    """What was judged in this check and is not bad in it, and what nobody has asked about for long."""
    bad = {_subject(finding) for finding in findings if finding.status in BAD}
    rows = base.execute("SELECT id, service, kind, name, since FROM first_seen").fetchall()
    over = [
        key
        for *key, since in rows
        if tuple(key) not in bad and (_settled(key, findings) or since < now - REMEMBER_SECONDS)
    ]
    base.executemany("DELETE FROM first_seen WHERE (id, service, kind, name) = (?, ?, ?, ?)", over)


def _settled(key: Sequence[str], findings: Sequence[Finding]) -> bool:
    """Whether the rule looked at all that such a subject could come from: its service, or the whole engine."""
    identity, service, kind, _ = key
    if kind in ASKED_FOR:
        return False
    said = {
        finding.status
        for finding in findings
        if finding.id == identity and (kind == OF_THE_ENGINE or finding.subject.service == service)
    }
    return bool(said & JUDGED) and not said & UNJUDGED


def _key(snapshot: Snapshot) -> str:
    target = snapshot.target
    return f"{target.probe}\t{target.service}\t{target.name}"
