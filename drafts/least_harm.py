"""Whom to end so that sessions of PostgreSQL no longer wait for one another, with the least harm; judgement alone.

A schema change that others queue behind goes before whoever it waits for (checks.md D6): they hinder nobody else.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from agent.rules.postgres import pg_lock_ddl_queue, pg_lock_root
from fleetmedic.v1.snapshot_pb2 import PostgresLockEdge


@dataclass(frozen=True, slots=True)
class Patience:
    """Waits shorter than this many seconds, of fewer than this many sessions, are everyday life."""

    seconds: float
    many: float

    def ends(self, waited: float, waiting: int) -> bool:
        return waited >= self.seconds or waiting >= self.many


@dataclass(frozen=True, slots=True)
class Chosen:
    """`roots` hold others up, and `changes` are schema changes that wait with others behind them."""

    roots: tuple[int, ...]
    changes: tuple[int, ...]


def chosen(edges: Sequence[PostgresLockEdge], patience: Patience) -> Chosen:
    """Changes first; roots only for those who would still wait; and no change that the roots' end lets through."""
    changes = _changes(edges, patience)
    if not going_on(changes, edges):
        changes = set()
    left = [edge for edge in edges if edge.waiting not in changes and edge.blocking not in changes]
    roots = [root.pid for root in pg_lock_root.roots(left) if patience.ends(root.longest_wait, len(root.victims))]
    stuck = changes - going_on(roots, edges)
    return Chosen(tuple(roots), tuple(sorted(stuck)))


def _changes(edges: Iterable[PostgresLockEdge], patience: Patience) -> set[int]:
    behind: dict[int, set[int]] = defaultdict(set)
    for edge in edges:
        behind[edge.blocking].add(edge.waiting)
    return {
        edge.waiting
        for edge in edges
        if edge.mode == pg_lock_ddl_queue.STRONGEST
        and edge.lock_type == "relation"
        and edge.waiting in behind
        and patience.ends(edge.waiting_seconds, len(behind[edge.waiting]))
    }


def going_on(gone: Collection[int], edges: Iterable[PostgresLockEdge]) -> Set[int]:
    """Who would wait no longer if some sessions were gone: those who wait for them alone, or for who then goes on."""
    behind: dict[int, set[int]] = defaultdict(set)
    blockers: dict[int, set[int]] = defaultdict(set)
    for edge in edges:
        behind[edge.blocking].add(edge.waiting)
        blockers[edge.waiting].add(edge.blocking)
    going, queue = set(gone), deque(gone)
    while queue:
        ended = queue.popleft()
        for waiting in behind[ended] if ended in behind else ():
            blockers[waiting].discard(ended)
            if not blockers[waiting] and waiting not in going:
                going.add(waiting)
                queue.append(waiting)
    return going - set(gone)


def freed_by(pids: Sequence[int], edges: Sequence[PostgresLockEdge]) -> Mapping[int, Set[int]]:
    """For each of them, who would wait on if it alone were left."""
    all_freed = going_on(pids, edges)
    return {pid: all_freed - going_on([other for other in pids if other != pid], edges) for pid in pids}


def held_up_by(pid: int, edges: Iterable[PostgresLockEdge]) -> Set[int]:
    """Who waits for it, and for nobody in between."""
    return {edge.waiting for edge in edges if edge.blocking == pid}
