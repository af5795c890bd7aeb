"""Makes a draw with a difference smaller for as long as it keeps one of that kind."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from tests.fuzz.inventory.drawn import ROOT, Draw, File

T = TypeVar("T")
Keeps = Callable[[Draw], bool]
"""Whether a smaller draw still shows the difference."""


def shrink(draw: Draw, keeps: Keeps, tries: int) -> Draw:
    """The smallest draw found; `keeps` is asked at most `tries` times."""
    left = tries
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for candidate in _smaller(draw):
            if left <= 0:
                return draw
            left -= 1
            if keeps(candidate):
                draw, is_smaller = candidate, True
                break
    return draw


def _smaller(draw: Draw) -> Iterator[Draw]:
    """Draws with a source, a file, a question or a piece of a file less, the largest pieces first."""
    for number in range(len(draw.questions)):
        yield replace(draw, questions=_without(draw.questions, number))
    for number in range(len(draw.sources)):
        if len(draw.sources) > 1:
            yield replace(draw, sources=_without(draw.sources, number))
    for number, file in enumerate(draw.files):
        if f"{ROOT}{file.path}" not in draw.sources and not file.path.startswith("limits/"):
            yield replace(draw, files=_without(draw.files, number))
    for number, file in enumerate(draw.files):
        for content in _pieces_less(file):
            smaller = replace(file, content=content, for_oracle=None)
            yield replace(draw, files=(*draw.files[:number], smaller, *draw.files[number + 1 :]))


def _without(items: tuple[T, ...], number: int) -> tuple[T, ...]:
    return items[:number] + items[number + 1 :]


def _pieces_less(file: File) -> Iterator[bytes]:
    if file.for_oracle is not None:
        return
    text = file.content.decode(errors="surrogateescape")
    before, mark, after = text.partition("<<'JSON'\n")
    document, end, rest = after.partition("\nJSON\n")
    if mark:
        for smaller in _less(json.loads(document)):
            yield f"{before}{mark}{json.dumps(smaller, indent=1)}{end}{rest}".encode()
    elif file.path.endswith(".json"):
        for smaller in _less(json.loads(text)):
            yield json.dumps(smaller, indent=1).encode()
    else:
        for lines in _lines_less(text.splitlines(keepends=True)):
            yield "".join(lines).encode(errors="surrogateescape")


def _lines_less(lines: list[str]) -> Iterator[list[str]]:
    size = len(lines) // 2
    while size:
        for start in range(0, len(lines), size):
            if size < len(lines):
                yield lines[:start] + lines[start + size :]
        size //= 2


def _less(value: object) -> Iterator[object]:
    """The value with one key or item less, outermost first."""
    if isinstance(value, dict):
        for key in value:
            yield {name: inner for name, inner in value.items() if name != key}
        for key, inner in value.items():
            for smaller in _less(inner):
                yield value | {key: smaller}
    elif isinstance(value, list):
        for number, _ in enumerate(value):
            yield value[:number] + value[number + 1 :]
