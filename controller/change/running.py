"""Carries plans out batch by batch: look, apply, let settle, look again, and go on only while that ends well."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from signal import Signals
from typing import Protocol

from controller.calling import Bounds
from controller.change import applying, budget, judging, verifying
from controller.change.applying import Applied, Order
from controller.change.batches import Batch
from controller.change.budget import Limit
from controller.change.hearing import Hearing, Left
from controller.change.judging import Cure, Verdict
from controller.change.verifying import Looks
from controller.endings import State
from controller.fan_out import LEFT, NOT_ASKED, Interrupted
from controller.inventory import connection
from controller.inventory.graph import Host
from controller.transport.mtls import Identity
from fleetmedic.v1.action_pb2 import Operation, Plan
from fleetmedic.v1.finding_pb2 import Finding

# An agent says how long its cure takes to show; it does not hold us for longer.
LONGEST_SETTLE = 300.0


@dataclass(frozen=True, slots=True)
class Item:
    """One host that is to be changed."""

    host: Host
    plan: Plan
    operation_id: str


@dataclass(frozen=True, slots=True)
class Result:
    """How it ended on one host; without an operation's id nothing was kept of it. `sent`: it may have been changed."""

    host: str
    state: State
    said: str
    operation_id: str = ""
    operation: Operation | None = None
    verdict: Verdict | None = None
    before: Sequence[Finding] | None = None
    refused: bool = False
    sent: bool = False


class Journal(Protocol):
    """What is kept of a change while it goes on."""

    def intend(self, items: Sequence[Item]) -> str:
        """Before any of them is asked; why it can't be kept, and then nobody is."""

    def ended(self, results: Sequence[Result]) -> None: ...


class Audience(Protocol):
    """Whoever looks on."""

    def batch(self, number: int, of: int, batch: Batch) -> None: ...

    def step(self, host: str, text: str) -> None: ...

    def settling(self, seconds: float) -> None: ...

    def ended(self, results: Sequence[Result]) -> None: ...


@dataclass(frozen=True, slots=True)
class How:
    """The whole of one change. `ended` are the hosts that ended before it began, and count."""

    identity: Identity
    bounds: Bounds
    reason: str
    batches: Sequence[Batch]
    limit: Limit
    ended: Sequence[State]
    interrupted: Interrupted
    journal: Journal
    audience: Audience


@dataclass(frozen=True, slots=True)
class Course:
    """`stopped` says why hosts were left as they are, where they were."""

    results: Sequence[Result]
    stopped: str
    signal: Signals | None


async def carry_out(items: Mapping[str, Item], how: How) -> Course:
    """Exactly one result for each item, in the order of the batches."""
    made: list[Result] = []
    hearing = Hearing(how.interrupted)
    selected = len(items) + len(how.ended)
    stopped = budget.stops(how.limit, selected, how.ended)
    for number, batch in enumerate(how.batches, 1):
        chosen = [items[name] for name in batch.hosts]
        if hearing.signal is not None:
            made += [Result(name, State.CANCELLED, NOT_ASKED) for name in batch.hosts]
            continue
        if not stopped:
            stopped = how.journal.intend(chosen)
        if stopped:
            made += [Result(name, State.NOT_ATTEMPTED, f"stopped: {stopped}") for name in batch.hosts]
            continue
        how.audience.batch(number, len(how.batches), batch)
        done = await _batch(chosen, how, hearing)
        made += done
        how.journal.ended(done)
        how.audience.ended(done)
        run = (*how.ended, *(item.state for item in made))
        stopped = budget.stops(how.limit, selected, run, (item.state for item in done), canary=batch.canary)
    left = any(item.state == State.NOT_ATTEMPTED for item in made)
    return Course(made, stopped if left else "", hearing.signal)


async def _batch(items: Sequence[Item], how: How, hearing: Hearing) -> list[Result]:
    looks: Looks = {}
    try:
        looks = await hearing.unless_left(_look(items, how), 0)
    except Left:
        looks = {}
    if hearing.signal is not None:
        return [Result(item.host.name, State.CANCELLED, NOT_ASKED, item.operation_id) for item in items]
    applied = await _apply(items, how, hearing)
    changed = [item for item in items if applied[item.host.name].state == State.CHANGED]
    verdicts = await _verdicts(changed, looks, how, hearing)
    return [_result(item, applied[item.host.name], verdicts.get(item.host.name), looks) for item in items]


async def _look(items: Sequence[Item], how: How) -> Looks:
    rules = {item.host.name: item.plan.verified_by for item in items}
    return await verifying.look(rules, {item.host.name: item.host for item in items}, how.identity, how.bounds)


async def _apply(items: Sequence[Item], how: How, hearing: Hearing) -> Mapping[str, Applied]:
    orders = {
        connection.endpoint(item.host): Order(item.operation_id, item.plan.plan_id, item.plan.digest, how.reason)
        for item in items
    }
    made: dict[str, Applied] = {}
    async for ended in applying.apply(orders, how.identity, how.bounds, hearing.asking, how.audience.step):
        made[ended.host] = ended
        if hearing.signal is not None and LEFT in ended.said:
            hearing.leave()
    return made


async def _verdicts(changed: Sequence[Item], looks: Looks, how: How, hearing: Hearing) -> Mapping[str, Verdict]:
    """Of the hosts that say they were changed."""
    judged = [item for item in changed if item.plan.verified_by]
    made = {item.host.name: Verdict(Cure.NO_RULE) for item in changed if not item.plan.verified_by}
    if not judged:
        return made
    settle = max(_settle(item.plan) for item in judged)
    left = Verdict(Cure.NOT_VERIFIED, why="interrupted before it was looked at again")
    if hearing.left:
        return {**made, **{item.host.name: left for item in judged}}
    how.audience.settling(settle)
    try:
        await hearing.unless_left(asyncio.sleep(settle), len(judged))
        after = await hearing.unless_left(_look(judged, how), len(judged))
    except Left:
        return {**made, **{item.host.name: left for item in judged}}
    for item in judged:
        name = item.host.name
        made[name] = judging.judge(item.plan.verified_by, item.plan.subject, looks.get(name), after.get(name))
    return made


def _settle(plan: Plan) -> float:
    # By hand: a hostile agent's duration may be none, and the converters raise.
    return min(max(plan.settle.seconds + plan.settle.nanos / 1e9, 0.0), LONGEST_SETTLE)


def _result(item: Item, applied: Applied, verdict: Verdict | None, looks: Looks) -> Result:
    name = item.host.name
    made = Result(
        name,
        applied.state,
        applied.said,
        item.operation_id,
        applied.operation,
        verdict,
        looks.get(name),
        applied.refused,
        applied.sent,
    )
    if verdict is None or verdict.passed:
        return made
    why = f": {verdict.why}" if verdict.why else ""
    return replace(made, state=State.GATE_FAILED, said=f"{applied.said}; {verdict.cure}{why}")
