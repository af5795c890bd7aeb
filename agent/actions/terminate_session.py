"""Frees whoever waits for locks in PostgreSQL, with the least harm that does.

A schema change that waits is cancelled before whoever it waits for is disturbed (checks.md D6), a statement before its
session is ended; to cancel a session that is idle in a transaction does nothing (D5), so it is ended.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

from agent import observing
from agent.action import Failed, Hand, amount, effect, not_allowed, not_here, not_now
from agent.check import Medic
from agent.probes import postgres
from agent.probes.postgres import APPLICATION
from agent.rule import age
from agent.rules.postgres import BACKUPS, at, pg_lock_ddl_queue, pg_lock_root, session_name
from fleetmedic.v1.action_pb2 import RISK_MODERATE, Plan, TerminateSession
from fleetmedic.v1.finding_pb2 import Subject
from fleetmedic.v1.snapshot_pb2 import PostgresSession, PostgresSnapshot, Snapshot, Target

RISK = RISK_MODERATE
CURES = ("PG-LOCK-ROOT", "PG-LOCK-DDL-QUEUE", "PG-IDLE-TXN", "PG-LONG-TXN")
SETTLE = 5.0
# So many at once, and no more: who blocks more than this has another trouble.
MOST = 5
# For a session to stop what it was told to, in seconds.
PATIENCE = 5.0
LOOK = 0.05
CLIENT = "client backend"
MEND = 'agent.toml of this host does not permit it: [actions] sessions = ["{service}"]'
GRANT = "GRANT pg_signal_backend TO {role}"
COMMAND = (
    "psql -c \"SELECT pg_{does}_backend(pid) FROM pg_stat_activity WHERE pid = {pid} AND backend_start = '{start}'\""
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A session, what is done to it, and how many go on then."""

    session: PostgresSession
    does: str
    freed: int


def plan(asked: TerminateSession, medic: Medic) -> Plan:
    target = _permitted(asked.service, medic)
    seen = observing.look(medic, target)
    _readable(seen)
    chosen = _named(asked, seen.postgres) if asked.sessions else _least_harm(seen.postgres)
    made = Plan(subject=Subject(service=target.service, kind="postgres", name=target.name))
    if not chosen:
        made.summary = "no session waits for a lock"
        return made
    with _logged_in(target, medic) as session:
        _may_be_ended(session, chosen)
    _tell(made, seen, chosen)
    return made


def _permitted(service: str, medic: Medic) -> Target:
    target = observing.the_one(medic, "postgres", service, "PostgreSQL server")
    if not medic.config.actions.session(target.service):
        raise not_allowed(MEND.replace("{service}", target.service))
    return target


def _readable(seen: Snapshot) -> None:
    if not seen.postgres.server_version or not seen.postgres.sees_all_sessions:
        why = seen.postgres.login.error_text or seen.postgres.login.read_error_text or "its role lacks pg_monitor"
        raise not_now(f"the sessions of {seen.target.name} can't be seen: {why}")


def _named(asked: TerminateSession, seen: PostgresSnapshot) -> list[Chosen]:
    freed = {root.pid: len(root.victims) for root in pg_lock_root.roots(seen.lock_edges)}
    there = {(item.pid, item.backend_start.ToJsonString()): item for item in seen.sessions}
    chosen = []
    for item in asked.sessions:
        session = there.get((item.pid, item.backend_start.ToJsonString()))
        if session is None:
            raise not_here(f"no session {item.pid} of that start is doing or holding anything; look again")
        chosen.append(Chosen(session, _gentlest(session), freed.get(item.pid, 0)))
    return chosen


def _least_harm(seen: PostgresSnapshot) -> list[Chosen]:
    """Schema changes that others queue behind, else the roots of the waits."""
    sessions = {item.pid: item for item in seen.sessions}
    queues = pg_lock_ddl_queue.queues(seen.lock_edges)
    if queues:
        return [Chosen(_of(queue.head, sessions), "cancel", len(queue.freed)) for queue in queues[:MOST]]
    roots = pg_lock_root.roots(seen.lock_edges)[:MOST]
    found = [(_of(root.pid, sessions), len(root.victims)) for root in roots]
    return [Chosen(session, _gentlest(session), freed) for session, freed in found]


def _of(pid: int, sessions: Mapping[int, PostgresSession]) -> PostgresSession:
    if pid == pg_lock_root.PREPARED:
        raise not_allowed(f"the root is {pg_lock_root.NEXT_PREPARED}")
    if pid not in sessions:
        raise not_allowed(f"process {pid}, which holds the lock, is no client's session: it is not ended")
    return sessions[pid]


def _gentlest(session: PostgresSession) -> str:
    return "cancel" if session.state == "active" else "terminate"


def _may_be_ended(session: postgres.Session, chosen: Sequence[Chosen]) -> None:
    """Refused where one may not be, by what it is or for lack of a right."""
    pids = [item.session.pid for item in chosen]
    rows = {row["pid"]: row for row in _rows(session, "sessions_by_pid", {"pids": pids})}
    for item in chosen:
        row = rows.get(item.session.pid)
        if row is None:
            raise not_now(f"session {item.session.pid} has just gone; look again")
        if why := _forbidden(row):
            raise not_allowed(f"session {row['pid']} of {row['user'] or 'nobody'} is {why}: it is not ended")
        if not row["may"]:
            raise not_allowed(f"the agent's role may not: {GRANT.replace('{role}', session.login.role)}")


def _forbidden(row: Mapping[str, Any]) -> str:
    if row["kind"] != CLIENT:
        return f"a {row['kind'] or 'process of the server'}"
    if row["superuser"]:
        return "a superuser's"
    if row["application"] in BACKUPS:
        return f"a backup or upkeep ({row['application']})"
    return "the agent's own" if row["application"] == APPLICATION else ""


def _tell(made: Plan, seen: Snapshot, chosen: Sequence[Chosen]) -> None:
    freed = sum(item.freed for item in chosen)
    made.table.columns.extend(("pid", "does", "user", "application", "state", "transaction", "frees", "statement"))
    for item in chosen:
        session, start = item.session, item.session.backend_start.ToJsonString()
        said = f"pid {session.pid}, {session_name(session)}"
        made.effects.append(effect("session", said, f"{session.pid} {start}", item.does))
        open_for = age(session.transaction_seconds)
        cells = (str(session.pid), item.does, session.user, session.application, session.state, open_for)
        made.table.rows.add(cells=(*cells, str(item.freed), session.query[:120]))
        command = COMMAND.replace("{does}", item.does).replace("{pid}", str(session.pid)).replace("{start}", start)
        made.equal_commands.append(at(seen, command))
    doing = " and ".join(f"{item.does} {item.session.pid}" for item in chosen)
    made.summary = f"{doing}: {freed} waiting session{'s' if freed != 1 else ''} can go on"
    # Whoever joins the queue meanwhile is freed with the others.
    made.amounts.append(amount("freed", freed, "sessions", max(1.0, float(freed))))
    made.kept.append(f"{max(0, seen.postgres.connections.used - len(chosen))} other sessions of the server")
    made.evidence.append("sessions.json")
    made.steps.append(f"a statement that goes on {PATIENCE:.0f} s after it was cancelled is ended with its session")
    made.irreversible = "what these transactions have not committed is rolled back"


def apply(planned: Plan, hand: Hand, medic: Medic) -> str:
    target = _permitted(planned.action.terminate_session.service, medic)
    seen = observing.look(medic, target)
    hand.keep("sessions.json", _evidence(seen.postgres))
    done: list[str] = []
    with _logged_in(target, medic) as session:
        for item in planned.effects:
            pid, _, start = item.identity.partition(" ")
            bound = {"pid": int(pid), "backend_start": start}
            try:
                done.append(_end(session, item.does, bound, hand))
            except (Failed, psycopg.Error) as error:
                said = str(error) if isinstance(error, Failed) else f"the server refused ({type(error).__name__})"
                raise Failed("; ".join([*done, f"session {pid}: {said}"])) from error
            hand.step(done[-1])
    return "; ".join(done)


def _end(session: postgres.Session, does: str, bound: Mapping[str, Any], hand: Hand) -> str:
    """What was done. Failed."""
    pid = bound["pid"]
    hand.at("effect sent")
    _signal(session, does, bound)
    hand.at("effect done")
    if does == "terminate":
        if _still(session, bound, ended=True):
            raise Failed(f"was told to end, and has not within {PATIENCE:.0f} s")
        return f"session {pid} is ended"
    if not _still(session, bound, ended=False):
        return f"the statement of session {pid} is cancelled"
    _signal(session, "terminate", bound)
    if _still(session, bound, ended=True):
        raise Failed(f"neither stopped its statement nor ended within {2 * PATIENCE:.0f} s")
    return f"session {pid} did not stop its statement, and is ended"


def _signal(session: postgres.Session, does: str, bound: Mapping[str, Any]) -> None:
    rows = _rows(session, does, bound)
    if not rows:
        raise Failed("is gone, or is another's by now; nothing was done")
    if not rows[0]["signalled"]:
        raise Failed("could not be told; nothing was done")


def _still(session: postgres.Session, bound: Mapping[str, Any], *, ended: bool) -> bool:
    """Whether it is there, or still active, after some patience."""
    end = time.monotonic() + PATIENCE
    while rows := _rows(session, "session", bound):
        if not ended and rows[0]["state"] != "active":
            return False
        if time.monotonic() > end:
            return True
        time.sleep(LOOK)
    return False


def happened(planned: Plan, medic: Medic) -> str:
    target = observing.the_one(medic, "postgres", planned.action.terminate_session.service, "PostgreSQL server")
    said = []
    with _logged_in(target, medic) as session:
        for item in planned.effects:
            pid, _, start = item.identity.partition(" ")
            rows = _rows(session, "session", {"pid": int(pid), "backend_start": start})
            said.append(f"session {pid} is {rows[0]['state'] or 'still there'}" if rows else f"session {pid} is gone")
    return ", ".join(said)


@contextmanager
def _logged_in(target: Target, medic: Medic) -> Iterator[postgres.Session]:
    """Refused where no login works."""
    try:
        session = postgres.log_in(target, medic.config)
    except (postgres.Refused, psycopg.Error) as error:
        raise not_now(f"no login to {target.name}: {str(error).partition(chr(10))[0]}") from error
    with session.connection:
        yield session


@cache
def _query(name: str) -> bytes:
    # Read from our own folder, never built: the type checker can't know that a file's text is literal.
    return (Path(__file__).parent / "sql" / f"{name}.sql").read_bytes()


def _rows(session: postgres.Session, name: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return session.connection.execute(_query(name), values).fetchall()


def _evidence(seen: PostgresSnapshot) -> bytes:
    sessions = [
        {
            "pid": item.pid,
            "backend_start": item.backend_start.ToJsonString(),
            "user": item.user,
            "application": item.application,
            "client": item.client,
            "state": item.state,
            "transaction_seconds": round(item.transaction_seconds, 3),
            "statement": item.query,
        }
        for item in seen.sessions
    ]
    waits = [{"waiting": edge.waiting, "blocking": edge.blocking, "mode": edge.mode} for edge in seen.lock_edges]
    return json.dumps({"sessions": sessions, "waits": waits}, indent=1).encode()
