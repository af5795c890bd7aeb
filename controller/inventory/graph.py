"""The inventory as it is used: hosts and groups in their order, and a host's variables when it is asked for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controller.inventory.precedence import Precedence, merged
from controller.inventory.variables import Layer, Variable, VariableNames


@dataclass(slots=True)
class Declared:
    """One host as its sources declare it: its own variables and the groups that name it, in declared order."""

    groups: dict[str, None] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Host:
    """One host: its variables, those of its last layer winning, and the sorted names of all groups above but `all`."""

    name: str
    variables: Mapping[str, Variable]
    groups: tuple[str, ...]
    layers: tuple[Layer, ...] = ()

    @property
    def encrypted(self) -> tuple[str, ...]:
        """Files with variables of this host that are encrypted as a whole."""
        return tuple(file for layer in self.layers for file in layer.encrypted)


@dataclass(frozen=True, slots=True)
class Group:
    """One group as written: its own hosts, children and variables, each in declared order.

    `hosts` of `all` are those declared in `all` itself; a host that is in no other group is in `ungrouped` too.
    """

    name: str
    hosts: tuple[str, ...]
    children: tuple[str, ...]
    variables: Mapping[str, Variable]


@dataclass(frozen=True, slots=True)
class Inventory:
    """All sources merged.

    `hosts` is in the order of `all`, `declared` names them in the order of their first appearance (a glob's order), and
    `groups` has all and ungrouped first, then the others as declared. What is in group_vars and host_vars is read when
    a host that it concerns is asked for.
    """

    hosts: Mapping[str, Declared]
    groups: Mapping[str, Group]
    sources: tuple[str, ...]
    declared: tuple[str, ...]
    precedence: Precedence = field(repr=False, compare=False)
    names: VariableNames = field(repr=False, compare=False)
    _members: dict[str, tuple[str, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def host(self, name: str) -> Host:
        """A host with all its variables. InventoryError where one of their files is wrong, KeyError for no host."""
        above = self.precedence.above(tuple(self.hosts[name].groups))
        own = self.own(name)
        variables = merged(own, above.variables) if own else above.variables
        return Host(name, variables, above.groups, (*above.layers, *own))

    def own(self, name: str) -> tuple[Layer, ...]:
        """The variables of a host alone, without those of its groups."""
        return self.precedence.own(name, self.hosts[name].variables)

    def resolved(self, names: Iterable[str]) -> tuple[Host, ...]:
        """Those hosts, each with all its variables, in the order given."""
        return tuple(self.host(name) for name in names)

    def members(self, group_name: str) -> tuple[str, ...]:
        """The hosts of a group: its own first, then its descendants' level by level, each once.

        Raises KeyError for a group that does not exist.
        """
        known = self._members.get(group_name)
        if known is None:
            known = self._members[group_name] = members_of(self.groups, group_name)
        return known

    @property
    def warnings(self) -> tuple[str, ...]:
        """Lines for the user about what was read so far."""
        return self.names.warnings


def members_of(groups: Mapping[str, Group], group_name: str) -> tuple[str, ...]:
    """The hosts of a group, breadth first in declared order."""
    hosts = dict.fromkeys(groups[group_name].hosts)
    seen = {group_name}
    level = groups[group_name].children
    while level:
        fresh = [child for child in dict.fromkeys(level) if child not in seen]
        seen.update(fresh)
        for child in fresh:
            hosts.update(dict.fromkeys(groups[child].hosts))
        level = tuple(grandchild for child in fresh for grandchild in groups[child].children)
    return tuple(hosts)
