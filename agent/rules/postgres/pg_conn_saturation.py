"""PostgreSQL has free connection slots for applications.

Counted are client backends against max_connections without the slots kept back for superusers and reserved_connections.
A server that fills up is mostly one application that leaks, or too many workers for the pool they share.
"""

from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, finding, graded, metric, skipped, table
from agent.rules.postgres import OWNER_COLUMNS, at, blindness, ordinary_slots, owner_rows, unread
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import POSTGRES_RUNG_PROCESS_TITLES, Snapshot

NEEDS = ("postgres",)
WARN = Limit("warn_share", 0.80, "ratio", "APA")
CRIT = Limit("crit_share", 0.90, "ratio", "own")
NEXT = "fleetmedic check {host} --include PG-IDLE-TXN --include PG-LOCK-ROOT --show all"

COMMAND = (
    "psql -c \"SELECT count(*), state FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY state\""
)


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("postgres"):
        postgres = snapshot.postgres
        if postgres.connections.max_connections:
            # Others' sessions are not even countable without the right to see them.
            blind = blindness(postgres)
            yield skipped(snapshot.target, blind) if blind else _counted(snapshot, limits)
        elif postgres.login.rung == POSTGRES_RUNG_PROCESS_TITLES and postgres.login.error_class == "53300":
            yield _titled(snapshot)
        else:
            yield unread(snapshot) or skipped(snapshot.target, f"needs a login: {postgres.login.error_text}")


def _counted(snapshot: Snapshot, limits: Limits) -> Finding:
    slots = snapshot.postgres.connections
    share = slots.used / max(1, ordinary_slots(slots))
    status, limit = graded(share, limits.of(WARN), limits.of(CRIT))
    idle = sum(count for state, count in slots.by_state.items() if state.startswith("idle in transaction"))
    summary = f"{slots.used}/{ordinary_slots(slots)} slots used ({share:.0%}, limit {limit.value:.0%})"
    if idle:
        summary += f", {idle} idle in transaction"
    owners = snapshot.postgres.owners
    if status != STATUS_OK and owners:
        first = owners[0]
        name = first.application or first.user
        summary += f"; most by {name} from {first.client}: {first.count} {first.state}"
    return finding(
        status,
        snapshot.target,
        summary,
        metrics=[metric("used_share", share, "ratio", limit), metric("used", slots.used, "count")],
        table=table(OWNER_COLUMNS, owner_rows(owners)),
        equal_command=at(snapshot, COMMAND),
        next_step=NEXT,
    )


def _titled(snapshot: Snapshot) -> Finding:
    owners = snapshot.postgres.owners
    first = owners[0]
    summary = (
        f"full: {snapshot.postgres.connections.used} connections by process titles; "
        f"most by {first.user}@{first.database} from {first.client}: {first.count} {first.state}"
    )
    rows = table(OWNER_COLUMNS, owner_rows(owners))
    return finding(
        STATUS_CRIT, snapshot.target, summary, table=rows, equal_command="ps -C postgres -o args", next_step=NEXT
    )
