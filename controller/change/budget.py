"""How many hosts may end badly before nobody else is touched."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from controller.endings import BAD, State

PART = re.compile(r"([0-9]{1,6})(%?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Limit:
    """So many hosts, or per cent of all that are selected."""

    number: int = 0
    percent: bool = False

    def of(self, selected: int) -> int:
        return selected * self.number // 100 if self.percent else self.number


def parse(text: str) -> Limit:
    """ValueError says what is wrong."""
    found = PART.fullmatch(text)
    if found is None or (found[2] and int(found[1]) > 100):
        raise ValueError(f"{text!r} is neither a number of hosts nor a share of them, such as 2 or 10%")
    return Limit(int(found[1]), bool(found[2]))


def stops(
    limit: Limit, selected: int, run: Iterable[State], batch: Iterable[State] = (), *, canary: bool = False
) -> str:
    """Why nobody else is to be touched; "" where the next may. `run` has all so far, with the `batch` just done."""
    of_batch = tuple(batch)
    bad, bad_here = _bad(run), _bad(of_batch)
    if canary and bad_here:
        return "the canary did not end well"
    if of_batch and bad_here == len(of_batch):
        return "a batch failed completely"
    if bad > limit.of(selected):
        return f"{bad} of {selected} hosts ended badly, and --max-fail allows {limit.of(selected)}"
    return ""


def _bad(states: Iterable[State]) -> int:
    return sum(state in BAD for state in states)
