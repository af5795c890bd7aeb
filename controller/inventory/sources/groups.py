"""From a mapping of group names, each with hosts, vars and children, to groups and hosts of the draft."""

from typing import NoReturn

from controller.inventory.draft import Draft
from controller.inventory.names import shown
from controller.inventory.origins import InventoryError, Origin
from controller.inventory.sources.ranges import expand
from controller.inventory.sources.table import Table

SHAPE = "write a mapping of group names, each with hosts, vars or children"


class Groups:
    """Walks the groups of one file into the draft."""

    def __init__(self, file: str, draft: Draft) -> None:
        self._file = file
        self._draft = draft

    def take(self, content: Table) -> None:
        """Take the groups of a whole file. InventoryError at the first thing that is wrong."""
        for name, body in content.items():
            self._group(name, body, content)

    def refuse(self, table: Table, key: object, what: str, mend: str) -> NoReturn:
        """Raise the error for a key of a mapping."""
        raise InventoryError.at(Origin(self._file, table.lines[key]), what, mend)

    def _group(self, name: object, body: object, around: Table) -> str:
        """Take one group and those inside it; answers its name."""
        origin = Origin(self._file, around.lines[name])
        text = self._name(name, "group", origin)
        self._draft.group(text, origin)
        if body is None:
            return text
        if not isinstance(body, Table):
            raise InventoryError.at(origin, f"group {shown(text)} is not a mapping", SHAPE)
        for key, content in body.items():
            if key == "hosts":
                self._hosts(text, self._entries(body, "hosts", content))
            elif key == "children":
                self._children(text, self._entries(body, "children", content))
            elif key == "vars":
                self._variables(text, self._entries(body, "vars", content))
            else:
                self.refuse(
                    body, key, f"unknown key {shown(key)} in group {shown(text)}", "use hosts, vars or children"
                )
        return text

    def _entries(self, body: Table, key: str, content: object) -> Table:
        """What stands under hosts, children or vars: a mapping, nothing, or (not for vars) one name alone."""
        if isinstance(content, Table):
            return content
        if isinstance(content, list) and key != "vars":
            self.refuse(body, key, f"{key} is a list", "write 'name:' with a colon instead of '- name'")
        entries = Table()
        if isinstance(content, str) and key != "vars":
            entries[content] = None
            entries.lines[content] = body.lines[key]
        elif content is not None:
            self.refuse(body, key, f"{key} is not a mapping", "write name: value below it")
        return entries

    def _hosts(self, group: str, entries: Table) -> None:
        draft = self._draft
        for entry, content in entries.items():
            line = entries.lines[entry]
            origin = Origin(self._file, line)
            names, port = expand(self._name(entry, "host", origin), origin)
            if content is not None and not isinstance(content, Table):
                raise InventoryError.at(
                    origin, f"the variables of host {shown(entry)} are not a mapping", "write name: value below it"
                )
            for name in names:
                draft.host(name, group, port, origin)
            if content is None:
                continue
            lines = content.lines
            for key, value in content.items():
                where = origin if lines[key] == line else Origin(self._file, lines[key])
                for name in names:
                    draft.host_variable(name, key, value, where)

    def _children(self, group: str, entries: Table) -> None:
        for child, body in entries.items():
            name = self._group(child, body, entries)
            self._draft.groups[group].children.setdefault(name, Origin(self._file, entries.lines[child]))

    def _variables(self, group: str, entries: Table) -> None:
        for key, value in entries.items():
            self._draft.group_variable(group, key, value, Origin(self._file, entries.lines[key]))

    def _name(self, name: object, kind: str, origin: Origin) -> str:
        if isinstance(name, str):
            return name
        raise InventoryError.at(origin, f"{kind} {shown(name)} is read as {type(name).__name__}", "put it in quotes")
