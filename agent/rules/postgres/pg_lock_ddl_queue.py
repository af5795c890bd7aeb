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
    """A schema change that waits: `holders` are those it waits for, `freed` those who only wait for it.

    With `others` all of them are in the way: more changes of the same relation, which wait too.
    """

    head: int
    relation: str
    seconds: float
    holders: tuple[int, ...]
    freed: tuple[int, ...]
    others: tuple[int, ...] = ()


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
    """Heads of queues whose cancelling would free somebody, most freed first.

    Where no change alone frees anybody, all that wait for one relation may together: then the first is the head.
    """
    blockers: dict[int, set[int]] = defaultdict(set)
    waits: dict[int, PostgresLockEdge] = {}
    for edge in edges:
        blockers[edge.waiting].add(edge.blocking)
        waits[edge.waiting] = edge
    changes: dict[str, list[int]] = defaultdict(list)
    for pid, wait in waits.items():
        if wait.mode == STRONGEST and wait.lock_type == "relation":
            changes[wait.relation].append(pid)
    found: list[Queue] = []
    for pids in changes.values():
        pids.sort(key=lambda pid: (-waits[pid].waiting_seconds, pid))
        alone = [queue for pid in pids if (queue := _queue((pid,), waits, blockers)).freed]
        together = _queue(tuple(pids), waits, blockers)
        found += alone or ([together] if together.freed else [])
    return sorted(found, key=lambda queue: (-len(queue.freed), queue.head))


def _queue(changes: tuple[int, ...], waits: Mapping[int, PostgresLockEdge], blockers: Mapping[int, Set[int]]) -> Queue:
    head, *others = changes
    holders = tuple(sorted(blockers[head] - set(changes)))
    wait = waits[head]
    return Queue(head, wait.relation, wait.waiting_seconds, holders, _freed(changes, blockers), tuple(others))


def _freed(changes: tuple[int, ...], blockers: Mapping[int, Set[int]]) -> tuple[int, ...]:
    """Who would go on if these were gone: all that wait for them, or for one who then goes on, and for nobody else."""
    going = set(changes)
    while more := {pid for pid, by in blockers.items() if pid not in going and by <= going}:
        going |= more
    return tuple(sorted(going - set(changes)))


def _queued(snapshot: Snapshot, queue: Queue) -> Finding:
    sessions = {session.pid: session for session in snapshot.postgres.sessions}
    head = sessions.get(queue.head)
    who = session_name(head) if head else f"session {queue.head}"
    what = f": {head.query[:120]}" if head else ""
    behind = f"{len(queue.freed)} session{'s' if len(queue.freed) != 1 else ''}"
    summary = (
        f"{who} waits for {age(queue.seconds)} to change {queue.relation or 'a table'}, held by "
        f"{', '.join(map(str, queue.holders[:5]))}, and {behind} queue behind it{_with(queue)}{what}"
    )
    rows = [
        (str(pid), part, known.user, known.application, known.state, known.query[:120])
        for part, pids in (("holds", queue.holders), ("changes", (queue.head, *queue.others)), ("queued", queue.freed))
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
        next_step=NEXT.replace("{pid}", str(queue.head)) + (_then(queue) if queue.others else ""),
    )


def _with(queue: Queue) -> str:
    return f" and {len(queue.others)} more of its kind" if queue.others else ""


def _then(queue: Queue) -> str:
    return f"; and so each of the others, who are in the way as well: {', '.join(map(str, queue.others))}"
