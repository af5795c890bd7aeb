"""Whose value wins where several levels give one: all first, then by depth, priority and name, the host last.

Lowest to highest: `all` as the sources have it, the other groups of the sources, group_vars/all of every folder, the
other group_vars folder by folder, the host's own lines, host_vars folder by folder.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from controller.inventory.origins import InventoryError, Origin
from controller.inventory.variables import Layer, Variable
from controller.inventory.vars_files import VarsFolder

PRIORITY = "ansible_group_priority"
"""A group's variable that settles ties between groups of one depth; it is not handed on to hosts."""

_DIGITS = re.compile(r"-?[0-9]{1,9}")

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
    """What a host has from its groups: the merged variables, their layers, the sorted names of all groups but `all`."""

    variables: Mapping[str, Variable]
    layers: tuple[Layer, ...]
    groups: tuple[str, ...]


class Precedence:
    """Merges groups' variables, once for each set of groups that hosts are in."""

    def __init__(self, groups: Mapping[str, Ranked], depth: Mapping[str, int], folders: Sequence[VarsFolder]) -> None:
        self._groups = groups
        self.folders = tuple(folders)
        self._rank = {name: (depth[name], priority(group.variables), name) for name, group in groups.items()}
        self._parents: dict[str, list[str]] = {name: [] for name in groups}
        for name, group in groups.items():
            for child in group.children:
                self._parents[child].append(name)
        self._known: dict[tuple[str, ...], Above] = {}

    def above(self, own: tuple[str, ...]) -> Above:
        """What a host in exactly these groups has from them and from the groups above them."""
        known = self._known.get(own)
        if known is None:
            known = self._known[own] = self._merge(own)
        return known

    def own(self, host: str, written: Mapping[str, Variable]) -> tuple[Layer, ...]:
        """The layers of one host alone: what its sources say of it, and its files in host_vars."""
        files = tuple(layer for folder in self.folders for layer in folder.of_host(host))
        return (Layer("host", written), *files) if written else files

    def of_group(self, name: str) -> tuple[Layer, ...]:
        """The layers of one group alone: what its sources say of it, and its files in group_vars."""
        variables = dict(self._groups[name].variables)
        if PRIORITY in variables and priority(variables) == 1:
            # The usual one is as good as none.
            del variables[PRIORITY]
        written = Layer(_level(name), variables)
        return (written, *(layer for folder in self.folders for layer in folder.of_group(name)))

    def _merge(self, own: tuple[str, ...]) -> Above:
        names = {"all"}
        waiting = list(own)
        while waiting:
            name = waiting.pop()
            if name not in names:
                names.add(name)
                waiting.extend(self._parents[name])
        layers = tuple(self._layers(sorted(names, key=self._rank.__getitem__)))
        return Above(merged(layers), layers, tuple(sorted(names - {"all"})))

    def _layers(self, ranked: list[str]) -> Iterator[Layer]:
        """Those of these groups, the lowest first; `all` is the first of the groups."""
        for name in ranked:
            layer = self._handed_on(name)
            if layer.variables:
                yield layer
        for folder in self.folders:
            yield from folder.of_group("all")
        for folder in self.folders:
            for name in ranked[1:]:
                yield from folder.of_group(name)

    def _handed_on(self, name: str) -> Layer:
        """What the sources say of a group, without its own priority."""
        variables = self._groups[name].variables
        if PRIORITY in variables:
            variables = {key: value for key, value in variables.items() if key != PRIORITY}
        return Layer(_level(name), variables)


def _level(group: str) -> str:
    return "all" if group == "all" else f"group {group}"


def merged(layers: Iterable[Layer], below: Mapping[str, Variable] | None = None) -> dict[str, Variable]:
    """The variables of all layers over those below; the last one that sets a name wins, whole."""
    made = dict(below or {})
    for layer in layers:
        made.update(layer.variables)
    return made


def priority(variables: Mapping[str, Variable]) -> int:
    """A group's priority, 1 where it has none."""
    variable = variables.get(PRIORITY)
    if variable is None:
        return 1
    value = variable.value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
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
