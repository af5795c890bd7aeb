"""The inventory while its sources are read, one after the other, until it is whole."""

from collections.abc import Sequence

from controller.inventory.graph import Declared, Group, Inventory, members_of
from controller.inventory.names import group_flaw, shown
from controller.inventory.origins import InventoryError, Origin
from controller.inventory.precedence import NOT_WRITTEN, Precedence, depths
from controller.inventory.variables import Variable, VariableNames
from controller.inventory.vars_files import VarsFolder

MOST_NAMED = 300_000
"""Times that hosts may be named, all together: a few lines of ranges would else be more than any memory."""


class GroupDraft:
    """One group so far; hosts and children in declared order, each child with the place that made it one."""

    __slots__ = ("children", "hosts", "variables")

    def __init__(self) -> None:
        self.hosts: dict[str, None] = {}
        self.children: dict[str, Origin] = {}
        self.variables: dict[str, Variable] = {}


class Draft:
    """Groups and hosts of the sources read so far. Later sources add members and override variables."""

    def __init__(self) -> None:
        self.groups: dict[str, GroupDraft] = {"all": GroupDraft(), "ungrouped": GroupDraft()}
        self.hosts: dict[str, Declared] = {}
        self.names = VariableNames()
        self._named = 0

    def group(self, name: str, origin: Origin) -> GroupDraft:
        """The group of that name, made where it is new."""
        group = self.groups.get(name)
        if group is None:
            flaw = group_flaw(name)
            if flaw is not None:
                raise InventoryError.at(origin, f"{shown(name)} is not a group name: {flaw}", "rename the group")
            group = self.groups[name] = GroupDraft()
        return group

    def host(self, name: str, group: str, port: int | None, origin: Origin) -> None:
        """Put the host of that name, made where it is new, into the group. A port counts only where it is new."""
        self._named += 1
        if self._named > MOST_NAMED:
            raise InventoryError.at(origin, f"hosts are named more than {MOST_NAMED:,} times", "shorten the ranges")
        host = self.hosts.get(name)
        if host is None:
            host = self.hosts[name] = Declared()
            if port is not None:
                host.variables["ansible_port"] = Variable(port, origin)
        host.groups[group] = None
        self.groups[group].hosts[name] = None

    def group_variable(self, group: str, name: object, value: object, origin: Origin) -> None:
        """Set a variable of a group; the last one set wins."""
        taken = self.names.take(name, origin)
        if taken is not None:
            self.groups[group].variables[taken] = Variable(value, origin)

    def host_variable(self, host: str, name: object, value: object, origin: Origin) -> None:
        """Set a variable of a host; the last one set wins.

        As with Ansible it is a group's where a group of that name is there already.
        """
        taken = self.names.take(name, origin)
        if taken is not None:
            (self.groups.get(host) or self.hosts[host]).variables[taken] = Variable(value, origin)

    def finish(self, sources: Sequence[str], folders: Sequence[VarsFolder] = ()) -> Inventory:
        """The whole inventory. Raises InventoryError where groups form a circle or a priority is no number."""
        self._adopt()
        order = depths({name: group.children for name, group in self.groups.items()})
        precedence = Precedence(self.groups, order, folders)
        groups = {
            name: Group(name, tuple(group.hosts), tuple(group.children), group.variables)
            for name, group in self.groups.items()
        }
        for name in self.hosts:
            if name in self.groups:
                self.names.warn(f"host and group {name}", f"{shown(name)} is the name of a host and of a group")
        hosts = {name: self.hosts[name] for name in members_of(groups, "all")}
        return Inventory(hosts, groups, tuple(sources), tuple(self.hosts), precedence, self.names)

    def _adopt(self) -> None:
        """Hang what has no parent under `all`, and hosts that are in no other group in `ungrouped`."""
        lone = self.groups["ungrouped"].hosts
        for name, host in self.hosts.items():
            if any(group not in ("all", "ungrouped") for group in host.groups):
                lone.pop(name, None)
                host.groups.pop("ungrouped", None)
            elif name not in lone:
                lone[name] = None
                host.groups["ungrouped"] = None
        parented = {child for group in self.groups.values() for child in group.children}
        top = self.groups["all"]
        written = {name: origin for name, origin in top.children.items() if name != "ungrouped"}
        adopted = {name: NOT_WRITTEN for name in self.groups if name not in parented and name not in top.children}
        adopted.pop("all", None)
        top.children = {"ungrouped": NOT_WRITTEN, **written, **adopted}
