"""Safe names, and foreign text in messages."""

import pytest

from controller.inventory.names import address_flaw, group_flaw, host_flaw, printable, shown


@pytest.mark.covers("inv:S15")
@pytest.mark.parametrize(
    "name", ["web-1", "Web_1.example.", "höst", "主机1", "2001:db8::1", "10.0.0.1", "end-", "a@b", "a~b"]
)
def test_a_usual_name_is_a_host_name(name: str) -> None:
    assert host_flaw(name) is None


@pytest.mark.covers("inv:S15")
@pytest.mark.parametrize("char", list("*/%,;$()<>|&\\'\"`?#={}!") + [" ", "\t", "\n", "\x1b", "\x7f", "\x9b", "\u00a0"])
def test_a_name_with_a_character_of_shells_or_patterns_is_refused(char: str) -> None:
    assert host_flaw(f"web{char}1") is not None
    assert group_flaw(f"web{char}1") is not None


@pytest.mark.covers("inv:S15")
@pytest.mark.parametrize("char", ["\u202e", "\u2066", "\u200f", "\u200b", "\ufeff", "\u2028", "\ud800", "\0"])
def test_a_name_with_an_invisible_or_bidi_character_is_refused(char: str) -> None:
    assert host_flaw(f"web{char}1") == "it holds a control or invisible character"


@pytest.mark.covers("inv:S15")
@pytest.mark.parametrize("name", ["-rf", "!web", "&web", "~web", "@web", "", "a:b", "web:", "1:2"])
def test_a_name_that_begins_like_an_option_or_an_operator_is_refused(name: str) -> None:
    assert host_flaw(name) is not None


def test_a_name_is_no_longer_than_one_of_dns() -> None:
    assert host_flaw("a" * 253) is None
    assert host_flaw("1" * 254) == "it is longer than 253 characters"


def test_an_address_has_no_brackets() -> None:
    assert host_flaw("x[1:3]") is None
    assert address_flaw("x[1:3]") is not None
    assert address_flaw("2001:db8::1") is None
    assert address_flaw("root@10.0.0.1") == "it holds an @; a user is set as ansible_user"


def test_foreign_text_is_escaped_and_cut() -> None:
    assert printable("a\x1b[31m\u202eb\nc") == "a\\x1b[31m\\u202eb\\nc"
    assert shown("x" * 500) == "'" + "x" * 80 + "...'"
    assert shown("a password=hunter2 b") == "'a password=*** b'"
    assert shown(None) == "'None'"
