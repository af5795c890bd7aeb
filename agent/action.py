"""What an action is written with: its plan, the hand that acts, tells and keeps, and what may go wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from google.protobuf.message import Message

from agent.check import Medic, Moment
from agent.refusing import Refused
from fleetmedic.v1.action_pb2 import Action, Amount, Effect, Operation, Plan, Risk
from fleetmedic.v1.local_pb2 import REFUSAL_KIND_FAILED_PRECONDITION, REFUSAL_KIND_NOT_FOUND, REFUSAL_KIND_NOT_PERMITTED

# A share that counts may move by between plan and apply.
TOLERANCE = 0.2


class Failed(Exception):
    """An operation came to nothing, or to less than was planned; the message says what was done and what was not."""


@dataclass(frozen=True, slots=True)
class Hand:
    """What a running operation acts with.

    `step` tells whoever watches; `keep` stores evidence under a name, synced; `at` is a moment that tests stop at.
    """

    step: Callable[[str], None]
    keep: Callable[[str, bytes], None]
    at: Moment


@dataclass(frozen=True, slots=True)
class Treatment:
    """One action: a file of agent/actions.

    `plan` observes and says what would be done (Refused where it may not be); without effects there is nothing to do.
    `apply` does it and says what was done. `happened` looks, after an operation was ended from outside, for what came
    of it. `undo` gives the action that undoes a finished one; None where nothing can.
    """

    name: str
    arm: str
    title: str
    risk: "Risk.ValueType"
    # The rules whose finding it cures, and for how many seconds they must then be well.
    cures: tuple[str, ...]
    settle: float
    plan: Callable[[Message, Medic], Plan]
    apply: Callable[[Plan, Hand, Medic], str]
    happened: Callable[[Plan, Medic], str]
    undo: Callable[[Operation], Action | None]
    # What may be asked for; the others undo, and are made here alone.
    askable: bool


def not_now(reason: str) -> Refused:
    return Refused(REFUSAL_KIND_FAILED_PRECONDITION, reason)


def not_allowed(reason: str) -> Refused:
    """By agent.toml, or by what the action never does."""
    return Refused(REFUSAL_KIND_NOT_PERMITTED, reason)


def not_here(reason: str) -> Refused:
    return Refused(REFUSAL_KIND_NOT_FOUND, reason)


def moved(before: Plan, now: Plan) -> str:
    """How the host differs from what was planned, for people; "" where it does not, or within the tolerances."""
    planned, there = _identities(before), _identities(now)
    for identity in [*planned, *there]:
        if identity not in there:
            return f"{planned[identity]} is not there any more, or is another one"
        if identity not in planned:
            return f"{there[identity]} was not in the plan"
    amounts = {amount.name: amount.value for amount in now.amounts}
    for amount in before.amounts:
        value = amounts.get(amount.name, 0.0)
        if abs(value - amount.value) > amount.tolerance * amount.value:
            allowed = f"more than {amount.tolerance:.0%}" if amount.tolerance else "at all"
            return f"{amount.name} moved from {_number(amount)} to {_number(amount, value)}, and may not move {allowed}"
    return ""


def _identities(plan: Plan) -> Mapping[tuple[str, str, str], str]:
    return {(item.kind, item.identity, item.does): f"{item.kind} {item.name}" for item in plan.effects}


def _number(amount: Amount, value: float | None = None) -> str:
    return f"{amount.value if value is None else value:,.0f} {amount.unit}"


def effect(kind: str, name: str, identity: str, does: str) -> Effect:
    return Effect(kind=kind, name=name, identity=identity, does=does)


def amount(name: str, value: float, unit: str, tolerance: float = TOLERANCE) -> Amount:
    return Amount(name=name, value=value, unit=unit, tolerance=tolerance)
