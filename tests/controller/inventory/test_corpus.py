"""The measured corpus: what Ansible answers where we agree, and a refusal where we fail closed."""

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from controller.inventory.graph import Inventory, InventoryError, Variable
from controller.inventory.patterns import select
from controller.inventory.sources import load

CORPUS = Path(__file__).parent / "corpus"
CASES = json.loads((CORPUS / "cases.json").read_text())
SOURCES = "inv:S1 inv:S4 inv:S5 inv:S6 inv:S7 inv:S8 inv:S9 inv:S10 inv:S11 inv:S12 inv:S13 inv:S14 inv:S15 inv:S16"
GRAPH = "inv:S17 inv:S18 inv:S24 inv:S25 inv:S26 inv:S27 inv:S29 inv:S31 inv:S32"


def cases(key: str) -> list[ParameterSet]:
    return [
        pytest.param(case, id=case["id"], marks=[pytest.mark.covers(case["covers"])] if "covers" in case else [])
        for case in CASES[key]
    ]


def paths(sources: list[str]) -> list[str]:
    """A source as load takes it: a file of the corpus, a file that isn't there, or a host list."""
    return [source if "," in source else str(CORPUS / source) for source in sources]


def plain(value: object) -> object:
    """The value as JSON shows it."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def values(variables: Mapping[str, Variable]) -> dict[str, object]:
    return {name: plain(variable.value) for name, variable in variables.items()}


def listing(inventory: Inventory, own: Mapping[str, Mapping[str, Variable]], *, with_vars: bool) -> dict[str, object]:
    """The inventory in the shape of `--list`, and of `--export` with the groups' variables."""
    hostvars = {name: values(variables) for name, variables in own.items() if variables}
    answer: dict[str, object] = {"_meta": {"hostvars": hostvars}}
    for group in inventory.groups.values():
        entry: dict[str, object] = {
            "hosts": [] if group.name == "all" else list(group.hosts),
            "children": list(group.children),
            "vars": values(group.variables) if with_vars else {},
        }
        if any(entry.values()):
            answer[group.name] = {key: value for key, value in entry.items() if value}
    return answer


def own_variables(inventory: Inventory) -> dict[str, dict[str, Variable]]:
    """Each host's variables without those that came from a group unchanged."""
    from_groups = {id(variable) for group in inventory.groups.values() for variable in group.variables.values()}
    return {
        name: {key: variable for key, variable in host.variables.items() if id(variable) not in from_groups}
        for name, host in inventory.hosts.items()
    }


@pytest.mark.covers(*SOURCES.split(), *GRAPH.split())
@pytest.mark.parametrize("case", cases("inventories"))
def test_a_source_is_answered_as_its_class_says(case: dict[str, Any]) -> None:
    sources = case["sources"]
    if "refused" in case:
        with pytest.raises(InventoryError) as refusal:
            load(paths(sources))
        message = str(refusal.value)
        assert any(message.startswith(source) for source in paths(sources))
        assert "; " in message
        assert message.isprintable()
        return
    inventory = load(paths(sources))
    if case["op"] == "hosts":
        assert list(inventory.hosts) == case["hosts"]
    elif case["op"] == "list":
        merged = {name: host.variables for name, host in inventory.hosts.items()}
        assert listing(inventory, merged, with_vars=False) == case["result"]
    else:
        assert listing(inventory, own_variables(inventory), with_vars=True) == case["result"]


@pytest.mark.covers("inv:S33", "inv:S34", "inv:S35", "inv:S36", "inv:P204", "inv:P205")
@pytest.mark.parametrize("case", cases("patterns"))
def test_a_pattern_is_answered_as_its_class_says(case: dict[str, Any]) -> None:
    def answer() -> list[str]:
        inventory = load(paths(list(case["sources"])))
        return [host.name for host in select(inventory, case["pattern"], case.get("limit"))]

    if "refused" in case:
        with pytest.raises(InventoryError, match=r"; ") as refusal:
            answer()
        assert str(refusal.value).isprintable()
    else:
        assert answer() == case["hosts"]
