"""Foreign text made harmless: no control character, no escape sequence, no sign that turns text round."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.render.escape import block, line

# Other (control, format, surrogate) and the separators that end a line.
HARMFUL = {"Cc", "Cs", "Zl", "Zp"}
BIDI = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}


@pytest.mark.covers("sec:B5")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, größe 主机", "plain, größe 主机"),
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m \x90 \x9c", "\\x9b31m \\x90 \\x9c"),
        ("safe\u202egnp.exe", "safe\\x202egnp.exe"),
        ("a\u2066b\u2069", "a\\x2066b\\x2069"),
        ("two\nlines\tand a tab", "two lines and a tab"),
        ("back\b\b\x7f\r", "back\\x08\\x08\\x7f\\x0d"),
        ("in\u200bvisible\ufeff\xad", "in\\x200bvisible\\xfeff\\xad"),
        ("\udcff half", "\\xdcff half"),
        ("\U000e0041 tag", "\\xe0041 tag"),
    ],
)
def test_hostile_text_becomes_visible(text: str, shown: str) -> None:
    assert line(text) == shown


@pytest.mark.covers("sec:B5")
@given(st.text(st.characters()))
def test_what_comes_out_has_no_control_character(text: str) -> None:
    made = line(text)
    assert not {unicodedata.category(sign) for sign in made} & HARMFUL
    assert not {unicodedata.bidirectional(sign) for sign in made} & BIDI
    assert len(made.splitlines()) <= 1
    made.encode()


@given(st.text(st.characters(categories=["L", "N", "P", "Zs"], exclude_characters="\u202f")))
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert line(text) == text


@pytest.mark.covers("sec:B5")
def test_a_block_keeps_its_lines() -> None:
    assert block("a\x1b[2J\nb\r\nc") == ["a\\x1b[2J", "b", "c"]
