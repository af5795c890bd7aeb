"""What is looked at of a host, in its order, and what is found of each step."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from controller import exit_codes


class Step(StrEnum):
    """In the order in which they are looked at; each needs those before it."""

    NAME = "name"
    ROUTE = "route"
    PORT = "port"
    TLS = "tls"
    IDENTITY = "identity"
    # Only ever a fault: the agent lets us in, and then gives no answer.
    ANSWER = "answer"
    ROLE = "role"
    VERSION = "version"
    CLOCK = "clock"


# Up to here a host gave us no answer; from here on it did, and something of it is not as it should be.
UNANSWERED = (Step.NAME, Step.ROUTE, Step.PORT, Step.TLS, Step.IDENTITY, Step.ANSWER)


@dataclass(frozen=True, slots=True)
class Passed:
    """A step that is well, with its evidence in one line."""

    step: Step
    evidence: str


@dataclass(frozen=True, slots=True)
class Fault:
    """The one step that is wrong: its evidence in one line, and the mend, in which {host} stands for the name."""

    step: Step
    evidence: str
    mend: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A host, step by step; without a fault it is well. `skipped` says why it was not looked at.

    `notes` are what an agent that answers says of itself, and should not have to.
    """

    host: str
    passed: tuple[Passed, ...] = ()
    fault: Fault | None = None
    notes: tuple[str, ...] = ()
    skipped: str = ""


def code(items: Iterable[Diagnosis]) -> int:
    """The exit code: 4 for hosts without an answer, 2 where something of an answer is not as it should be."""
    made = 0
    for item in items:
        if item.fault is not None and item.fault.step in UNANSWERED:
            made |= exit_codes.UNREACHABLE
        elif item.fault is not None or item.notes:
            made |= exit_codes.FAILED
    return made
