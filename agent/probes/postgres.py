"""PostgreSQL: a real login, slots, sessions and lock edges; by process titles alone where no login is to be had.

The ladder (checks.md D4), from the top: the sampler's warm connection; a fresh login as the configured or monitoring
role, which takes a slot of reserved_connections by itself where it may; a superuser's slot over the local socket, as
the server's own user; no login at all, only the titles the backends write over their command lines.
"""

import gc
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from agent import budgets, jobs, procfs, redact, resident
from agent.config import Config, login_for, secret
from agent.probes import network, postgres_errors
from fleetmedic.v1.snapshot_pb2 import (
    POSTGRES_RUNG_FRESH,
    POSTGRES_RUNG_NONE,
    POSTGRES_RUNG_PROCESS_TITLES,
    POSTGRES_RUNG_RESERVED,
    POSTGRES_RUNG_SUPERUSER,
    POSTGRES_RUNG_WARM,
    PostgresOwner,
    PostgresRung,
    PostgresSnapshot,
    Snapshot,
    Target,
)
from fleetmedic.v1.snapshot_pb2 import (
    PostgresLogin as LoginSeen,
)

APPLICATION = "fleetmedic-agent"
FULL = "53300"
QUERIES = ("connections", "owners", "sessions", "lock_edges")
MOST_OWNERS = 200
# postgres: 15/main: app orders 10.0.0.7(51442) idle in transaction
TITLE = re.compile(
    r"postgres: (?:[^:]{1,64}: )?(?P<user>\S+) (?P<database>\S+) (?P<client>\[local\]|\S+?\(\d+\)) (?P<state>.+)"
)
GRANTS = """CREATE ROLE fleetmedic LOGIN;
GRANT pg_monitor TO fleetmedic;
-- pg_hba.conf:   local postgres fleetmedic peer map=fleetmedic
-- pg_ident.conf: fleetmedic root fleetmedic
-- or a password: ALTER ROLE fleetmedic PASSWORD ...; and in agent.toml [[postgres]] user, password_file"""


@dataclass(frozen=True, slots=True)
class Login:
    """One way in. `as_process` is the process whose user to be seen as, for peer; 0 for one's own."""

    role: str
    dbname: str
    password: str
    as_process: int
    rung: "PostgresRung.ValueType"


class Refused(Exception):
    """No login worked; holds the class and text of the refusal that tells most."""

    def __init__(self, error_class: str, text: str) -> None:
        super().__init__(text)
        self.error_class = error_class
        self.text = text


@dataclass(frozen=True, slots=True)
class Session:
    connection: psycopg.Connection[dict[str, Any]]
    login: Login


def collect(target: Target, config: Config) -> Snapshot:
    """By the resident connection where there is one, else with a login of its own."""
    answered = resident.ask(config.run, target, budgets.POSTGRES_RESIDENT)
    if answered is not None:
        return answered
    seen, fresh = look(target, config, None)
    if fresh is not None:
        fresh.connection.close()
    return Snapshot(postgres=seen)


def look(target: Target, config: Config, warm: Session | None) -> tuple[PostgresSnapshot, Session | None]:
    """A snapshot, and the fresh login that was tried for it, open. `warm` is a connection from before the trouble."""
    made = PostgresSnapshot()
    fresh: Session | None = None
    began = time.monotonic()
    try:
        fresh = log_in(target, config)
        fresh.connection.execute("SELECT 1")
        made.login.select_one.FromNanoseconds(int((time.monotonic() - began) * 1e9))
    except (Refused, psycopg.Error) as error:
        _refusal(made.login, error)
    if warm is not None and _read(warm, made, POSTGRES_RUNG_WARM):
        return made, fresh
    if fresh is not None and _read(fresh, made, fresh.login.rung):
        return made, fresh
    return _without_login(target, made), fresh


def _refusal(login: LoginSeen, error: Exception) -> None:
    text = error.text if isinstance(error, Refused) else str(error)
    login.error_class = error.error_class if isinstance(error, Refused) else postgres_errors.classify(text)
    login.error_text = redact.text(postgres_errors.first_line(text))
    if login.error_class in ("28P01", "28000"):
        login.grants = GRANTS


def log_in(target: Target, config: Config) -> Session:
    """Climbs down the ladder until a login works. Refused, with the most telling refusal, where none does."""
    network.join(target)
    refusals: list[Refused] = []
    for login in _ways_in(target, config):
        try:
            return Session(_connect(target, login), login)
        except psycopg.OperationalError as error:
            text = str(error)
            refusals.append(Refused(postgres_errors.classify(text), text))
            if refusals[-1].error_class not in ("28P01", "28000", "3D000", FULL):
                break
    # A failed attempt leaves its socket in a circle of exceptions and frames, open until somebody collects it.
    gc.collect()
    raise next((refusal for refusal in refusals if refusal.error_class == FULL), refusals[0])


def _ways_in(target: Target, config: Config) -> Iterator[Login]:
    configured = login_for(target, config.postgres)
    if configured is not None:
        password = secret(configured.password_file)
        yield Login(configured.user, configured.dbname, password, 0, POSTGRES_RUNG_FRESH)
        return
    yield Login("fleetmedic", "postgres", "", 0, POSTGRES_RUNG_FRESH)
    if not target.pid:
        return
    user = procfs.account(procfs.owner(target.pid)[0])
    named = procfs.environment_value(target.pid, "POSTGRES_USER")
    for role in dict.fromkeys(filter(None, (named, "postgres", user))):
        yield Login(role, "postgres", "", target.pid, POSTGRES_RUNG_SUPERUSER)


def _connect(target: Target, login: Login) -> psycopg.Connection[dict[str, Any]]:
    """A session by the rules of checks.md 3.2: it can't wait, can't write, and can't hold a lock for long."""
    place = target.socket or target.host
    if "," in place:
        # libpq takes it for a list of hosts: a socket's path could name any host in the world.
        raise psycopg.OperationalError("a comma in an address is not allowed")
    with _seen_as(login.as_process if target.socket else 0):
        return psycopg.connect(
            host=place,
            port=target.port,
            user=login.role,
            dbname=login.dbname,
            password=login.password or None,
            # Never a password that lies about on the host: neither ~/.pgpass nor a service file.
            passfile="/nonexistent/fleetmedic",
            # Never in clear to whoever sits on the port while the server is down.
            require_auth="!password",
            connect_timeout=budgets.POSTGRES_CONNECT,
            application_name=APPLICATION,
            options=f"-c statement_timeout={budgets.POSTGRES_STATEMENT_MS} -c lock_timeout={budgets.POSTGRES_LOCK_MS}"
            " -c idle_in_transaction_session_timeout=5000 -c default_transaction_read_only=on"
            " -c search_path=pg_catalog",
            autocommit=True,
            prepare_threshold=None,
            row_factory=dict_row,
        )


@contextmanager
def _seen_as(process: int) -> Iterator[None]:
    """Connects as the user a process runs as, which is what `peer` authentication asks the kernel for.

    The group too: the kernel lets a path lead through /proc/PID/root only to one who is the process's user and group.
    """
    if os.geteuid() != 0 or not process:
        yield
        return
    user, group = procfs.owner(process)
    parent, bound = os.getppid(), jobs.dies_with_parent()
    try:
        os.setegid(group)
        os.seteuid(user)
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        # The kernel forgets it with every change of user.
        if bound:
            jobs.die_with(parent)


@cache
def _query(name: str) -> str:
    return (Path(__file__).parent / "sql" / f"{name}.sql").read_text()


def _rows(session: Session, name: str) -> list[dict[str, Any]]:
    # Read from our own folder, never built: the type checker can't know that a file's text is literal.
    return session.connection.execute(_query(name).encode()).fetchall()


def _read(session: Session, made: PostgresSnapshot, rung: "PostgresRung.ValueType") -> bool:
    """Whether the session still answered."""
    try:
        slots, owners, sessions, edges = (_rows(session, name) for name in QUERIES)
    except psycopg.Error as error:
        session.connection.close()
        # The login is as good as it was: what failed, often for a lock on a catalogue, must not pass for an answer.
        text = str(error)
        made.login.read_error_class = postgres_errors.classify(text)
        made.login.read_error_text = redact.text(postgres_errors.first_line(text))
        return False
    made.login.ClearField("read_error_class")
    made.login.ClearField("read_error_text")
    _read_slots(slots[0], rung, made)
    made.owners.extend(PostgresOwner(**row) for row in owners)
    for row in owners:
        made.connections.by_state[row["state"]] += row["count"]
    for row in sessions:
        backend_start = row.pop("backend_start")
        row["query"] = redact.sql(row["query"])
        made.sessions.add(**row).backend_start.FromDatetime(backend_start)
    for row in edges:
        made.lock_edges.add(**row)
    return True


def _read_slots(slots: Mapping[str, Any], rung: "PostgresRung.ValueType", made: PostgresSnapshot) -> None:
    made.server_version = slots["server_version"]
    made.sees_all_sessions = slots["sees_all"]
    made.login.role = slots["role"]
    made.login.rung = POSTGRES_RUNG_RESERVED if rung == POSTGRES_RUNG_FRESH and _in_reserve(slots) else rung
    for name in ("used", "max_connections", "superuser_reserved", "reserved"):
        setattr(made.connections, name, slots[name])


def _in_reserve(slots: Mapping[str, int]) -> bool:
    ordinary = slots["max_connections"] - slots["superuser_reserved"] - slots["reserved"]
    return slots["reserved"] > 0 and slots["used"] > ordinary


def _without_login(target: Target, made: PostgresSnapshot) -> PostgresSnapshot:
    made.login.rung = POSTGRES_RUNG_NONE
    backends = list(_titled_backends(target.pid)) if target.pid else []
    if backends:
        made.login.rung = POSTGRES_RUNG_PROCESS_TITLES
        _count(made, backends)
    return made


def _titled_backends(postmaster: int) -> Iterator[re.Match[str]]:
    for process in procfs.processes():
        found = TITLE.fullmatch(procfs.title(process.pid)) if process.parent == postmaster else None
        # "idle" or a command in capitals; one that is just let in, or turned away, is mostly our own attempt.
        if found and (found["state"].startswith("idle") or found["state"][0].isupper()):
            yield found


def _count(made: PostgresSnapshot, backends: Sequence[re.Match[str]]) -> None:
    owners = Counter(
        (found["user"], found["database"], _client(found["client"]), _state(found["state"])) for found in backends
    )
    made.connections.used = len(backends)
    for (user, database, client, state), count in owners.most_common(MOST_OWNERS):
        made.owners.add(user=user, database=database, client=client, state=state, count=count)
        made.connections.by_state[state] += count


def _client(field: str) -> str:
    return "local" if field == "[local]" else field.rpartition("(")[0]


def _state(field: str) -> str:
    """A title's last words as pg_stat_activity calls them: 'UPDATE waiting' and 'SELECT' are active."""
    return field if field.startswith("idle") else "active"
