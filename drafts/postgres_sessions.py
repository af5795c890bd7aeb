"""PostgreSQL's sessions, as what ends them sees them: one login, who may never be ended, and the signals.

All text comes as bytes and is decoded here: names and statements may be of a database with another encoding.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

from agent import redact
from agent.action import Failed, Hand, effect, not_allowed, not_now
from agent.check import Medic
from agent.jobs import NeedsRight
from agent.probes import postgres, postgres_errors
from agent.rule import age
from fleetmedic.v1.action_pb2 import Effect, Plan
from fleetmedic.v1.snapshot_pb2 import PostgresLockEdge, Target

OWN_SQL = Path(__file__).parent / "sql"
PROBES_SQL = Path(postgres.__file__).parent / "sql"
# Backups, and what keeps replicas: by the names their programs give their sessions.
SPARED = "^(pg_dump|pg_basebackup|pg_receivewal|pg_recvlogical|pg_restore|pgbackrest|barman|wal-g|repmgr|patroni)"
MEND = 'agent.toml of this host does not let sessions of {service} be ended: [actions] sessions = ["{service}"]'
# How long a session may take to go, in seconds.
GOING = 5.0
LOOK = 0.1
LONGEST_STATEMENT = 200


@dataclass(frozen=True, slots=True)
class Session:
    """A row of pg_stat_activity, of whatever kind of backend; `statement` is without its literals."""

    pid: int
    backend_start: datetime
    backend_type: str
    user: str
    database: str
    application: str
    client: str
    state: str
    state_change: datetime | None
    state_seconds: float
    xact_start: datetime | None
    wrote: bool
    statement: str
    superuser: bool
    may_signal: bool

    @property
    def started(self) -> str:
        return self.backend_start.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    @property
    def identity(self) -> str:
        return f"{self.pid} {self.started}"

    @property
    def idle(self) -> bool:
        """It runs no statement: there is nothing to cancel (checks.md D5)."""
        return self.state.startswith("idle")

    @property
    def name(self) -> str:
        return f"pid {self.pid} {self.user}@{self.database} {self.state} {age(self.state_seconds)}"

    def spared(self) -> str:
        """Why it is never ended, as the end of a sentence; "" where it may be."""
        if self.application == postgres.APPLICATION:
            return "is the agent's own"
        if self.backend_type != "client backend":
            return f"is no client's but PostgreSQL's own ({self.backend_type or 'unknown'}), and is never ended"
        if self.superuser:
            return f"is a superuser's ({self.user}), and is never ended"
        if re.match(SPARED, self.application, re.IGNORECASE):
            return f"is a backup's or a replica's ({self.application}), and is never ended"
        return ""


@dataclass(frozen=True, slots=True)
class Server:
    """One login at a server; `used` counts its client sessions."""

    connection: psycopg.Connection[dict[str, Any]]
    role: str
    used: int

    def sessions(self, pids: Iterable[int]) -> Sequence[Session]:
        rows = _rows(self.connection, OWN_SQL / "sessions.sql", {"pids": sorted(set(pids))})
        return [_session(row) for row in rows]

    def session(self, pid: int, started: str) -> Session | None:
        """None where it is gone, or the pid is another's."""
        return next((found for found in self.sessions([pid]) if found.started == started), None)

    def edges(self) -> Sequence[PostgresLockEdge]:
        return [PostgresLockEdge(**row) for row in _rows(self.connection, PROBES_SQL / "lock_edges.sql")]

    def idle(self, user: str, application: str, client: str, seconds: float) -> Sequence[Session]:
        """A client's sessions that have been idle, in no transaction, for so long; the oldest first."""
        of = {"user": user, "application": application, "client": client, "seconds": seconds}
        return [_session(row) for row in _rows(self.connection, OWN_SQL / "idle.sql", of)]

    def terminate(self, session: Session) -> bool:
        """Whether the signal was sent: not where it is another session or in another transaction by now."""
        return self._signalled("terminate", session)

    def cancel(self, session: Session) -> bool:
        return self._signalled("cancel", session)

    def _signalled(self, name: str, session: Session) -> bool:
        bound = {
            "pid": session.pid,
            "backend_start": session.backend_start,
            "xact_start": session.xact_start,
            "state_change": session.state_change,
            "own": postgres.APPLICATION,
            "spared": SPARED,
        }
        return any(row["signalled"] for row in _rows(self.connection, OWN_SQL / f"{name}.sql", bound))

    def ended(self, session: Session, hand: Hand) -> str:
        """Sends the signal and waits until it is gone; "" then, else why it is not."""
        hand.at("effect sent")
        sent = self.terminate(session)
        hand.at("effect done")
        if not sent:
            return f"pid {session.pid} was left alone: it has gone, or gone on, meanwhile"
        if not waited(lambda: self.session(session.pid, session.started) is None, GOING):
            return f"pid {session.pid} was told to end and is still there after {GOING:.0f} s"
        return ""


def waited(holds: Callable[[], bool], seconds: float) -> bool:
    """Whether it came to hold within so many seconds."""
    end = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < end:
        time.sleep(LOOK)
    return held


@contextmanager
def logged_in(target: Target, medic: Medic) -> Iterator[Server]:
    """Refused where there is no login, it can't see others' sessions, or the server does not answer."""
    try:
        connection = postgres.log_in(target, medic.config).connection
    except (postgres.Refused, psycopg.Error, NeedsRight, OSError) as error:
        raise not_now(f"no login at {target.name}: {said(error)}") from error
    with connection:
        try:
            yield _server(connection, target)
        except psycopg.Error as error:
            raise not_now(f"{target.name} does not answer as it should: {said(error)}") from error


def said(error: Exception) -> str:
    text = error.text if isinstance(error, postgres.Refused) else str(error)
    return redact.text(postgres_errors.first_line(text)) or type(error).__name__


def _server(connection: "psycopg.Connection[dict[str, Any]]", target: Target) -> Server:
    connection.execute("SET client_encoding TO 'SQL_ASCII'")
    (about,) = _rows(connection, PROBES_SQL / "connections.sql")
    if not about["sees_all"]:
        raise not_allowed(f"the agent sees no others' sessions at {target.name}: GRANT pg_monitor TO {about['role']}")
    return Server(connection, about["role"], about["used"])


@cache
def _query(file: Path) -> bytes:
    return file.read_bytes()


def _rows(
    connection: "psycopg.Connection[dict[str, Any]]", file: Path, values: Mapping[str, object] | None = None
) -> list[dict[str, Any]]:
    # Read from our own folders, never built: the type checker can't know that a file's text is literal.
    found = connection.execute(_query(file), values).fetchall()
    return [{name: _decoded(value) for name, value in row.items()} for row in found]


def _decoded(value: object) -> object:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _session(row: Mapping[str, Any]) -> Session:
    return Session(**{**row, "statement": redact.sql(row["statement"])[:LONGEST_STATEMENT]})


def permit(target: Target, medic: Medic) -> None:
    """Refused where agent.toml lets no session of the target's service be ended."""
    if not medic.config.actions.session(target.service):
        raise not_allowed(MEND.replace("{service}", target.service))


def hold_to_rights(server: Server, sessions: Iterable[Session]) -> None:
    """Refused where the agent's role may not end all of them."""
    beyond = [session.pid for session in sessions if not session.may_signal]
    if beyond:
        raise not_allowed(
            f"the agent's role may not end pid {', '.join(map(str, beyond))}: GRANT pg_signal_backend TO {server.role}"
        )


def bound(session: Session, does: str) -> Effect:
    return effect("session", session.name, session.identity, does)


def planned(plan: Plan) -> Sequence[tuple[int, str, str]]:
    """Pid, start and what is done, of a plan's sessions."""
    made = []
    for item in plan.effects:
        pid, _, started = item.identity.partition(" ")
        made.append((int(pid), started, item.does))
    return made


def keep(hand: Hand, medic: Medic, sessions: Iterable[Session], edges: Iterable[PostgresLockEdge]) -> None:
    """Evidence: who was there, and who waited for whom."""
    told = [
        {
            "pid": each.pid,
            "backend_start": each.started,
            "backend_type": each.backend_type,
            "user": each.user,
            "database": each.database,
            "application": each.application,
            "client": each.client,
            "state": each.state,
            "state_seconds": round(each.state_seconds, 1),
            "transaction_started": str(each.xact_start or ""),
            "wrote": each.wrote,
            "statement": each.statement,
        }
        for each in sessions
    ]
    waits = "".join(
        f"{edge.waiting} waits for {edge.blocking or 'a prepared transaction'} for {age(edge.waiting_seconds)}: "
        f"{edge.lock_type} {edge.mode} {edge.relation}".rstrip() + "\n"
        for edge in edges
    )
    for name, text in (("sessions.json", json.dumps(told, indent=1, ensure_ascii=False)), ("lock-forest.txt", waits)):
        hand.keep(name, redact.text(text, medic.config.secrets()).encode())


def conclude(done: Sequence[str], undone: Sequence[str]) -> str:
    """What was done. Failed, with both, where something was not."""
    if undone:
        raise Failed("; ".join([*undone, *(done or ["nothing was ended"])]))
    return "; ".join(done)
