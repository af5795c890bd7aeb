"""No PostgreSQL statement runs for longer than a minute.

A bad plan, a missing index, or a report at the wrong hour. What a backup or maintenance does takes its time, and is
told without alarm. Statements over 30 seconds, which the runbook lists, are in the table.
"""

from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, age, finding, graded, metric, table
from agent.rules.postgres import ACTIVE_COLUMNS, active_row, at, is_upkeep, session_name, unjudged
from fleetmedic.v1.finding_pb2 import STATUS_INFO, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import PostgresSession, Snapshot

NEEDS = ("postgres",)
LISTED = Limit("list_seconds", 30, "seconds", "procedure")
WARN = Limit("warn_seconds", 60, "seconds", "PH")
CRIT = Limit("crit_seconds", 300, "seconds", "own")
NEXT = (
    "if nobody needs it, cancel the statement, which keeps the session: SELECT pg_cancel_backend({pid}), "
    "if backend_start still is the one shown"
)

NEXT_WAITS = "it waits for a lock, and to cancel it frees nobody: see PG-LOCK-ROOT for who holds it"

COMMAND = (
    "psql -c \"SELECT pid, now() - query_start AS duration, query FROM pg_stat_activity WHERE state = 'active' "
    "AND backend_type = 'client backend' ORDER BY query_start\""
)


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("postgres"):
        yield unjudged(snapshot) or _judged(snapshot, limits)


def _judged(snapshot: Snapshot, limits: Limits) -> Finding:
    listed = limits.of(LISTED)
    running = [
        item
        for item in snapshot.postgres.sessions
        if item.state == "active" and item.query_seconds >= min(listed.value, limits.of(WARN).value)
    ]
    running.sort(key=lambda session: -session.query_seconds)
    counted = [item for item in running if not is_upkeep(item)]
    first = next(iter(counted or running), None)
    longest = counted[0].query_seconds if counted else 0.0
    status, limit = graded(longest, limits.of(WARN), limits.of(CRIT))
    if first is None:
        summary = f"no statement runs for longer than {age(listed.value)}"
    else:
        status = STATUS_INFO if status == STATUS_OK else status
        summary = (
            f"{len(running)} over {age(listed.value)}, the longest {age(first.query_seconds)} "
            f"(limit {age(limit.value)}) by {session_name(first)}: {first.query[:120]}"
        )
    return finding(
        status,
        snapshot.target,
        summary,
        metrics=[metric("longest_seconds", longest, "seconds", limit), metric("statements", len(running), "count")],
        table=table(ACTIVE_COLUMNS, [active_row(item, item.query_seconds) for item in running]),
        equal_command=at(snapshot, COMMAND),
        next_step=_next(first) if counted and first else "",
    )


def _next(session: PostgresSession) -> str:
    return NEXT_WAITS if session.wait_event.startswith("Lock/") else NEXT.replace("{pid}", str(session.pid))
