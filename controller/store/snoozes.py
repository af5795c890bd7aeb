"""Snoozes: findings that somebody wants quiet for a while, with who, why and until when."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from controller.store import events, ids
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_WARN, Status

# How far back `add` looks for the finding. What was not seen for longer is no finding of today.
SEEN_WITHIN = 86400.0


@dataclass(frozen=True, slots=True)
class About:
    """One finding as it stood when it was snoozed."""

    host: str
    service: str
    kind: str
    name: str
    status: "Status.ValueType"


@dataclass(frozen=True, slots=True)
class Seen:
    """A finding as the newest run that has it on its host knows it."""

    about: About
    run: str
    at: float


@dataclass(frozen=True, slots=True)
class Snooze:
    """Times in epoch seconds. `subject` is "" for every subject of the finding; `about` is never empty."""

    id: str
    finding: str
    subject: str
    reason: str
    actor: str
    begins_at: float
    until: float
    about: tuple[About, ...]
    ended_at: float | None = None
    ended_by: str = ""

    @property
    def end(self) -> float:
        """When it ended, or will."""
        return self.until if self.ended_at is None else min(self.ended_at, self.until)

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(item.host for item in self.about))


def new_id(base: sqlite3.Connection, choose: Callable[[Sequence[str]], str]) -> str:
    """As a run's."""
    return ids.free(base, "SELECT 1 FROM snoozes WHERE id = ?", choose)


def seen(base: sqlite3.Connection, finding: str, now: float) -> list[Seen]:
    """Where this finding was warn or crit in the last day: of each host what the newest run that has it says."""
    rows = base.execute(
        "SELECT host, service, findings.kind, name, status, run, started_at FROM findings"
        " JOIN runs ON runs.id = findings.run WHERE findings.id = ? AND started_at > ? ORDER BY started_at DESC",
        (finding, now - SEEN_WITHIN),
    )
    newest: dict[str, str] = {}
    made = []
    for *about, run, at in rows:
        if newest.setdefault(about[0], run) == run:
            made.append(Seen(About(*about), run, at))
    return [item for item in made if item.about.status in (STATUS_WARN, STATUS_CRIT)]


def findings(base: sqlite3.Connection, now: float) -> list[str]:
    """Every id that was bad or warned in the last day."""
    rows = base.execute(
        "SELECT DISTINCT findings.id FROM findings JOIN runs ON runs.id = findings.run WHERE started_at > ?",
        (now - SEEN_WITHIN,),
    )
    return sorted(row[0] for row in rows)


def add(base: sqlite3.Connection, snooze: Snooze) -> None:
    """The snooze and its event, in one transaction."""
    with base:
        base.execute("BEGIN IMMEDIATE")
        base.execute(
            "INSERT INTO snoozes (id, finding, subject, reason, actor, begins_at, until) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                snooze.id,
                snooze.finding,
                snooze.subject,
                snooze.reason,
                snooze.actor,
                snooze.begins_at,
                snooze.until,
            ),
        )
        base.executemany(
            # Two findings of one subject: the milder one counts, for what is worse must be shown.
            "INSERT INTO snoozed VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET status = min(status, excluded.status)",
            ((snooze.id, item.host, item.service, item.kind, item.name, item.status) for item in snooze.about),
        )
        text = f"{snooze.finding} on {len(snooze.hosts)} hosts snoozed: {snooze.reason}"
        data = {
            "snooze": snooze.id,
            "finding": snooze.finding,
            "subject": snooze.subject,
            "hosts": list(snooze.hosts),
            "reason": snooze.reason,
            "until": snooze.until,
        }
        event = events.Event(snooze.begins_at, "snooze", snooze.actor, "controller", text, data)
        events.append(base, event, snooze.begins_at)


def end(base: sqlite3.Connection, ended: Iterable[Snooze], actor: str, now: float) -> None:
    """Ends them now, all or none, each with its event."""
    with base:
        base.execute("BEGIN IMMEDIATE")
        for item in ended:
            base.execute(
                "UPDATE snoozes SET ended_at = ?, ended_by = ? WHERE id = ? AND ended_at IS NULL",
                (now, actor, item.id),
            )
            text = f"the snooze {item.id} of {item.finding} was ended"
            data = {"snooze": item.id, "finding": item.finding}
            events.append(base, events.Event(now, "snooze-end", actor, "controller", text, data), now)


def since_last_run(base: sqlite3.Connection) -> tuple[Snooze, ...]:
    """Those that end after the newest run began: what holds, and what ended since."""
    return _read(
        base,
        "SELECT * FROM snoozes WHERE until > (SELECT coalesce(max(started_at), 0) FROM runs)"
        " AND coalesce(ended_at, until) > (SELECT coalesce(max(started_at), 0) FROM runs) ORDER BY until DESC",
    )


def at(base: sqlite3.Connection, when: float) -> tuple[Snooze, ...]:
    """Those that held at that time."""
    found = _read(base, "SELECT * FROM snoozes WHERE until > ? AND begins_at <= ? ORDER BY until DESC", when, when)
    return tuple(item for item in found if item.end > when)


def every(base: sqlite3.Connection) -> tuple[Snooze, ...]:
    """All there ever were, those that end last first."""
    return _read(base, "SELECT * FROM snoozes ORDER BY until DESC")


def _read(base: sqlite3.Connection, query: str, *values: float) -> tuple[Snooze, ...]:
    return tuple(_snooze(base, *row) for row in base.execute(query, values).fetchall())


def _snooze(
    base: sqlite3.Connection,
    identity: str,
    finding: str,
    subject: str,
    reason: str,
    actor: str,
    begins_at: float,
    until: float,
    ended_at: float | None,
    ended_by: str,
) -> Snooze:
    about = tuple(
        About(*row)
        for row in base.execute(
            "SELECT host, service, kind, name, status FROM snoozed WHERE snooze = ? ORDER BY host, name", (identity,)
        )
    )
    return Snooze(identity, finding, subject, reason, actor, begins_at, until, about, ended_at, ended_by)
