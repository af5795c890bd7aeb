"""With the backend ansible, Ansible's own command reads the sources: the same hosts and variables, or a refusal."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from controller.inventory import ansible
from controller.inventory.listing import listing
from controller.inventory.loading import load
from controller.inventory.origins import InventoryError

CORPUS = Path(__file__).parent / "corpus"
ROOT = Path(__file__).parents[3]
ORACLE = ROOT / ".cache" / "oracle" / "bin"
SAME = (
    ["01_basic.ini"],
    ["07_nested.ini"],
    ["13_repeats.ini"],
    ["16c_priority.ini"],
    ["18_gv/hosts.ini"],
    ["20_multi/a/hosts", "20_multi/b/hosts"],
    ["21_dir"],
    ["28_yaml_types.yml"],
    ["29_static.json"],
    ["30_meta.sh"],
    ["31_nometa.sh"],
    ["34d_unsafe.yml"],
    ["36_basic.toml"],
    ["x1:22,x2"],
)


def environment(folder: Path) -> Mapping[str, str]:
    """Give a home of its own, so that nobody's ansible.cfg counts."""
    return {"PATH": f"{ORACLE}:{os.defpath}", "HOME": str(folder), "LANG": "C.UTF-8"}


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask where the sources are."""
    assert (ORACLE / "ansible-inventory").exists(), "make .cache/oracle/.installed"
    monkeypatch.chdir(CORPUS / "inv")


def plain(sources: list[str], by: Any) -> object:
    inventory = by(sources)
    made = listing(inventory, tuple(inventory.hosts), lambda _, value: value, export=False)
    return json.loads(json.dumps(made))


@pytest.mark.covers("inv:I127")
@pytest.mark.parametrize("sources", SAME, ids=" ".join)
def test_a_source_that_both_read_gives_the_same_hosts_and_variables(sources: list[str], tmp_path: Path) -> None:
    assert plain(sources, lambda named: ansible.load(named, environment(tmp_path))) == plain(sources, load)


@pytest.mark.covers("inv:I127", "inv:S21")
def test_constructed_groups_work(tmp_path: Path) -> None:
    inventory = ansible.load(["33_constructed"], environment(tmp_path))
    assert inventory.groups["big"].hosts == ("c2",)
    assert inventory.host("c1").variables["double"].value == 2
    assert inventory.members("roles") == ("c1", "c2")


@pytest.mark.covers("inv:I127")
@pytest.mark.parametrize(
    "sources",
    [["11_section_space.ini"], ["01_basic.ini", "25b_partial.yml"], ["26_extra_keys.yml"]],
    ids=" ".join,
)
def test_what_ansible_would_read_in_part_is_refused(sources: list[str], tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="ansible-inventory says: .*; run it by hand for the whole of it"):
        ansible.load(sources, environment(tmp_path))


@pytest.mark.covers("inv:I127")
def test_what_ansible_warns_of_is_told(tmp_path: Path) -> None:
    inventory = ansible.load(["28b_dup_keys.yml"], environment(tmp_path))
    assert "ansible-inventory: Found duplicate mapping key 'web'." in inventory.warnings


@pytest.mark.covers("inv:I127")
def test_a_missing_file_or_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="no_such_file: no such inventory file"):
        ansible.load(["no_such_file"], environment(tmp_path))
    with pytest.raises(InventoryError, match="ansible-inventory is not on the PATH"):
        ansible.load(["01_basic.ini"], {"PATH": str(tmp_path)})


@pytest.mark.covers("inv:I127", "inv:I124")
def test_a_wrong_variable_names_the_command_and_the_host(tmp_path: Path) -> None:
    file = tmp_path / "hosts.ini"
    file.write_text("w1 fleetmedic_port=x\n")
    inventory = ansible.load([str(file)], environment(tmp_path))
    assert str(inventory.host("w1").variables["fleetmedic_port"].origin) == "ansible-inventory: w1"


@pytest.mark.covers("inv:I127")
def test_warnings_without_end_are_refused_for_what_is_left_out_may_be_among_them(tmp_path: Path) -> None:
    program = tmp_path / "ansible-inventory"
    program.write_text("#!/bin/sh\nhead -c 9000000 /dev/zero >&2; echo '{}'\n")
    program.chmod(0o755)
    with pytest.raises(InventoryError, match="ansible-inventory warns for more than 8 MiB"):
        ansible.load(["01_basic.ini"], {"PATH": f"{tmp_path}:{os.defpath}"})
