"""Whose value wins where several groups give one: all first, then by depth, priority and name, the host last."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from controller.inventory.graph import InventoryError, Origin, Variable

PRIORITY = "ansible_group_priority"
"""A group's variable that settles ties between groups of one depth; it is not handed on to hosts."""

NOT_WRITTEN = Origin("", 0)
"""The origin of a child that nobody wrote down: every group without a parent is one of `all`."""


class Ranked(Protocol):
    """What is needed of a group: its children and its variables."""

    @property
    def children(self) -> Mapping[str, Origin]: ...

    @property
    def variables(self) -> Mapping[str, Variable]: ...


@dataclass(frozen=True, slots=True)
class Above:
    """What a host has from its groups: the merged variables, and the sorted names of all groups but `all`."""

    variables: Mapping[str, Variable]
    groups: tuple[str, ...]


class Precedence:
    """Merges groups' variables, once for each set of groups that hosts are in."""

    def __init__(self, groups: Mapping[str, Ranked], depth: Mapping[str, int]) -> None:
        self._groups = groups
        self._rank = {name: (depth[name], priority(group.variables), name) for name, group in groups.items()}
        self._parents: dict[str, list[str]] = {name: [] for name in groups}
        for name, group in groups.items():
            for child in group.children:
                self._parents[child].append(name)
        self._known: dict[tuple[str, ...], Above] = {}

    def of(self, own: tuple[str, ...]) -> Above:
        """What a host in exactly these groups has from them and from the groups above them."""
        above = self._known.get(own)
        if above is None:
            above = self._known[own] = self._merge(own)
        return above

    def _merge(self, own: tuple[str, ...]) -> Above:
        names = {"all"}
        waiting = list(own)
        while waiting:
            name = waiting.pop()
            if name not in names:
                names.add(name)
                waiting.extend(self._parents[name])
        merged: dict[str, Variable] = {}
        for name in sorted(names, key=self._rank.__getitem__):
            merged.update(self._groups[name].variables)
        merged.pop(PRIORITY, None)
        return Above(merged, tuple(sorted(names - {"all"})))


def priority(variables: Mapping[str, Variable]) -> int:
    """A group's priority, 1 where it has none."""
    variable = variables.get(PRIORITY)
    if variable is None:
        return 1
    if isinstance(variable.value, int) and not isinstance(variable.value, bool):
        return variable.value
    raise InventoryError.at(variable.origin, f"{PRIORITY} is not a whole number", "write one, without quotes")


def depths(children: Mapping[str, Mapping[str, Origin]]) -> dict[str, int]:
    """The longest way from `all` to each group. Raises InventoryError where groups form a circle."""
    missing = dict.fromkeys(children, 0)
    for group in children.values():
        for child in group:
            missing[child] += 1
    depth = {name: 0 for name, parents in missing.items() if not parents}
    ready = list(depth)
    while ready:
        name = ready.pop()
        for child in children[name]:
            depth[child] = max(depth.get(child, 0), depth[name] + 1)
            missing[child] -= 1
            if not missing[child]:
                ready.append(child)
    stuck = {name: None for name, parents in missing.items() if parents}
    if stuck:
        raise _circle(children, stuck)
    return depth


def _circle(children: Mapping[str, Mapping[str, Origin]], stuck: Mapping[str, None]) -> InventoryError:
    """Names one circle among groups of which each has a parent among them."""
    parent = {child: name for name in stuck for child in children[name] if child in stuck}
    way = [next(iter(stuck))]
    while parent[way[-1]] not in way:
        way.append(parent[way[-1]])
    circle = way[way.index(parent[way[-1]]) :]
    circle = [circle[0], *reversed(circle)]
    origins = [children[name][child] for name, child in zip(circle, circle[1:], strict=False)]
    origin = max(origins, key=lambda origin: origin.line)
    return InventoryError.at(
        origin, f"groups contain one another: {' > '.join(circle)}", "take one of them out of the other's children"
    )
