"""PostgreSQL lets a client log in and answers SELECT 1 within a second.

pg_isready says "accepting connections" of a server that is full, so only a real login counts. Each way of refusing has
its own cause: full (53300), starting or stopping (57P03), wrong password (28P01), no entry in pg_hba.conf (28000),
nobody listening, silence.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Level, Limit, Limits, Seen, age, finding, metric, seconds, table
from agent.rules.postgres import OWNER_COLUMNS, ordinary_slots, owner_rows
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_INFO, STATUS_OK, STATUS_SKIPPED, STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import (
    POSTGRES_RUNG_PROCESS_TITLES,
    POSTGRES_RUNG_WARM,
    Snapshot,
)

NEEDS = ("postgres",)
UNANSWERED = STATUS_CRIT
SLOW = Limit("slow_seconds", 1.0, "seconds", "own")
NEXT_FULL = "fleetmedic check {host} --include 'PG-*' --show all"
NEXT_AUTH = "run the GRANTs shown, or set user and password_file under [[postgres]] in agent.toml"
NEXT_DOWN = "look at the server's log and whether its container or unit runs: docker ps -a; systemctl status postgresql"
NEXT_UNREAD = "who holds a lock on pg_catalog, or what slows every query down? look at the server's log and its load"
NEXT_WAIT = "wait: it is starting or stopping; its log says how far it is"

FULL = "53300"
MEANING = {
    FULL: "full: it refuses new logins (53300)",
    "57P03": "is starting, stopping or recovering (57P03)",
    "28P01": "refused the agent's password (28P01)",
    "28000": "refused the agent's login (28000)",
    "3D000": "has no such database (3D000)",
    "53100": "has no space left on its disk (53100)",
    "read-only": "can't write: its filesystem is read-only",
    "standby": "is a standby that takes no queries (hot_standby is off)",
    "timeout": "takes the connection and gives no answer (timeout)",
    "refused": "nobody listens there (refused)",
    "unreachable": "can't be reached",
    "cut": "cut the connection off",
}
# A refusal of our own login says nothing of whether users can work.
OUR_LOGIN = frozenset({"28P01", "28000", "3D000"})


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("postgres"):
        login = snapshot.postgres.login
        if login.error_class:
            yield _refused(snapshot, login.error_class)
        elif _full(snapshot):
            yield _refused(snapshot, FULL)
        elif login.read_error_class:
            yield _unread(snapshot)
        else:
            yield _answered(snapshot, limits.of(SLOW))


def _full(snapshot: Snapshot) -> bool:
    """A superuser's login works in a slot that is kept back: users are locked out all the same."""
    slots = snapshot.postgres.connections
    return slots.max_connections > 0 and slots.used > ordinary_slots(slots)


def _answered(snapshot: Snapshot, slow: Limit) -> Finding:
    took = seconds(snapshot.postgres.login.select_one)
    status = STATUS_WARN if took > slow.value else STATUS_OK
    role, version = snapshot.postgres.login.role, snapshot.postgres.server_version
    summary = f"login and SELECT 1 in {1000 * took:.0f} ms as {role}, version {version}"
    if status == STATUS_WARN:
        summary = f"login and SELECT 1 took {age(took)} (limit {age(slow.value)})"
    measured = [metric("login_seconds", took, "seconds", slow)]
    return finding(status, snapshot.target, summary, metrics=measured, equal_command=_command(snapshot))


def _unread(snapshot: Snapshot) -> Finding:
    login = snapshot.postgres.login
    took = seconds(login.select_one)
    summary = (
        f"login and SELECT 1 in {1000 * took:.0f} ms, but the agent's queries of its sessions fail "
        f"({login.read_error_class}): {login.read_error_text}"
    )
    return finding(STATUS_WARN, snapshot.target, summary, equal_command=_command(snapshot), next_step=NEXT_UNREAD)


def _refused(snapshot: Snapshot, error_class: str) -> Finding:
    login = snapshot.postgres.login
    summary = f"PostgreSQL {MEANING.get(error_class, 'refuses the login')}: {login.error_text or 'no free slot'}"
    owners = owner_rows(snapshot.postgres.owners)
    if error_class == FULL and owners:
        first = snapshot.postgres.owners[0]
        held = sum(owner.count for owner in snapshot.postgres.owners)
        summary += f"; {first.count} of {held} are {first.user}@{first.database} from {first.client}, {first.state}"
    if login.rung == POSTGRES_RUNG_PROCESS_TITLES:
        summary += " (read from process titles: no login was to be had)"
    elif login.rung == POSTGRES_RUNG_WARM:
        summary += " (read over the agent's warm connection)"
    made = finding(
        _status(error_class),
        snapshot.target,
        summary,
        table=table(OWNER_COLUMNS, owners) if owners else None,
        excerpt=login.grants,
        equal_command=_command(snapshot),
        next_step=_next(error_class),
    )
    if error_class in OUR_LOGIN:
        made.reason = f"needs a login: {login.error_text}"
    return made


def _status(error_class: str) -> Level:
    if error_class == "standby":
        return STATUS_INFO
    # An agent that may not log in can't say that users can't.
    return STATUS_SKIPPED if error_class in OUR_LOGIN else STATUS_CRIT


def _next(error_class: str) -> str:
    if error_class == "standby":
        return ""
    if error_class == FULL:
        return NEXT_FULL
    if error_class in OUR_LOGIN:
        return NEXT_AUTH
    return NEXT_WAIT if error_class == "57P03" else NEXT_DOWN


def _command(snapshot: Snapshot) -> str:
    target = snapshot.target
    return (
        f"psql -h {shlex.quote(target.socket or target.host)} -p {target.port} -U fleetmedic -d postgres -c 'SELECT 1'"
    )
