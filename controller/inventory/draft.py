"""The inventory while its sources are read, one after the other, until it is whole."""

import re
from collections.abc import Iterable

from controller.inventory.graph import Group, Host, Inventory, InventoryError, Origin, Variable, members_of
from controller.inventory.names import group_flaw, printable, shown
from controller.inventory.precedence import NOT_WRITTEN, Precedence, depths

RESERVED = frozenset({"inventory_hostname", "groups", "hostvars", "group_names"})
"""Names that the inventory itself answers; a source's own are dropped with a warning."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class GroupDraft:
    """One group so far; hosts and children in declared order, each child with the place that made it one."""

    __slots__ = ("children", "hosts", "variables")

    def __init__(self) -> None:
        self.hosts: dict[str, None] = {}
        self.children: dict[str, Origin] = {}
        self.variables: dict[str, Variable] = {}


class HostDraft:
    """One host so far: its own variables and the groups that name it, in declared order."""

    __slots__ = ("groups", "variables")

    def __init__(self) -> None:
        self.groups: dict[str, None] = {}
        self.variables: dict[str, Variable] = {}


class Draft:
    """Groups and hosts of the sources read so far. Later sources add members and override variables."""

    def __init__(self) -> None:
        self.groups: dict[str, GroupDraft] = {"all": GroupDraft(), "ungrouped": GroupDraft()}
        self.hosts: dict[str, HostDraft] = {}
        self._warnings: dict[str, str] = {}
        self._plain_names: set[str] = set()

    def group(self, name: str, origin: Origin) -> GroupDraft:
        """The group of that name, made where it is new."""
        group = self.groups.get(name)
        if group is None:
            flaw = group_flaw(name)
            if flaw is not None:
                raise InventoryError.at(origin, f"{shown(name)} is not a group name: {flaw}", "rename the group")
            group = self.groups[name] = GroupDraft()
        return group

    def host(self, name: str, group: str, port: int | None, origin: Origin) -> HostDraft:
        """The host of that name, now in that group. Its port counts only where the host is new."""
        host = self.hosts.get(name)
        if host is None:
            host = self.hosts[name] = HostDraft()
            if port is not None:
                host.variables["ansible_port"] = Variable(port, origin)
        host.groups[group] = None
        self.groups[group].hosts[name] = None
        return host

    def variable(self, target: GroupDraft | HostDraft, name: object, value: object, origin: Origin) -> None:
        """Set a variable of a group or a host; the last one set wins."""
        if name in self._plain_names or self._is_kept(name, origin):
            assert isinstance(name, str)
            target.variables[name] = Variable(value, origin)

    def _is_kept(self, name: object, origin: Origin) -> bool:
        if not isinstance(name, str) or not name:
            raise InventoryError.at(
                origin, f"{shown(name)} is not a variable name", "write a name of letters, digits and _, in quotes"
            )
        if name in RESERVED:
            self._warn(name, f"{origin}: {name} is a reserved name; the line is ignored")
            return False
        if not _IDENTIFIER.fullmatch(name):
            self._warn(name, f"{origin}: {shown(name)} is no identifier; templates will not find it")
        else:
            self._plain_names.add(name)
        return True

    def _warn(self, name: str, text: str) -> None:
        self._warnings.setdefault(name, printable(text))

    def finish(self, sources: Iterable[str]) -> Inventory:
        """The whole inventory. Raises InventoryError where groups form a circle or a priority is no number."""
        self._adopt()
        order = depths({name: group.children for name, group in self.groups.items()})
        precedence = Precedence(self.groups, order)
        groups = {
            name: Group(name, tuple(group.hosts), tuple(group.children), group.variables)
            for name, group in self.groups.items()
        }
        hosts: dict[str, Host] = {}
        for name in members_of(groups, "all"):
            draft = self.hosts[name]
            above = precedence.of(tuple(draft.groups))
            merged = {**above.variables, **draft.variables} if draft.variables else above.variables
            hosts[name] = Host(name, merged, above.groups)
        return Inventory(hosts, groups, tuple(sources), tuple(self.hosts), tuple(self._warnings.values()))

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
