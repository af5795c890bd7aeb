"""Plans and what became of them, each change with its event."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from controller.store import events, ids
from controller.store.events import Event
from fleetmedic.v1.action_pb2 import Plan
from fleetmedic.v1.agent_pb2 import CheckResponse

RUNNING = "running"
# More than a plan's: operations of many hosts have one each, on agents that hear of others' desks too.
OPERATION_SIGNS = 8


@dataclass(frozen=True, slots=True)
class HostPlan:
    """What one host said when it was asked; without a plan `cause` says why there is none."""

    host: str
    state: str
    cause: str
    plan: Plan | None


@dataclass(frozen=True, slots=True)
class KeptPlan:
    """One command's plans over its hosts, in their order."""

    name: str
    action: str
    pattern: str
    inventory: str
    actor: str
    reason: str
    made_at: float
    hosts: tuple[HostPlan, ...]
    applied_at: float | None = None


@dataclass(frozen=True, slots=True)
class KeptOperation:
    """`state` is how the host ended, or running. `looked` is what its rules said before."""

    operation_id: str
    plan: str
    host: str
    state: str
    result: str
    verdict: str
    undoable: bool
    actor: str
    reason: str
    began_at: float
    ended_at: float | None
    looked: CheckResponse | None


@dataclass(frozen=True, slots=True)
class End:
    """How an operation ended, as far as it is known here."""

    operation_id: str
    host: str
    state: str
    result: str
    verdict: str
    undoable: bool
    looked: CheckResponse | None = None


def new_name(base: sqlite3.Connection, choose: Callable[[Sequence[str]], str]) -> str:
    """P-94QZ: no plan has it yet."""
    free = ids.free(base, "SELECT 1 FROM plans WHERE name = 'P-' || ?", choose)
    return f"P-{free}"


def new_operation(choose: Callable[[Sequence[str]], str]) -> str:
    return f"O-{''.join(choose(ids.ALPHABET) for _ in range(OPERATION_SIGNS))}"


def add(base: sqlite3.Connection, kept: KeptPlan, now: float) -> None:
    """The plan and its event, in one transaction."""
    with base:
        base.execute("BEGIN IMMEDIATE")
        base.execute(
            "INSERT INTO plans VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
            (kept.name, kept.action, kept.pattern, kept.inventory, kept.actor, kept.reason, kept.made_at),
        )
        base.executemany(
            "INSERT INTO planned VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [_row(kept.name, place, item) for place, item in enumerate(kept.hosts)],
        )
        changes = [item.host for item in kept.hosts if item.plan is not None and item.plan.effects]
        text = f"plan {kept.name}: {kept.action} on {len(changes)} of {len(kept.hosts)} hosts"
        data = {"plan": kept.name, "action": kept.action, "pattern": kept.pattern, "hosts": changes}
        events.append(base, Event(kept.made_at, "plan", kept.actor, "controller", text, data), now)


def _row(name: str, place: int, item: HostPlan) -> tuple[object, ...]:
    made = item.plan or Plan()
    expires = made.expire_time.seconds + made.expire_time.nanos / 1e9
    answer = None if item.plan is None else made.SerializeToString()
    return name, place, item.host, item.state, item.cause, made.plan_id, made.digest, expires, answer


def load(base: sqlite3.Connection, name: str) -> KeptPlan | None:
    row = base.execute(
        "SELECT name, action, pattern, inventory, actor, reason, made_at, applied_at FROM plans WHERE name = ?",
        (name.upper(),),
    ).fetchone()
    if row is None:
        return None
    hosts = base.execute("SELECT host, state, cause, answer FROM planned WHERE plan = ? ORDER BY place", (row[0],))
    made = tuple(
        HostPlan(host, state, cause, None if answer is None else Plan.FromString(answer))
        for host, state, cause, answer in hosts
    )
    named, action, pattern, inventory, actor, reason, made_at, applied_at = row
    return KeptPlan(named, action, pattern, inventory, actor, reason, made_at, made, applied_at)


def names(base: sqlite3.Connection) -> list[str]:
    return [row[0] for row in base.execute("SELECT name FROM plans ORDER BY made_at DESC LIMIT 100")]


def claim(base: sqlite3.Connection, name: str, actor: str, now: float) -> bool:
    """Whether this is the first that applies the plan; its event where it is."""
    with base:
        base.execute("BEGIN IMMEDIATE")
        done = base.execute("UPDATE plans SET applied_at = ? WHERE name = ? AND applied_at IS NULL", (now, name))
        if done.rowcount:
            event = Event(now, "apply", actor, "controller", f"plan {name} is applied", {"plan": name})
            events.append(base, event, now)
        return bool(done.rowcount)


def begin(
    base: sqlite3.Connection, plan: str, hosts: Sequence[tuple[str, str]], actor: str, reason: str, now: float
) -> None:
    """`hosts` are operation ids with their hosts, none of which has been asked yet."""
    with base:
        base.execute("BEGIN IMMEDIATE")
        base.executemany(
            "INSERT INTO operations VALUES (?, ?, ?, ?, '', '', 0, ?, ?, ?, NULL, NULL)",
            [(operation, plan, host, RUNNING, actor, reason, now) for operation, host in hosts],
        )
        text = f"plan {plan} is applied to {' '.join(host for _, host in hosts)}"
        data = {"plan": plan, "operations": {host: operation for operation, host in hosts}, "reason": reason}
        events.append(base, Event(now, "operation-begin", actor, "controller", text, data), now)


def end(base: sqlite3.Connection, plan: str, ended: Sequence[End], actor: str, now: float) -> None:
    """Each with its event; a verdict has one of its own."""
    with base:
        base.execute("BEGIN IMMEDIATE")
        for item in ended:
            looked = None if item.looked is None else item.looked.SerializeToString()
            base.execute(
                "UPDATE operations SET state = ?, result = ?, verdict = ?, undoable = ?, ended_at = ?,"
                " looked = coalesce(?, looked) WHERE operation_id = ? AND host = ?",
                (item.state, item.result, item.verdict, item.undoable, now, looked, item.operation_id, item.host),
            )
            data = {"plan": plan, "operation": item.operation_id, "host": item.host, "state": item.state}
            text = f"{item.operation_id} on {item.host}: {item.state}: {item.result}"
            events.append(base, Event(now, "operation-end", actor, "controller", text, data), now)
            if item.verdict:
                said = f"{item.operation_id} on {item.host}: {item.verdict}"
                made = Event(now, "verdict", actor, "controller", said, {**data, "verdict": item.verdict})
                events.append(base, made, now)


def operations(base: sqlite3.Connection, name: str) -> list[KeptOperation]:
    """The one of that id, or all of the plan of that name."""
    rows = base.execute(
        "SELECT operation_id, plan, host, state, result, verdict, undoable, actor, reason, began_at, ended_at, looked"
        " FROM operations WHERE operation_id = ? OR plan = ? ORDER BY began_at, host",
        (name.upper(), name.upper()),
    )
    return [_operation(*row) for row in rows]


def _operation(
    operation_id: str,
    plan: str,
    host: str,
    state: str,
    result: str,
    verdict: str,
    undoable: int,
    actor: str,
    reason: str,
    began_at: float,
    ended_at: float | None,
    looked: bytes | None,
) -> KeptOperation:
    before = None if looked is None else CheckResponse.FromString(looked)
    return KeptOperation(
        operation_id, plan, host, state, result, verdict, bool(undoable), actor, reason, began_at, ended_at, before
    )
