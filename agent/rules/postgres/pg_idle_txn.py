"""No PostgreSQL session sits idle inside a transaction.

It keeps its row and table locks and holds vacuum back; mostly a missing commit, or an application that hangs between
two statements. A reader without a transaction id counts as well: its lock on the table still stops an ALTER (checks.md
D7).
"""

from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, age, finding, graded, metric, table
from agent.rules.postgres import at, session_name, unjudged
from fleetmedic.v1.finding_pb2 import Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("postgres",)
WARN = Limit("warn_seconds", 60, "seconds", "own")
CRIT = Limit("crit_seconds", 300, "seconds", "own")
NEXT = "fleetmedic check {host} --include PG-LOCK-ROOT --show all"

COMMAND = "psql -c \"SELECT * FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' ORDER BY state_change\""


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("postgres"):
        yield unjudged(snapshot) or _judged(snapshot, limits)


def _judged(snapshot: Snapshot, limits: Limits) -> Finding:
    idle = [item for item in snapshot.postgres.sessions if item.state.startswith("idle in transaction")]
    idle.sort(key=lambda session: -session.state_seconds)
    oldest = idle[0].state_seconds if idle else 0.0
    status, limit = graded(oldest, limits.of(WARN), limits.of(CRIT))
    if not idle:
        summary = "no session is idle in a transaction"
    else:
        summary = (
            f"{len(idle)} idle in transaction, the longest {session_name(idle[0])} (limit {age(limit.value)}); "
            f"its last statement was: {idle[0].query[:120]}"
        )
    rows = [
        (
            str(item.pid),
            item.user,
            item.database,
            item.application,
            item.client,
            age(item.state_seconds),
            item.query[:200],
        )
        for item in idle
    ]
    return finding(
        status,
        snapshot.target,
        summary,
        metrics=[metric("oldest_seconds", oldest, "seconds", limit), metric("sessions", len(idle), "count")],
        table=table(("pid", "user", "database", "application", "client", "idle for", "last statement"), rows),
        equal_command=at(snapshot, COMMAND),
        next_step=NEXT,
    )
