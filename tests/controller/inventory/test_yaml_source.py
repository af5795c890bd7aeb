"""YAML sources: shape, types, line numbers, and the bounds that a hostile file can't pass."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.inventory.draft import Draft
from controller.inventory.graph import Inventory
from controller.inventory.origins import InventoryError
from controller.inventory.sources.yaml_source import read


def parsed(text: str) -> Inventory:
    draft = Draft()
    read(text, "hosts.yml", draft)
    return draft.finish(["hosts.yml"])


def refusal(text: str) -> str:
    with pytest.raises(InventoryError) as error:
        parsed(text)
    return str(error.value)


@pytest.mark.covers("inv:S16")
def test_every_variable_knows_its_line() -> None:
    host = parsed(
        "web:\n  vars:\n    env: prod\n    size: 1\n"
        "  hosts:\n    w1:\n      size: 2\n      note: |\n        a\n        b\n      last: x\n"
    ).host("w1")
    assert {name: variable.origin.line for name, variable in host.variables.items()} == {
        "env": 3,
        "size": 7,
        "note": 8,
        "last": 11,
    }


@pytest.mark.covers("inv:S16")
def test_a_group_mentioned_twice_in_the_tree_is_one_group() -> None:
    inventory = parsed(
        "eu: {children: {web: {hosts: {w1: }}}}\nlinux: {children: {web: {hosts: {w2: }, vars: {x: 1}}}}\n"
    )
    assert inventory.groups["web"].hosts == ("w1", "w2")
    assert inventory.host("w1").groups == ("eu", "linux", "web")
    assert inventory.host("w1").variables["x"].value == 1


@pytest.mark.covers("inv:S16", "inv:S17")
@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("web:\n  hosts:\n    no:\n", 3, "host 'False' is read as bool; put it in quotes"),
        ("web:\n  hosts:\n    2024-01-15:\n", 3, "is read as date; put it in quotes"),
        ("web:\n  hosts:\n    ~:\n", 3, "is read as NoneType"),
        ("web:\n  hosts:\n    w1: 5\n", 3, "the variables of host 'w1' are not a mapping"),
        ("web:\n  vars: [a]\n", 2, "vars is not a mapping"),
        ("web:\n  vars: text\n", 2, "vars is not a mapping"),
        ("web:\n  hosts: 7\n", 2, "hosts is not a mapping"),
        ("web: 5\n", 1, "group 'web' is not a mapping"),
        ("web:\n  hosts:\n    w1: {1: x}\n", 3, "'1' is not a variable name"),
        ("web:\n  vars:\n    ? [a, b]\n    : x\n", 3, "a list or mapping is used as a key"),
        ("web:\n  vars: {x: *nowhere}\n", 2, "alias 'nowhere' has no anchor before it"),
        ("web:\n  vars: {x: !!python/name:os.system }\n", 2, "is unknown"),
        ("web:\n  vars: !custom {x: 1}\n", 2, "the tag '!custom' is unknown"),
        ("web:\n  vars: {x: !!int many}\n", 2, "'many' is no valid int"),
        ("web:\n  vars: {d: 2024-13-45}\n", 2, "'2024-13-45' is no valid timestamp"),
        ("web:\n  vars:\n    <<: text\n", 3, "'<<' merges something that is no mapping"),
        ("web:\n  children:\n    web:\n", 3, "groups contain one another: web > web"),
        ("web:\n  vars: {x: \x01}\n", 1, "not YAML: "),
        ("web:\n  hosts:\n    a b:\n", 3, "it holds a blank"),
        ("we:b:\n", 1, "is not a group name"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, line: int, words: str) -> None:
    message = refusal(text)
    assert message.startswith(f"hosts.yml:{line}: ")
    assert words in message
    assert "; " in message


@pytest.mark.covers("inv:S17")
def test_merge_keys_give_what_the_mapping_itself_does_not() -> None:
    variables = (
        parsed(
            "web:\n  vars:\n    a: &a {x: 1, y: 1}\n    b: &b {y: 2, z: 2}\n"
            "    m: {<<: [*a, *b], z: 3}\n  hosts: {w1: }\n"
        )
        .host("w1")
        .variables
    )
    assert variables["m"].value == {"x": 1, "y": 1, "z": 3}


@pytest.mark.covers("inv:S17", "inv:S22")
def test_quotes_and_tags_decide_between_text_and_number() -> None:
    variables = (
        parsed(
            "web:\n  vars: {a: '5', b: 5, c: !!str 5, d: !unsafe 5, e: ! 5, f: 007, g: 1_000, h: =}\n  hosts: {w1: }\n"
        )
        .host("w1")
        .variables
    )
    assert {name: variable.value for name, variable in variables.items()} == {
        "a": "5",
        "b": 5,
        "c": "5",
        "d": "5",
        "e": "5",
        "f": 7,
        "g": 1000,
        "h": "=",
    }


def bomb() -> str:
    rows = ["web:", "  vars:", "    a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"    a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    return "\n".join(rows) + "\n"


@pytest.mark.covers("sec:B3")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (bomb(), "aliases stand for more than 10,000 values"),
        ("web: {vars: {x: " + "[" * 1000 + "]" * 1000 + "}}", "nested deeper than 100"),
        ("web: {vars: {x: " + "[" * 1_000_000, "nested deeper than 100"),
        ("web: {vars: {x: " + "{a: " * 100_000, "nested deeper than 100"),
        ("".join(" " * n + f"k{n}:\n" for n in range(1000)), "nested deeper than 100"),
        ("web: {vars: {x: 1" + ":1" * 1_000_000 + "}}", "a number of more than 1000 characters"),
        ("web: {vars: {x: 1" + "0" * 5000 + "}}", "a number of more than 1000 characters"),
        ("web: {vars: {x: 1, x: 2}}", "key 'x' is here a second time (first in line 1)"),
        ("web: {vars: {x: &x [*x]}}", "alias 'x' has no anchor before it"),
        ("web: {hosts: {'h[1:99999999]': }}", "stands for more than 100,000 hosts"),
        ("web: {hosts: {'h[1:999][1:999][1:999]': }}", "stands for more than 100,000 hosts"),
    ],
    ids=lambda value: value[:40],
)
def test_a_hostile_file_gets_one_clear_line_at_once(text: str, words: str) -> None:
    start = time.process_time()
    assert words in refusal(text)
    assert time.process_time() - start < 1.0


def outcome(text: str) -> str:
    """The one line that a text is refused with, or nothing."""
    try:
        parsed(text)
    except InventoryError as error:
        return str(error)
    return ""


@pytest.mark.covers("inv:S16")
@settings(database=None)
@given(st.lists(st.sampled_from(list("ab1:{}[],&*<!'\"-?|> \n\t#~\x1b\u202e\u2028é"))).map("".join))
def test_any_text_is_an_inventory_or_one_clear_line(text: str) -> None:
    message = outcome(text)
    assert message.isprintable()
    assert not message or message.startswith("hosts.yml:")


@pytest.mark.covers("inv:S17")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ('"\\\\ud83d"', "\\ud83d"),
        ('"a\x7fb"', "a\x7fb"),
        ("1e3", 1000.0),
        ("1E+21", 1e21),
        ('"1e3"', "1e3"),
        ("[true, null]", [True, None]),
    ],
)
def test_what_is_json_has_jsons_values(text: str, value: object) -> None:
    made = parsed('{"all": {"hosts": {"w1": {"x": ' + text + "}}}}").host("w1").variables["x"]
    assert made.value == value
    assert made.origin.line == 1
