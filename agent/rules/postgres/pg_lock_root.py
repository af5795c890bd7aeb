"""No PostgreSQL session keeps others waiting for a lock.

The root is the session that blocks and does not itself wait; its victims are all that wait for it, directly or
through others. To cancel a root that is idle in a transaction does nothing: only ending its session frees the victims
(checks.md D5). The edges come from pg_blocking_pids(), asked once; the graph is made here (D1, D2).
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.rule import Level, Limit, Limits, Seen, age, finding, graded, metric, table, worst
from agent.rules.postgres import at, session_name, unjudged
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, Finding, Table
from fleetmedic.v1.snapshot_pb2 import PostgresLockEdge, PostgresSession, Snapshot

NEEDS = ("postgres",)
WARN = Limit("warn_seconds", 5, "seconds", "own")
CRIT = Limit("crit_seconds", 30, "seconds", "own")
MANY = Limit("crit_victims", 5, "count", "own")
NEXT_IDLE = (
    "ask its owner, then end the session (to cancel it does nothing, it is idle): "
    "SELECT pg_terminate_backend({pid}), if backend_start still is the one shown"
)
NEXT_ACTIVE = "cancel its statement first: SELECT pg_cancel_backend({pid}), if backend_start still is the one shown"
NEXT_PREPARED = "a prepared transaction: SELECT * FROM pg_prepared_xacts, then COMMIT or ROLLBACK PREPARED by its owner"

COMMAND = (
    "psql -c 'SELECT pid, pg_blocking_pids(pid), * FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0'"
)
PREPARED = 0


@dataclass(frozen=True, slots=True)
class Root:
    """A session that blocks and does not wait; `depth` is the longest shortest way to a victim."""

    pid: int
    victims: tuple[int, ...]
    depth: int
    longest_wait: float
    relation: str


def roots(edges: Sequence[PostgresLockEdge]) -> list[Root]:
    """The roots of the waits, those with most victims first. A circle has none: PostgreSQL ends it in a second."""
    victims_of: Mapping[int, list[int]] = defaultdict(list)
    waits: dict[int, PostgresLockEdge] = {}
    for edge in edges:
        victims_of[edge.blocking].append(edge.waiting)
        waits[edge.waiting] = edge
    found = [_root(pid, victims_of, waits) for pid in victims_of if pid not in waits]
    return sorted(found, key=lambda root: (-len(root.victims), root.pid))


def _root(pid: int, victims_of: Mapping[int, list[int]], waits: Mapping[int, PostgresLockEdge]) -> Root:
    depths = {pid: 0}
    queue = deque([pid])
    while queue:
        blocker = queue.popleft()
        for victim in victims_of.get(blocker, ()):
            if victim not in depths:
                depths[victim] = depths[blocker] + 1
                queue.append(victim)
    victims = tuple(sorted(depths.keys() - {pid}))
    longest = max(victims, key=lambda victim: waits[victim].waiting_seconds)
    relation = next((waits[victim].relation for victim in (longest, *victims) if waits[victim].relation), "")
    return Root(pid, victims, max(depths.values()), waits[longest].waiting_seconds, relation)


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("postgres"):
        if blind := unjudged(snapshot):
            yield blind
            continue
        found = roots(snapshot.postgres.lock_edges)
        judged = [(_status(root, limits), root) for root in found]
        for status, root in judged:
            if status != STATUS_OK:
                yield _blocking(snapshot, root, status, limits)
        circle = _circle(snapshot, found, limits)
        if worst(*(status for status, _ in judged), *(item.status for item in circle)) == STATUS_OK:
            waiting = len({edge.waiting for edge in snapshot.postgres.lock_edges})
            summary = f"{waiting} sessions wait, none for long" if waiting else "no session waits for a lock"
            yield finding(STATUS_OK, snapshot.target, summary, equal_command=at(snapshot, COMMAND))
        else:
            yield from circle


def _circle(snapshot: Snapshot, found: Sequence[Root], limits: Limits) -> list[Finding]:
    """Of waits that no root explains; they last only where deadlock_timeout is long."""
    victims = {victim for root in found for victim in root.victims}
    waits = {edge.waiting: edge.waiting_seconds for edge in snapshot.postgres.lock_edges if edge.waiting not in victims}
    longest = max(waits.values(), default=0.0)
    status, limit = graded(longest, limits.of(WARN), limits.of(CRIT))
    if status == STATUS_OK:
        return []
    summary = f"{len(waits)} sessions wait in a circle, the longest {age(longest)} (limit {age(limit.value)})"
    measured = [metric("longest_wait_seconds", longest, "seconds", limit)]
    name = f"{snapshot.target.name} circle"
    step = "SHOW deadlock_timeout: PostgreSQL ends one of them when it is over"
    return [
        finding(
            status,
            snapshot.target,
            summary,
            name=name,
            metrics=measured,
            equal_command=at(snapshot, COMMAND),
            next_step=step,
        )
    ]


def _status(root: Root, limits: Limits) -> Level:
    status, _ = graded(root.longest_wait, limits.of(WARN), limits.of(CRIT))
    return STATUS_CRIT if len(root.victims) >= limits.of(MANY).value else status


def _blocking(snapshot: Snapshot, root: Root, status: Level, limits: Limits) -> Finding:
    sessions = {session.pid: session for session in snapshot.postgres.sessions}
    session = sessions.get(root.pid)
    name = "a prepared transaction" if root.pid == PREPARED else f"session {root.pid}"
    on = f" on {root.relation}" if root.relation else ""
    count = f"{len(root.victims)} session{'s' if len(root.victims) != 1 else ''}"
    summary = (
        f"{session_name(session) if session else name} blocks {count}{on} (limit {limits.of(MANY).value:.0f}), "
        f"the longest wait {age(root.longest_wait)} (limit {age(limits.of(WARN).value)})"
    )
    if session:
        summary += f"; its last statement was: {session.query[:120]}"
    return finding(
        status,
        snapshot.target,
        summary,
        name=f"{snapshot.target.name} pid {root.pid}",
        metrics=[
            metric("longest_wait_seconds", root.longest_wait, "seconds", limits.of(WARN)),
            metric("victims", len(root.victims), "count", limits.of(MANY)),
            metric("depth", root.depth, "count"),
        ],
        table=_table(root, sessions, snapshot.postgres.lock_edges),
        equal_command=at(snapshot, COMMAND),
        next_step=_next(root, session),
    )


def _next(root: Root, session: PostgresSession | None) -> str:
    if root.pid == PREPARED:
        return NEXT_PREPARED
    step = NEXT_ACTIVE if session is not None and session.state == "active" else NEXT_IDLE
    return step.replace("{pid}", str(root.pid))


def _table(root: Root, sessions: Mapping[int, PostgresSession], edges: Sequence[PostgresLockEdge]) -> Table:
    waits = {edge.waiting: edge for edge in edges}
    rows = [_row(root.pid, "root", sessions, waits)] + [_row(pid, "victim", sessions, waits) for pid in root.victims]
    columns = ("pid", "part", "backend_start", "user", "application", "state", "waits for", "waiting", "statement")
    return table(columns, rows)


def _row(
    pid: int, part: str, sessions: Mapping[int, PostgresSession], waits: Mapping[int, PostgresLockEdge]
) -> tuple[str, ...]:
    session = sessions.get(pid, PostgresSession())
    edge = waits.get(pid)
    started = session.backend_start.ToJsonString() if session.HasField("backend_start") else ""
    lock = f"{edge.lock_type} {edge.mode}" if edge else ""
    waiting = age(edge.waiting_seconds) if edge else ""
    return str(pid), part, started, session.user, session.application, session.state, lock, waiting, session.query[:120]
