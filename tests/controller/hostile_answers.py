"""Whole answers of hostile agents: every field of any message filled, those that a later version adds too."""

import itertools
from collections.abc import Iterator, Sequence
from typing import TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

M = TypeVar("M", bound=Message)

ODD_FLOATS = (0.0, -1.5, 97.25, 1e308, float("nan"), float("inf"), float("-inf"))
# Each is a sign, a sequence or a piece of markup that some place of ours might act on.
PIECES = (
    "\x1b[31m", "\x1b]0;title\x07", "\x1b]8;;http://evil.example\x1b\\", "\x9b2J", "\x90q\x9c", "\x1b[2J\x1b[H",
    "\x00", "\x07", "\b\b", "\x7f", "\r", "\n", "\r\n", "\t", "\x0b", "\x85", "\u2028", "\u2029",
    "\u202e", "\u2066", "\u2069", "\u200f", "\u061c", "\u200b", "\ufeff", "\U000e0041", "\u00ad",
    "<script>alert(1)</script>", "<img src=x onerror=y>", "</pre>", "&lt;", "\" onload=\"x", "' x='", "-->", "]]>",
    "[click](javascript:alert(1))", "![x](http://evil.example/x.png)", "`", "```\n", "# heading\n", "- item\n",
    "| a | b |", "<http://evil.example>", "**bold**", "~~~", "\n---\n", "\\", "\\`",
    "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1+1", "\r=1", "＝1", "\",=1,\"", ";", ",",
    "| x=1", "@channel", "<!here>", "<https://evil.example|click>", "{host}", "%s%n", "$(touch evil)",
    "'; DROP TABLE runs; --", "../../../tmp/evil", "text", "größe 主机", " ",
)  # fmt: skip
WORDS = st.lists(st.sampled_from(PIECES) | st.characters(codec="utf-8"), min_size=1, max_size=4).map("".join)


def filled(message: M, words: Iterator[str], numbers: Iterator[int], *, depth: int = 4) -> M:
    """The message with a word in every text, odd numbers in every number, and two of whatever may be repeated."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].type == FieldDescriptor.TYPE_STRING:
                getattr(message, field.name)[next(words)] = next(words)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for _ in range(2 if field.is_repeated else 1) if depth else ():
                inner = getattr(message, field.name).add() if field.is_repeated else getattr(message, field.name)
                filled(inner, words, numbers, depth=depth - 1).SetInParent()
        elif field.is_repeated:
            getattr(message, field.name).extend(
                [_value(field.type, words, numbers), _value(field.type, words, numbers)]
            )
        else:
            setattr(message, field.name, _value(field.type, words, numbers))
    return message


def _value(kind: int, words: Iterator[str], numbers: Iterator[int]) -> object:
    if kind == FieldDescriptor.TYPE_STRING:
        return next(words)
    if kind == FieldDescriptor.TYPE_BYTES:
        return next(words).encode()
    number = next(numbers)
    if kind in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return ODD_FLOATS[number % len(ODD_FLOATS)]
    if kind == FieldDescriptor.TYPE_BOOL:
        return bool(number % 2)
    if kind == FieldDescriptor.TYPE_ENUM:
        return number % 9
    if kind in (FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64):
        return abs(number) % 2**31
    return number % 2**31 if number >= 0 else -(-number % 2**31)


def cycling(said: Sequence[str], seed: int) -> tuple[Iterator[str], Iterator[int]]:
    """Words and numbers without end, for `filled`."""
    numbers = (seed, seed + 1, 1, 7, -1, 2**31 - 1, 0, 3, 1_700_000_000, 2, -(2**31) + 1, 5)
    return itertools.cycle(said), itertools.cycle(numbers)
