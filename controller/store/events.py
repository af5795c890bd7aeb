"""The event log: what happened, appended and chained by hashes."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

FIRST = "0" * 64


@dataclass(frozen=True, slots=True)
class Event:
    """`at` is when it happened, in epoch seconds; `data` is JSON."""

    at: float
    kind: str
    actor: str
    source: str
    text: str
    data: Mapping[str, object]


def append(base: sqlite3.Connection, event: Event, recorded_at: float) -> str:
    """Inside the caller's transaction; gives the new head hash."""
    row = base.execute("SELECT hash FROM events ORDER BY sequence DESC LIMIT 1").fetchone()
    previous = row[0] if row else FIRST
    data = json.dumps(event.data, sort_keys=True)
    # As the column gives them back: a whole number or -0.0 would not be what was hashed.
    at, recorded = (float(value) + 0.0 for value in (event.at, recorded_at))
    fields = (at, recorded, event.kind, event.actor, event.source, event.text, data)
    head = _hash(previous, fields)
    base.execute(
        "INSERT INTO events (at, recorded_at, kind, actor, source, text, data, previous_hash, hash)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*fields, previous, head),
    )
    return head


def broken(base: sqlite3.Connection) -> Iterator[int]:
    """Sequence numbers whose hash or link is not what it should be; none in an untouched log."""
    previous = FIRST
    rows = base.execute(
        "SELECT sequence, at, recorded_at, kind, actor, source, text, data, previous_hash, hash"
        " FROM events ORDER BY sequence"
    )
    for sequence, *fields, linked, head in rows:
        if linked != previous or head != _hash(previous, tuple(fields)):
            yield sequence
        previous = head


def _hash(previous: str, fields: tuple[object, ...]) -> str:
    return hashlib.sha256(json.dumps([previous, *fields]).encode()).hexdigest()
