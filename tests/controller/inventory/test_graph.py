"""The graph as a whole: order, levels and precedence hold for any acyclic set of groups."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.inventory.draft import Draft
from controller.inventory.graph import Inventory
from controller.inventory.origins import Origin

HERE = Origin("hosts", 1)
HOSTS = tuple(f"h{n}" for n in range(6))


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Mapping[str, list[str]], Mapping[str, list[str]]]:
    """Hosts and children of up to eight groups; a child comes later in the alphabet than its parent: no circles."""
    groups = [f"g{n}" for n in range(draw(st.integers(1, 8)))]
    some_hosts = st.lists(st.sampled_from(HOSTS), unique=True)
    hosts = {group: draw(some_hosts) for group in groups}
    children = {
        group: draw(st.lists(st.sampled_from(groups[n + 1 :]), unique=True)) if groups[n + 1 :] else []
        for n, group in enumerate(groups)
    }
    return hosts, children


def built(hosts: Mapping[str, list[str]], children: Mapping[str, list[str]]) -> Inventory:
    draft = Draft()
    for group in hosts:
        draft.group(group, HERE)
        draft.group_variable(group, "who", group, HERE)
    for group, names in hosts.items():
        for name in names:
            draft.host(name, group, None, HERE)
        draft.groups[group].children.update(dict.fromkeys(children[group], HERE))
    return draft.finish(["hosts"])


def descendants(inventory: Inventory, group: str) -> set[str]:
    below = set(inventory.groups[group].children)
    return below.union(*(descendants(inventory, child) for child in below))


@pytest.mark.covers("inv:S24", "inv:I129")
@settings(database=None)
@given(graphs())
def test_the_order_is_own_hosts_first_and_each_host_once(
    graph: tuple[Mapping[str, list[str]], Mapping[str, list[str]]],
) -> None:
    inventory = built(*graph)
    assert tuple(inventory.hosts) == inventory.members("all")
    for group in inventory.groups.values():
        members = inventory.members(group.name)
        assert members[: len(group.hosts)] == group.hosts
        assert len(set(members)) == len(members)
        below = {host for name in descendants(inventory, group.name) for host in inventory.groups[name].hosts}
        assert set(members) == below | set(group.hosts)
    assert built(*graph) == inventory


@pytest.mark.covers("inv:S27", "inv:I129")
@settings(database=None)
@given(graphs())
def test_a_childs_value_beats_its_parents(graph: tuple[Mapping[str, list[str]], Mapping[str, list[str]]]) -> None:
    inventory = built(*graph)
    for host in inventory.resolved(inventory.hosts):
        winner = host.variables["who"].value
        assert isinstance(winner, str)
        assert winner in host.groups
        assert not descendants(inventory, winner) & set(host.groups)


@pytest.mark.covers("inv:S10", "inv:S24")
def test_all_begins_with_its_own_hosts_then_ungrouped_then_level_by_level() -> None:
    draft = Draft()
    for group in ("top", "leaf", "side"):
        draft.group(group, HERE)
    draft.groups["top"].children["leaf"] = HERE
    for host, group in (("deep", "leaf"), ("near", "side"), ("own", "all"), ("lone", "ungrouped")):
        draft.host(host, group, None, HERE)
    inventory = draft.finish(["hosts"])
    assert list(inventory.hosts) == ["own", "lone", "near", "deep"]
    assert inventory.groups["all"].children == ("ungrouped", "top", "side")
    assert inventory.host("own").groups == ("ungrouped",)
    assert inventory.host("deep").groups == ("leaf", "top")
    assert inventory.declared == ("deep", "near", "own", "lone")
