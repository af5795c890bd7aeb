"""No PostgreSQL transaction is open for longer than two minutes.

It keeps its locks, and keeps vacuum from cleaning up what died since it began. A backup's or maintenance's is told
without alarm.
"""

from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, age, finding, graded, metric, table
from agent.rules.postgres import ACTIVE_COLUMNS, active_row, at, is_upkeep, session_name, unjudged
from fleetmedic.v1.finding_pb2 import STATUS_INFO, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("postgres",)
WARN = Limit("warn_seconds", 120, "seconds", "APA")
CRIT = Limit("crit_seconds", 3600, "seconds", "own")
NEXT = (
    "ask its owner what it waits for, and look at whom it holds up: fleetmedic check {host} --include 'PG-*' --show all"
)

COMMAND = (
    'psql -c "SELECT pid, now() - xact_start AS open_for, state, query FROM pg_stat_activity '
    'WHERE xact_start IS NOT NULL ORDER BY xact_start"'
)


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("postgres"):
        yield unjudged(snapshot) or _judged(snapshot, limits)


def _judged(snapshot: Snapshot, limits: Limits) -> Finding:
    warn = limits.of(WARN)
    long = [item for item in snapshot.postgres.sessions if item.transaction_seconds >= warn.value]
    long.sort(key=lambda session: -session.transaction_seconds)
    counted = [item for item in long if not is_upkeep(item)]
    first = next(iter(counted or long), None)
    oldest = counted[0].transaction_seconds if counted else 0.0
    status, limit = graded(oldest, warn, limits.of(CRIT))
    if first is None:
        summary = f"no transaction is open for longer than {age(warn.value)}"
    else:
        status = STATUS_INFO if status == STATUS_OK else status
        summary = (
            f"{len(long)} open for over {age(warn.value)}, the oldest for {age(first.transaction_seconds)} by "
            f"{session_name(first)} (limit {age(limit.value)}); its last statement was: {first.query[:120]}"
        )
    return finding(
        status,
        snapshot.target,
        summary,
        metrics=[metric("oldest_seconds", oldest, "seconds", limit), metric("transactions", len(long), "count")],
        table=table(ACTIVE_COLUMNS, [active_row(item, item.transaction_seconds) for item in long]),
        equal_command=at(snapshot, COMMAND),
        next_step=NEXT,
    )
