"""TOML sources: groups, hosts, children and variables, each with its line."""

from pathlib import Path

import pytest

from controller.inventory.draft import Draft
from controller.inventory.graph import Inventory
from controller.inventory.origins import InventoryError, Origin
from controller.inventory.sources.toml_source import read


def inventory(text: str) -> Inventory:
    draft = Draft()
    read(text, "fleet.toml", draft)
    return draft.finish(["fleet.toml"])


WHOLE = '''
# a comment with [brackets] and = signs
[all.vars]
env = "prod"   # said here

[web]
children = [
  "front",  # one
  "back",
]

[web.vars]
note = """
several = lines
[not.a.table]
"""
"odd.key" = 1
nested.deep = { x = [1, 2] }
after = true

[front.hosts]
"f[1:2]" = { z = true }
"f3:2022" = {}

[back.hosts.b1]
role = 'primary'
since = 2026-11-24
'''


@pytest.mark.covers("inv:S19")
def test_every_value_has_the_line_of_its_statement() -> None:
    made = inventory(WHOLE)
    assert list(made.hosts) == ["f1", "f2", "f3", "b1"]
    assert made.groups["web"].children == ("front", "back")
    lines = {name: variable.origin.line for name, variable in made.host("b1").variables.items()}
    assert lines == {"env": 4, "note": 13, "odd.key": 17, "nested": 18, "after": 19, "role": 26, "since": 27}
    assert made.host("f1").variables["z"].origin == Origin("fleet.toml", 22)
    assert made.host("f3").variables["ansible_port"].value == 2022


@pytest.mark.covers("inv:S19")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[web\n", ":1: not TOML: "),
        ("[web.hosts]\nw1 = \n", ":2: not TOML: "),
        ("[web.hosts]\n[web.hosts]\n", ":2: not TOML: "),
        ("[web]\nhost = 1\n", ":2: unknown key 'host' in group 'web'; use hosts, vars or children"),
        ("web = 1\n", ":1: group 'web' is not a mapping; "),
        ("[web]\nhosts = ['w1']\n", ":2: hosts is a list; "),
        ("[web]\nchildren = 'front'\n", ":2: children is no list of group names; "),
        ("[web]\n\nchildren = [\n'front']\n", ":3: group 'front', a child of 'web', is not declared; "),
        ("[web.hosts.w1]\nx = 1\n[web.hosts.'a b']\n", ":3: 'a b' is not a host name: "),
        ("plugin = 'aws'\n", ":1: the configuration of the inventory plugin 'aws', which only Ansible can run; "),
        ("a" + ".a" * 200 + " = 1\n", ":1: nested deeper than 100; "),
        ("x = " + "[" * 2000 + "]" * 2000 + "\n", ":2: not TOML: nested too deep; "),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, said: str) -> None:
    with pytest.raises(InventoryError) as error:
        inventory(text)
    assert str(error.value).startswith(f"fleet.toml{said}")


@pytest.mark.covers("inv:S19")
def test_a_toml_file_is_read_by_its_name(tmp_path: Path) -> None:
    from controller.inventory.loading import load

    (tmp_path / "fleet.toml").write_text(WHOLE)
    assert len(load([str(tmp_path / "fleet.toml")]).hosts) == 4
