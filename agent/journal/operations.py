"""Plans, and what became of them: intent before effect, result after it, each synced; SQLite, for root alone.

A row that says RUNNING and has no living process is an operation that was ended from outside.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import folders, placing
from agent.journal import leases
from fleetmedic.v1.action_pb2 import (
    OPERATION_STATE_RUNNING,
    Action,
    Approval,
    Kept,
    Operation,
    OperationState,
    Plan,
    Step,
)

FILE = "operations.db"
EVIDENCE = "evidence"
# Of one piece of evidence, in bytes; the rest is cut off and said to be.
LARGEST_EVIDENCE = 16 * 1024 * 1024
# Evidence that was fetched stays so long, in seconds, and what nobody fetched so long.
KEEP_FETCHED = 7 * 24 * 3600.0
KEEP_UNFETCHED = 30 * 24 * 3600.0
KEEP_PLANS = 24 * 3600.0
MOST_LISTED = 200
# Another process writes for a few milliseconds; one that is stopped must not stop us.
PATIENCE = 3.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS plans (
    plan_id TEXT PRIMARY KEY, name TEXT NOT NULL, body BLOB NOT NULL, user TEXT NOT NULL, boot_id TEXT NOT NULL,
    made REAL NOT NULL, expires REAL NOT NULL, forced TEXT NOT NULL, operation_id TEXT NOT NULL DEFAULT '')
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS operations (
    operation_id TEXT PRIMARY KEY, plan_id TEXT NOT NULL UNIQUE, body BLOB NOT NULL, user TEXT NOT NULL,
    reason TEXT NOT NULL, target TEXT NOT NULL, arm TEXT NOT NULL, state INTEGER NOT NULL, started REAL NOT NULL,
    ended REAL, result TEXT NOT NULL DEFAULT '', undo BLOB, audit_head BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS steps (
    operation_id TEXT, sequence INTEGER, at REAL NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (operation_id, sequence)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS approvals (
    plan_id TEXT, user TEXT, approved INTEGER NOT NULL, at REAL NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (plan_id, user)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS evidence (
    operation_id TEXT, name TEXT, size INTEGER NOT NULL, sha256 BLOB NOT NULL, at REAL NOT NULL, fetched REAL,
    PRIMARY KEY (operation_id, name)) WITHOUT ROWID;
"""
# Each by what is given of it; NULL is any.
PLANS = """
SELECT plan_id, body, user, boot_id, expires, forced, operation_id FROM plans
WHERE (? IS NULL OR plan_id = ?) AND (? IS NULL OR name = ?) ORDER BY made
"""
OPERATIONS = """
SELECT operation_id, body, state, user, reason, started, ended, result, undo, audit_head FROM operations
WHERE (? IS NULL OR operation_id = ?) AND (? IS NULL OR started >= ?) AND (? IS NULL OR state = ?)
ORDER BY started DESC LIMIT ?
"""


class JournalError(Exception):
    """It can't be read or written, and so nothing may be changed; the message says why."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan as it was made: by whom, in which boot, until when in seconds of that boot; which operation used it."""

    plan: Plan
    user: str
    boot_id: str
    expires: float
    # The reason given for going past the rate limit; empty where nobody asked to.
    forced: str
    operation_id: str


class Journal:
    """Opened for one request or one operation. Every method raises JournalError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def _base(self) -> Iterator[sqlite3.Connection]:
        try:
            folders.own(self._folder)
            with closing(sqlite3.connect(self._folder / FILE, timeout=PATIENCE)) as base:
                base.execute("PRAGMA journal_mode = WAL")
                base.execute("PRAGMA synchronous = FULL")
                base.executescript(SCHEMA)
                with base:
                    yield base
        except (sqlite3.Error, OSError) as error:
            said = error.strerror if isinstance(error, OSError) else str(error)
            raise JournalError(f"{self._folder / FILE}: {said or type(error).__name__}") from error

    def add_plan(self, planned: Planned, now: float) -> None:
        """`now` in epoch seconds; plans that ended long ago are forgotten with it."""
        plan = planned.plan
        with self._base() as base:
            base.execute("DELETE FROM plans WHERE made < ?", (now - KEEP_PLANS,))
            row = (plan.plan_id, plan.name, plan.SerializeToString(), planned.user, planned.boot_id, now)
            base.execute(
                "INSERT INTO plans (plan_id, name, body, user, boot_id, made, expires, forced)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, planned.expires, planned.forced),
            )

    def plan(self, plan_id: str) -> Planned | None:
        found = self._plans(plan_id=plan_id)
        return found[0] if found else None

    def plans_named(self, name: str) -> list[Planned]:
        return self._plans(name=name)

    def _plans(self, plan_id: str | None = None, name: str | None = None) -> list[Planned]:
        with self._base() as base:
            rows = base.execute(PLANS, (plan_id, plan_id, name, name)).fetchall()
            made = []
            for plan_id, body, *rest in rows:
                plan = Plan.FromString(body)
                plan.approvals.extend(_approvals(base, plan_id))
                made.append(Planned(plan, *rest))
            return made

    def approve(self, plan_id: str, approval: Approval, now: float) -> None:
        """One word a person: a later one takes the earlier one's place."""
        with self._base() as base:
            row = (plan_id, approval.user, int(approval.approved), now, approval.reason)
            base.execute("INSERT OR REPLACE INTO approvals VALUES (?, ?, ?, ?, ?)", row)

    def begin(self, operation_id: str, planned: Planned, user: str, reason: str, now: float) -> bool:
        """Writes the intent, and that the plan is used; False where it was used meanwhile."""
        plan = planned.plan
        target, arm = leases.target(plan.subject), plan.action.WhichOneof("action")
        with self._base() as base:
            mine = base.execute(
                "UPDATE plans SET operation_id = ? WHERE plan_id = ? AND operation_id = ''",
                (operation_id, plan.plan_id),
            )
            if mine.rowcount != 1:
                return False
            row = (operation_id, plan.plan_id, plan.SerializeToString(), user, reason, target, arm)
            base.execute(
                "INSERT INTO operations (operation_id, plan_id, body, user, reason, target, arm, state, started)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, OPERATION_STATE_RUNNING, now),
            )
            return True

    def end(
        self,
        operation_id: str,
        state: "OperationState.ValueType",
        result: str,
        now: float,
        *,
        undo: Action | None = None,
        audit_head: bytes = b"",
    ) -> None:
        with self._base() as base:
            base.execute(
                "UPDATE operations SET state = ?, result = ?, ended = ?, undo = ?, audit_head = ?"
                " WHERE operation_id = ? AND state = ?",
                (
                    state,
                    result,
                    now,
                    undo.SerializeToString() if undo else None,
                    audit_head,
                    operation_id,
                    OPERATION_STATE_RUNNING,
                ),
            )

    def step(self, operation_id: str, text: str, now: float) -> None:
        with self._base() as base:
            base.execute(
                "INSERT INTO steps SELECT ?, COALESCE(MAX(sequence), 0) + 1, ?, ? FROM steps WHERE operation_id = ?",
                (operation_id, now, text, operation_id),
            )

    def steps(self, operation_id: str, after: int = 0) -> list[Step]:
        with self._base() as base:
            return _steps(base, operation_id, after)

    def operation(self, operation_id: str) -> Operation | None:
        found = self._operations(operation_id=operation_id)
        return found[0] if found else None

    def since(self, moment: float) -> list[Operation]:
        """Begun since an epoch second, oldest first; at most the last MOST_LISTED."""
        return self._operations(since=moment)

    def running(self) -> list[Operation]:
        return self._operations(state=OPERATION_STATE_RUNNING)

    def _operations(
        self, operation_id: str | None = None, since: float | None = None, state: int | None = None
    ) -> list[Operation]:
        with self._base() as base:
            given = (operation_id, operation_id, since, since, state, state, MOST_LISTED)
            return [_operation(base, row) for row in reversed(base.execute(OPERATIONS, given).fetchall())]

    def times(self, plan: Plan, since: float) -> int:
        """How often the same was begun at the same target since an epoch second."""
        with self._base() as base:
            row = (leases.target(plan.subject), plan.action.WhichOneof("action"), since)
            chosen = "SELECT COUNT(*) FROM operations WHERE target = ? AND arm = ? AND started >= ?"
            return int(base.execute(chosen, row).fetchone()[0])

    def keep(self, operation_id: str, name: str, data: bytes, now: float) -> None:
        """Stores a piece of evidence beside the journal, synced before it is told."""
        kept = data[:LARGEST_EVIDENCE]
        try:
            folder = self._folder / EVIDENCE / operation_id
            for each in (folder.parent, folder):
                folders.own(each)
            placing.place(folder / name, kept, 0o600)
        except OSError as error:
            raise JournalError(f"evidence can't be kept: {error.strerror}") from error
        with self._base() as base:
            digest = hashlib.sha256(kept).digest()
            row = (operation_id, name, len(kept), digest, now)
            base.execute("INSERT OR REPLACE INTO evidence VALUES (?, ?, ?, ?, ?, NULL)", row)

    def evidence(self, operation_id: str, name: str) -> bytes:
        """A piece, as it was kept."""
        try:
            return (self._folder / EVIDENCE / operation_id / name).read_bytes()
        except OSError as error:
            raise JournalError(f"{name} can't be read: {error.strerror}") from error

    def fetched(self, operation_id: str, name: str, now: float) -> None:
        with self._base() as base:
            row = (now, operation_id, name)
            base.execute("UPDATE evidence SET fetched = ? WHERE operation_id = ? AND name = ?", row)

    def forget(self, now: float) -> None:
        """Evidence that has been fetched long enough ago, or was not for very long."""
        with self._base() as base:
            old = base.execute(
                "DELETE FROM evidence WHERE fetched < ? OR at < ? RETURNING operation_id, name",
                (now - KEEP_FETCHED, now - KEEP_UNFETCHED),
            ).fetchall()
        for operation_id, name in old:
            with suppress(OSError):
                (self._folder / EVIDENCE / operation_id / name).unlink()
                os.rmdir(self._folder / EVIDENCE / operation_id)  # noqa: PTH106 - where it is empty


def _approvals(base: sqlite3.Connection, plan_id: str) -> Iterator[Approval]:
    chosen = "SELECT user, approved, at, reason FROM approvals WHERE plan_id = ? ORDER BY at"
    for user, approved, moment, reason in base.execute(chosen, (plan_id,)):
        made = Approval(user=user, approved=bool(approved), reason=reason)
        made.time.FromMilliseconds(int(moment * 1000))
        yield made


def _steps(base: sqlite3.Connection, operation_id: str, after: int = 0) -> list[Step]:
    chosen = "SELECT sequence, at, text FROM steps WHERE operation_id = ? AND sequence > ? ORDER BY sequence"
    made = []
    for sequence, moment, text in base.execute(chosen, (operation_id, after)):
        made.append(Step(sequence=sequence, text=text))
        made[-1].time.FromMilliseconds(int(moment * 1000))
    return made


def _operation(base: sqlite3.Connection, row: Sequence[Any]) -> Operation:
    operation_id, body, state, user, reason, started, ended, result, undo, audit_head = row
    made = Operation(
        operation_id=operation_id,
        plan=Plan.FromString(body),
        state=state,
        user=user,
        reason=reason,
        result=result,
        audit_head=audit_head or b"",
        undo=Action.FromString(undo) if undo else None,
        steps=_steps(base, str(operation_id)),
    )
    made.started_time.FromMilliseconds(int(started * 1000))
    if ended is not None:
        made.ended_time.FromMilliseconds(int(ended * 1000))
    chosen = "SELECT name, size, sha256 FROM evidence WHERE operation_id = ? ORDER BY name"
    made.evidence.extend(
        Kept(name=name, size=size, sha256=sha) for name, size, sha in base.execute(chosen, (operation_id,))
    )
    return made
