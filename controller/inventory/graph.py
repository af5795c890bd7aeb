"""The inventory as it is used: hosts, groups, variables, and where each value was written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from controller.inventory.names import printable


@dataclass(frozen=True, slots=True)
class Origin:
    """A place in a source, `file:line`; lines count from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class InventoryError(Exception):
    """Something in an inventory, or in a pattern over it, is wrong. The message is one line and ends with the mend."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))

    @classmethod
    def at(cls, origin: Origin, what: str, mend: str) -> Self:
        """The error for what stands at a place in a source."""
        return cls(f"{origin}: {what}; {mend}")


@dataclass(frozen=True, slots=True)
class Variable:
    """A value and where it was written. It is str, int, float, bool, None, a date, or a list or dict of these."""

    value: object
    origin: Origin


@dataclass(frozen=True, slots=True)
class Host:
    """One host: its variables with its groups' merged in, and the sorted names of all groups above it but `all`."""

    name: str
    variables: Mapping[str, Variable]
    groups: tuple[str, ...]


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
    `groups` has all and ungrouped first, then the others as declared. `warnings` are lines for the user.
    """

    hosts: Mapping[str, Host]
    groups: Mapping[str, Group]
    sources: tuple[str, ...]
    declared: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    _members: dict[str, tuple[str, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def members(self, group_name: str) -> tuple[str, ...]:
        """The hosts of a group: its own first, then its descendants' level by level, each once.

        Raises KeyError for a group that does not exist.
        """
        known = self._members.get(group_name)
        if known is None:
            known = self._members[group_name] = members_of(self.groups, group_name)
        return known


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
