"""INI sources: sections, host lines, typed values, and errors that name the line."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.inventory.draft import Draft
from controller.inventory.graph import Inventory
from controller.inventory.loading import load
from controller.inventory.origins import InventoryError, Origin
from controller.inventory.sources.ini import read
from controller.inventory.sources.literals import value_of

HERE = Origin("hosts.ini", 1)


def parsed(text: str) -> Inventory:
    draft = Draft()
    read(text, "hosts.ini", draft)
    return draft.finish(["hosts.ini"])


def refusal(text: str) -> str:
    with pytest.raises(InventoryError) as error:
        parsed(text)
    return str(error.value)


@pytest.mark.covers("inv:S11")
def test_a_host_in_two_groups_is_one_host_with_the_last_value_written() -> None:
    host = parsed("[web]\nh1 a=1 b=1\n[db]\nh1 b=2\n").host("h1")
    assert host.groups == ("db", "web")
    assert {name: (variable.value, variable.origin.line) for name, variable in host.variables.items()} == {
        "a": (1, 2),
        "b": (2, 4),
    }


@pytest.mark.covers("inv:S27")
def test_the_origin_is_that_of_the_value_that_wins() -> None:
    host = parsed("[web]\nh1\n[web:vars]\nsize=2\nonly=1\n[all:vars]\nsize=1\nsite=hq\n").host("h1")
    assert {name: str(variable.origin) for name, variable in host.variables.items()} == {
        "size": "hosts.ini:4",
        "only": "hosts.ini:5",
        "site": "hosts.ini:8",
    }


@pytest.mark.covers("inv:S9")
def test_a_group_of_an_earlier_source_counts_as_declared(tmp_path: Path) -> None:
    first, second = tmp_path / "a.ini", tmp_path / "b.ini"
    first.write_text("[web]\nw1\n")
    second.write_text("[top:children]\nweb\n[web:vars]\nx=1\n")
    assert load([str(first), str(second)]).groups["top"].children == ("web",)


@pytest.mark.covers("inv:S9")
@pytest.mark.parametrize("child", ["all", "top"])
def test_a_circle_of_groups_is_refused_with_its_way(child: str) -> None:
    message = refusal(f"[top:children]\n{child}\n[web]\nw1\n")
    assert message.startswith("hosts.ini:2: groups contain one another: ")


@pytest.mark.covers("inv:S6")
@pytest.mark.parametrize(
    "text",
    [
        "h1 ansible_password=open sesame\n",
        'h1 ansible_password="open sesame\n',
        "[web:vars]\nopen sesame\n[web]\n",
    ],
)
def test_a_broken_line_is_refused_without_showing_its_values(text: str) -> None:
    message = refusal(text)
    assert message.startswith("hosts.ini:")
    assert "sesame" not in message


@pytest.mark.covers("inv:S6")
@pytest.mark.parametrize("word", ["''", "=x", "word", "[a]"])
def test_a_word_that_is_no_pair_is_named_by_its_place(word: str) -> None:
    assert refusal(f"h1 a=1 {word}\n") == (
        "hosts.ini:1: word 3 of the host line is not name=value; put values with blanks in quotes"
    )


@pytest.mark.covers("inv:S6")
def test_a_semicolon_after_a_host_gets_the_hint_about_comments() -> None:
    assert refusal("h1\nh2 ; text\n").endswith("; begin a comment with #")


@pytest.mark.covers("inv:S32")
def test_a_reserved_name_is_dropped_with_one_warning() -> None:
    inventory = parsed("[web]\nw1 inventory_hostname=x my-var=1\nw2 inventory_hostname=y my-var=2\n")
    assert set(inventory.host("w1").variables) == {"my-var"}
    assert inventory.warnings == (
        "hosts.ini:2: inventory_hostname is a reserved name; the line is ignored",
        "hosts.ini:2: 'my-var' is no identifier; templates will not find it",
    )


@pytest.mark.covers("inv:S29")
@pytest.mark.parametrize("value", ["high", "True", "1.5", "'seven'"])
def test_a_priority_that_is_no_whole_number_is_refused(value: str) -> None:
    assert refusal(f"[web]\nw1\n[web:vars]\nansible_group_priority={value}\n").startswith("hosts.ini:4: ")


@pytest.mark.covers("inv:S8")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-3", -3),
        ("1.5", 1.5),
        (".5", 0.5),
        ("0x1f", 31),
        ("010", "010"),
        ("1.2.3", "1.2.3"),
        ("True", True),
        ("true", "true"),
        ("None", None),
        ("...", "..."),
        ("/srv/app", "/srv/app"),
        ("{'a': (1, {2}), 'b': b'x'}", {"a": [1, [2]], "b": "x"}),
        ("{'a': 1j}", {"a": "1j"}),
        ("'\\d'", "\\d"),
        ("1if 2", "1if 2"),
    ],
)
def test_a_value_is_a_python_literal_or_else_the_text(text: str, value: object) -> None:
    answer = value_of(text, HERE)
    assert answer == value
    assert type(answer) is type(value)


def outcome(text: str) -> str:
    """The one line that a text is refused with, or nothing."""
    try:
        inventory = parsed(text)
    except InventoryError as error:
        return str(error)
    assert set(inventory.members("all")) == set(inventory.hosts)
    return ""


@pytest.mark.covers("inv:S8")
@pytest.mark.parametrize("value", ["-" * 100_000 + "1", "1+" * 50_000 + "1"])
def test_a_value_nested_beyond_reason_is_refused_or_kept_as_text(value: str) -> None:
    assert outcome(f"[web]\nw1\n[web:vars]\nx={value}\n") in (
        "",
        "hosts.ini:4: a value is nested too deep; write it flatter",
    )


@pytest.mark.covers("inv:S8")
@pytest.mark.parametrize("value", ["[" * 500 + "]" * 500, "[" * 500, "(" * 100_000, "[[" * 100_000])
def test_brackets_deeper_than_python_reads_are_refused_where_ansible_keeps_a_text(value: str) -> None:
    assert outcome(f"[web]\nw1\n[web:vars]\nx={value}\n") == "hosts.ini:4: a value is nested too deep; write it flatter"


@pytest.mark.covers("inv:S5")
@settings(database=None)
@given(st.lists(st.sampled_from(list("[]:,ab19 =\n\t\r\0#;'\"\\{}()-\x1b\u202e\u2028\ud800é"))).map("".join))
def test_any_text_is_an_inventory_or_one_clear_line(text: str) -> None:
    message = outcome(text)
    assert message.isprintable()
    assert not message or message.startswith("hosts.ini:")
