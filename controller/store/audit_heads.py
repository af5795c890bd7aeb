"""The heads of hosts' audit logs, kept with each run: what an agent has told once it must still have."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from controller.store import events
from controller.store.events import Event

# As SQLite and the agents' logs can count.
HIGHEST = (1 << 63) - 1
HASH_BYTES = 32


@dataclass(frozen=True, slots=True)
class Head:
    """A log's last record when a run ended; `at` in epoch seconds, of our clock."""

    host: str
    sequence: int
    hash: bytes
    at: float
    run: str


def possible(sequence: int, hash_: bytes) -> bool:
    return 0 < sequence <= HIGHEST and len(hash_) == HASH_BYTES


def save(base: sqlite3.Connection, heads: Iterable[Head], flaws: Iterable[Event], now: float) -> None:
    """What agents have told, and what is wrong with it, in one transaction."""
    with base:
        base.execute("BEGIN IMMEDIATE")
        keep(base, heads)
        for flaw in flaws:
            events.append(base, flaw, now)


def keep(base: sqlite3.Connection, heads: Iterable[Head]) -> None:
    """Inside the caller's transaction; heads that are none are left out."""
    rows = [
        (head.host, head.sequence, head.hash.hex(), head.at, head.run)
        for head in heads
        if possible(head.sequence, head.hash)
    ]
    base.executemany("INSERT OR IGNORE INTO audit_heads (host, sequence, hash, at, run) VALUES (?, ?, ?, ?, ?)", rows)
    base.executemany("INSERT OR REPLACE INTO audit_last VALUES (?, ?, ?, ?, ?)", rows)


def last(base: sqlite3.Connection) -> Mapping[str, Head]:
    """The last head of each host."""
    rows = base.execute("SELECT host, sequence, hash, at, run FROM audit_last")
    return {row[0]: _head(row) for row in rows}


def every(base: sqlite3.Connection, host: str) -> tuple[Head, ...]:
    """All that count of one host, by their sequence."""
    rows = base.execute(
        "SELECT host, sequence, hash, at, run FROM audit_heads WHERE host = ? AND set_aside_at IS NULL"
        " ORDER BY sequence, at",
        (host,),
    )
    return tuple(map(_head, rows))


def set_aside(base: sqlite3.Connection, hosts: Sequence[str], now: float) -> None:
    """Inside the caller's transaction: what these hosts' agents have told until now counts no more."""
    rows = [(host,) for host in hosts]
    base.executemany("DELETE FROM audit_last WHERE host = ?", rows)
    base.executemany(
        "UPDATE audit_heads SET set_aside_at = ? WHERE host = ? AND set_aside_at IS NULL", [(now, *row) for row in rows]
    )


def _head(row: tuple[str, int, str, float, str]) -> Head:
    host, sequence, hash_, at, run = row
    return Head(host, sequence, bytes.fromhex(hash_), at, run)
