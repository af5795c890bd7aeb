"""Rules about PostgreSQL, and how its slots and sessions are counted and named."""

import re
import shlex
from collections.abc import Iterable

from agent.rule import age, errored, skipped
from fleetmedic.v1.finding_pb2 import Finding
from fleetmedic.v1.snapshot_pb2 import PostgresConnections, PostgresOwner, PostgresSession, PostgresSnapshot, Snapshot

OWNER_COLUMNS = ("user", "database", "application", "client", "state", "count")
ACTIVE_COLUMNS = ("pid", "backend_start", "user", "database", "application", "client", "state", "for", "statement")
USUAL = frozenset({("/run/postgresql", 5432), ("/var/run/postgresql", 5432)})
# What takes long by its nature: backups, and what keeps tables in order.
BACKUPS = frozenset({"pg_dump", "pg_dumpall", "pg_basebackup", "pg_restore", "vacuumdb", "reindexdb"})
UPKEEP = re.compile(
    r"\s*(?:VACUUM|ANALYZE|REINDEX|CREATE (?:UNIQUE )?INDEX|CLUSTER|REFRESH MATERIALIZED)\b", re.IGNORECASE
)


def at(snapshot: Snapshot, command: str) -> str:
    """A psql command for this very server, where it is not the one that psql goes to by itself."""
    target = snapshot.target
    if (target.socket, target.port) in USUAL:
        return command
    place = f"-h {shlex.quote(target.socket or target.host)} -p {target.port}"
    return command.replace("psql ", f"psql {place} ", 1)


def ordinary_slots(slots: PostgresConnections) -> int:
    """The slots an application can have: neither a superuser's nor those of reserved_connections."""
    return slots.max_connections - slots.superuser_reserved - slots.reserved


def owner_rows(owners: Iterable[PostgresOwner]) -> list[tuple[str, ...]]:
    """The columns of OWNER_COLUMNS."""
    return [
        (owner.user, owner.database, owner.application, owner.client, owner.state, str(owner.count)) for owner in owners
    ]


def session_name(session: PostgresSession) -> str:
    """A session for people: who, from where, what it is doing and since when."""
    application = f", application {session.application}" if session.application else ""
    return (
        f"session {session.pid} ({session.user}@{session.database} from {session.client}{application}; "
        f"{session.state} for {age(session.state_seconds)})"
    )


def is_upkeep(session: PostgresSession) -> bool:
    return session.application in BACKUPS or UPKEEP.match(session.query) is not None


def active_row(session: PostgresSession, seconds: float) -> tuple[str, ...]:
    """The columns of ACTIVE_COLUMNS; `seconds` of whatever the table is about."""
    started = session.backend_start.ToJsonString() if session.HasField("backend_start") else ""
    about = (session.user, session.database, session.application, session.client, session.state)
    return str(session.pid), started, *about, age(seconds), session.query[:200]


def unread(snapshot: Snapshot) -> Finding | None:
    """An error where the login worked and our own queries failed: of what they ask nothing is known."""
    login = snapshot.postgres.login
    if not login.read_error_class or login.error_class:
        return None
    return errored(snapshot.target, f"the agent's queries fail ({login.read_error_class}): {login.read_error_text}")


def unjudged(snapshot: Snapshot) -> Finding | None:
    """What to say of sessions that can't be judged from this snapshot; None where they can."""
    failed = unread(snapshot)
    if failed is not None:
        return failed
    blind = blindness(snapshot.postgres)
    return skipped(snapshot.target, blind) if blind else None


def blindness(seen: PostgresSnapshot) -> str:
    """Why sessions can't be judged from this snapshot; empty where they can."""
    if not seen.HasField("connections"):
        return f"needs a login: {seen.login.error_text}"
    if not seen.connections.max_connections:
        return "needs a login: read from process titles only"
    if not seen.sees_all_sessions:
        return f"needs pg_monitor: GRANT pg_monitor TO {seen.login.role}"
    return ""
