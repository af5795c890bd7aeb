"""How a command ended for each host: a line each, bad ones first, equal ones folded at a terminal, totals last."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from controller.endings import BROKEN, SILENT, State
from controller.render.check_text import counted
from controller.render.escape import line
from controller.render.host_ranges import fold
from controller.render.paper import Paper

# Worst first.
_ORDER = (
    State.FAILED,
    State.GATE_FAILED,
    State.UNKNOWN,
    State.UNREACHABLE,
    State.TIMEOUT,
    State.NOT_ATTEMPTED,
    State.CANCELLED,
    State.SKIPPED,
    State.CHANGED,
    State.OK,
)


class Ended(Protocol):
    """A host's state, and a sentence about it."""

    @property
    def host(self) -> str: ...

    @property
    def state(self) -> State: ...

    @property
    def said(self) -> str: ...


def body(paper: Paper, items: Sequence[Ended], words: "dict[State, str]", exit_code: int) -> None:
    """`words` are what a command calls its states, such as renewed; others go by their own names."""
    groups: dict[tuple[State, str, str], list[str]] = {}
    for item in sorted(items, key=lambda item: _ORDER.index(item.state)):
        groups.setdefault((item.state, item.said, "" if paper.terminal else item.host), []).append(item.host)
    for (state, said, _), hosts in groups.items():
        named = fold(hosts) if paper.terminal else " ".join(hosts)
        sign = _sign(state)
        head = f"{paper.paint(paper.sign(sign), sign)} {named}  "
        paper.hanging(head, f"{words.get(state, _name(state))}: {line(said)}", 4, len(named) + 4)
    paper.write(f"{_totals(items, words)}   exit code {exit_code}")


def _totals(items: Iterable[Ended], words: "dict[State, str]") -> str:
    told = Counter(item.state for item in items)
    said = "  ".join(f"{told[state]} {words.get(state, _name(state))}" for state in _ORDER if told[state])
    return f"{counted(sum(told.values()), 'host')}: {said}"


def _name(state: State) -> str:
    return state.replace("_", " ")


def _sign(state: State) -> str:
    if state in BROKEN:
        return "crit"
    if state in SILENT or state == State.UNKNOWN:
        return "unreach"
    return "ok" if state in (State.OK, State.CHANGED) else "skipped"
