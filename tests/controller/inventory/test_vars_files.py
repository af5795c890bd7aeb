"""group_vars and host_vars: which files are read, when, and what wins."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from controller.inventory.graph import Inventory
from controller.inventory.loading import load
from controller.inventory.origins import InventoryError, Origin
from tests.controller.inventory.layout import write

ROOT = Path(__file__).parents[3]


def value(inventory: Inventory, host: str, name: str) -> object:
    return inventory.host(host).variables[name].value


def refusal(inventory: Inventory, host: str) -> str:
    with pytest.raises(InventoryError) as error:
        inventory.host(host)
    return str(error.value)


@pytest.mark.covers("inv:S27", "inv:S30")
def test_each_level_wins_over_those_below_it(tmp_path: Path) -> None:
    files = {
        "hosts": "[web]\nw1 f=line g=line\n[web:vars]\nb=web\nc=web\nd=web\n[all:vars]\na=all\nb=all\n",
        "group_vars/all.yml": "{c: gv_all, d: gv_all, e: gv_all}\n",
        "group_vars/web.yml": "{d: gv_web, e: gv_web, f: gv_web}\n",
        "host_vars/w1.yml": "{g: hv}\n",
    }
    inventory = load([str(write(tmp_path, files) / "hosts")])
    found = {name: value(inventory, "w1", name) for name in "abcdefg"}
    assert found == {"a": "all", "b": "web", "c": "gv_all", "d": "gv_web", "e": "gv_web", "f": "line", "g": "hv"}
    levels = [layer.level for layer in inventory.host("w1").layers]
    assert levels == ["all", "group web", "group_vars/all", "group_vars/web", "host", "host_vars/w1"]
    assert inventory.host("w1").variables["g"].origin == Origin(str(tmp_path / "host_vars/w1.yml"), 1)


@pytest.mark.covers("inv:I128", "inv:S30")
def test_only_the_files_of_the_hosts_that_are_asked_for_are_opened(tmp_path: Path) -> None:
    files = {f"host_vars/w{n:02}.yml": "x: 1\n" for n in range(50)}
    files |= {"group_vars/web.yml": "y: 1\n", "group_vars/db.yml": "y: 2\n", "hosts": "[web]\nw[00:49]\n[db]\nd1\n"}
    write(tmp_path, files)
    program = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        "from controller.inventory.loading import load\n"
        "from controller.inventory.patterns.selecting import select\n"
        "inventory = load([sys.argv[1]])\n"
        "inventory.resolved(select(inventory, 'w07,w08'))\n"
        "print(*sorted(name.rpartition('_vars/')[2] for name in opened if '_vars/' in name))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "hosts")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["w07.yml", "w08.yml", "web.yml"]


@pytest.mark.covers("inv:S28")
def test_a_folder_that_several_sources_share_is_read_where_it_comes_last(tmp_path: Path) -> None:
    write(tmp_path, {"a/1": "[web]\nw1\n", "a/2": "w1\n", "b/3": "w1\n"})
    write(tmp_path, {"a/group_vars/web.yml": "{x: a, y: a}\n", "b/group_vars/web.yml": "{x: b}\n"})
    sources = {name: str(tmp_path / name) for name in ("a/1", "a/2", "b/3")}
    assert value(load([sources["a/1"], sources["b/3"]]), "w1", "x") == "b"
    assert value(load([sources["a/1"], sources["b/3"], sources["a/2"]]), "w1", "x") == "a"


@pytest.mark.covers("inv:S22", "inv:I124")
def test_a_file_that_is_encrypted_as_a_whole_is_told_and_its_host_stays(tmp_path: Path) -> None:
    files = {
        "hosts": "[web]\nw1 ansible_host=192.0.2.1\n[db]\nd1\n",
        "group_vars/web/vault.yml": "$ANSIBLE_VAULT;1.1;AES256\n6236\n",
        "group_vars/web/plain.yml": "x: 1\n",
    }
    inventory = load([str(write(tmp_path, files) / "hosts")])
    assert not list(inventory.warnings)
    assert value(inventory, "w1", "x") == 1
    vault = str(tmp_path / "group_vars/web/vault.yml")
    assert inventory.host("w1").encrypted == (vault,)
    assert len(inventory.host("d1").encrypted) == 0
    assert list(inventory.warnings) == [f"{vault}: encrypted as a whole: what it sets is not known here"]


@pytest.mark.covers("inv:S30")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("- a\n", ":1: not a mapping of variables; write name: value"),
        ("x: 1\nx: 2\n", ":2: key 'x' is here a second time (first in line 1); keep one of them"),
        ("{5: x}\n", ":1: '5' is not a variable name; "),
        ("a: !custom x\n", ":1: the tag '!custom' is unknown; "),
        ("a: [1\n", ":2: not YAML: "),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    inventory = load([str(write(tmp_path, {"hosts": "w1\n", "host_vars/w1.yml": content}) / "hosts")])
    assert refusal(inventory, "w1").startswith(f"{tmp_path}/host_vars/w1.yml{said}")


def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, {"hosts": "w1\n", "host_vars/w2": ""})
    os.mkfifo(tmp_path / "host_vars" / "w1")
    assert "not a plain file" in refusal(load([str(tmp_path / "hosts")]), "w1")


def test_folders_that_hold_themselves_end(tmp_path: Path) -> None:
    write(tmp_path, {"hosts": "w1\n", "host_vars/w1/a.yml": "x: 1\n"})
    (tmp_path / "host_vars/w1/again").symlink_to(tmp_path / "host_vars/w1")
    assert "nested deeper than 20" in refusal(load([str(tmp_path / "hosts")]), "w1")


def test_a_host_is_never_a_way_out_of_the_folder(tmp_path: Path) -> None:
    for name in ("..", ".", "../x", "a/../b"):
        (tmp_path / "hosts").write_text(f"{name}\n")
        with pytest.raises(InventoryError, match="is not a host name"):
            load([str(tmp_path / "hosts")])


@pytest.mark.covers("inv:S3")
def test_a_folder_with_nothing_to_read_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"inventory/README.md": "x", "inventory/.hidden": "w1\n", "inventory/group_vars/all.yml": "x: 1\n"})
    with pytest.raises(InventoryError, match="no inventory source is in this folder; put one there"):
        load([str(tmp_path / "inventory")])


@pytest.mark.covers("inv:S3", "inv:I121")
def test_one_bad_entry_of_a_folder_leaves_no_host_of_the_others(tmp_path: Path) -> None:
    write(tmp_path, {"inventory/10-good.ini": "w1\n", "inventory/20-bad.yml": "web: [\n"})
    with pytest.raises(InventoryError, match=r"20-bad\.yml:2: not YAML"):
        load([str(tmp_path / "inventory")])


def test_a_folder_that_holds_itself_ends(tmp_path: Path) -> None:
    write(tmp_path, {"inventory/hosts": "w1\n"})
    (tmp_path / "inventory/again").symlink_to(tmp_path / "inventory")
    with pytest.raises(InventoryError, match="nested deeper than 20"):
        load([str(tmp_path / "inventory")])
