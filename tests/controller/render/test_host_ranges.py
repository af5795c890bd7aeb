"""Host names folded for people, and unfolded again here: no host is lost, none is invented."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.render.host_ranges import fold

PART = re.compile(r"([0-9]+)(?:-([0-9]+))?")
BRACKETS = re.compile(r"(.*)\[([0-9,-]+)\](.*)")
PLAIN = re.compile(r"(.*?)([0-9]+(?:[,-][0-9]+)*)")


def unfold(text: str) -> list[str]:
    """Reads what fold wrote, for names in which no hyphen follows a digit."""
    return [name for word in text.split() for name in _names(word)]


def _names(word: str) -> list[str]:
    found = BRACKETS.fullmatch(word) or PLAIN.fullmatch(word)
    if found is None:
        return [word]
    head, numbers, tail = found[1], found[2], found[3] if BRACKETS.fullmatch(word) else ""
    return [f"{head}{number}{tail}" for part in numbers.split(",") for number in _numbers(part)]


def _numbers(part: str) -> list[str]:
    found = PART.fullmatch(part)
    assert found is not None, part
    first, last = found[1], found[2] or found[1]
    width = len(first) if first.startswith("0") or len(first) == len(last) else 0
    return [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]


@pytest.mark.covers("exp:X12")
@pytest.mark.parametrize(
    ("names", "folded"),
    [
        ("", ""),
        ("db", "db"),
        ("app01 app02 app03 app05", "app01-03,05"),
        ("app01 app02", "app01,02"),
        ("app05 app01 app03 app02", "app01-03,05"),
        ("app08 app09 app10 app11", "app08-11"),
        ("app8 app9 app10", "app8-10"),
        ("app1 app01", "app1 app01"),
        ("app99 app100 app101", "app99-101"),
        ("b2 a1 b1 a2", "b1,2 a1,2"),
        ("web01.eu web02.eu web03.eu", "web[01-03].eu"),
        ("web01.eu", "web01.eu"),
        ("10.0.0.1 10.0.0.2 10.0.0.3", "10.0.0.1-3"),
        ("2001:db8::9 2001:db8::10", "2001:db8::9 2001:db8::10"),
        ("ip-10-1 ip-10-2 ip-10-3", "ip-10-[1-3]"),
        ("solo db01 db02 solo2", "solo db01,02 solo2"),
        ("web01.eu1 web02.eu1", "web01.eu1 web02.eu1"),
        ("größe1 größe2", "größe1,2"),
        ("web٣ web٤", "web٣ web٤"),
    ],
)
def test_names_fold_to_this(names: str, folded: str) -> None:
    assert fold(names.split()) == folded


heads = st.sampled_from(["app", "db-", "web.", "a0b", "x", ""])
tails = st.sampled_from(["", ".eu", "-b"])
widths = st.sampled_from(["d", "02d", "03d"])
numbered = st.builds(
    lambda head, number, width, tail: f"{head}{number:{width}}{tail}", heads, st.integers(0, 120), widths, tails
)


@pytest.mark.covers("exp:X12")
@given(st.lists(numbered | st.sampled_from(["solo", "größe", "x.y"]), unique=True, max_size=40))
def test_folding_loses_no_host_and_invents_none(names: list[str]) -> None:
    assert sorted(unfold(fold(names))) == sorted(names)
