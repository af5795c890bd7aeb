"""Markdown's pieces: foreign text made harmless, so that no markup, link or HTML of it survives; lists and tables."""

import re
from collections.abc import Iterable, Iterator, Sequence

from controller.render import escape
from controller.render.escape import block, line

TICKS = re.compile("`+")
text = escape.markdown


def code(foreign: str) -> str:
    """A code span; not for the cell of a table, where readers differ about a bar in it."""
    made = line(foreign).strip() or " "
    ticks = "`" * (_longest(made) + 1)
    edge = " " if made[0] == "`" or made[-1] == "`" else ""
    return f"{ticks}{edge}{made}{edge}{ticks}"


def fence(foreign: str, language: str = "text") -> list[str]:
    """A code block, whose content can't close it."""
    lines = block(foreign)
    ticks = "`" * max(3, *(_longest(part) + 1 for part in lines or [""]))
    return [f"{ticks}{language}", *lines, ticks]


def _longest(part: str) -> int:
    return max((len(run) for run in TICKS.findall(part)), default=0)


def listed(facts: Sequence[str]) -> Iterator[str]:
    """A list of what is Markdown already, and a blank line after it."""
    for fact in facts:
        yield f"- {fact}"
    if facts:
        yield ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Of cells that are Markdown already."""
    yield _row(head)
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield _row(row)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
