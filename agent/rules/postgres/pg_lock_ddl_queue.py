"""No schema change waits for a lock with other sessions queued behind it.

An ALTER that waits for a reader makes everybody after it wait as well, though they would not hinder the reader. The
least harm is to cancel the ALTER, not the sessions it waits for: whoever queues behind it goes on at once (checks.md
D6).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from agent.rule import Limits, Seen, age, finding, metric, table
from agent.rules.postgres import at, session_name, unjudged
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import PostgresLockEdge, Snapshot

NEEDS = ("postgres",)
NEXT = (
    "cancel the schema change, which frees all that queue behind it: SELECT pg_cancel_backend({pid}), if backend_start "
    "still is the one shown; run it again with lock_timeout set"
)

COMMAND = (
    "psql -c \"SELECT pid, relation::regclass, mode, granted FROM pg_locks WHERE locktype = 'relation' "
    'ORDER BY relation, granted DESC"'
)
STRONGEST = "AccessExclusiveLock"


@dataclass(frozen=True, slots=True)
class Queue:
    """A schema change that waits: `holders` are those it waits for, `freed` those who only wait for it."""

    head: int
    relation: str
    seconds: float
    holders: tuple[int, ...]
    freed: tuple[int, ...]


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    for snapshot in seen.of("postgres"):
        if blind := unjudged(snapshot):
            yield blind
            continue
        found = queues(snapshot.postgres.lock_edges)
        yield from (_queued(snapshot, queue) for queue in found)
        if not found:
            yield finding(
                STATUS_OK,
                snapshot.target,
                "no schema change has a queue behind it",
                equal_command=at(snapshot, COMMAND),
            )


def queues(edges: Sequence[PostgresLockEdge]) -> list[Queue]:
    """Heads of queues whose cancelling would free somebody, most freed first."""
    blockers: dict[int, set[int]] = defaultdict(set)
    waits: dict[int, PostgresLockEdge] = {}
    for edge in edges:
        blockers[edge.waiting].add(edge.blocking)
        waits[edge.waiting] = edge
    found = [
        Queue(pid, wait.relation, wait.waiting_seconds, tuple(sorted(blockers[pid])), freed)
        for pid, wait in waits.items()
        if wait.mode == STRONGEST and wait.lock_type == "relation" and (freed := _freed(pid, blockers))
    ]
    return sorted(found, key=lambda queue: (-len(queue.freed), queue.head))


def _freed(head: int, blockers: Mapping[int, Set[int]]) -> tuple[int, ...]:
    """Who would go on if the head were gone: all that wait for it, or for one who then goes on, and for nobody else."""
    going = {head}
    while more := {pid for pid, by in blockers.items() if pid not in going and by <= going}:
        going |= more
    return tuple(sorted(going - {head}))


def _queued(snapshot: Snapshot, queue: Queue) -> Finding:
    sessions = {session.pid: session for session in snapshot.postgres.sessions}
    head = sessions.get(queue.head)
    who = session_name(head) if head else f"session {queue.head}"
    what = f": {head.query[:120]}" if head else ""
    behind = f"{len(queue.freed)} session{'s' if len(queue.freed) != 1 else ''}"
    summary = (
        f"{who} waits for {age(queue.seconds)} to change {queue.relation or 'a table'}, held by "
        f"{', '.join(map(str, queue.holders[:5]))}, and {behind} queue behind it{what}"
    )
    rows = [
        (str(pid), part, known.user, known.application, known.state, known.query[:120])
        for part, pids in (("holds", queue.holders), ("changes", (queue.head,)), ("queued", queue.freed))
        for pid in pids
        if (known := sessions.get(pid))
    ]
    return finding(
        STATUS_CRIT,
        snapshot.target,
        summary,
        name=f"{snapshot.target.name} pid {queue.head}",
        metrics=[metric("queued", len(queue.freed), "count"), metric("waiting_seconds", queue.seconds, "seconds")],
        table=table(("pid", "part", "user", "application", "state", "statement"), rows),
        equal_command=at(snapshot, COMMAND),
        next_step=NEXT.replace("{pid}", str(queue.head)),
    )
