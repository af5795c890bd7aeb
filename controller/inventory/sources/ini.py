"""Reads an INI source: sections of hosts, of children and of variables, line by line."""

import re
import shlex

from controller.inventory.draft import Draft
from controller.inventory.names import group_flaw, shown
from controller.inventory.origins import InventoryError, Origin
from controller.inventory.sources.literals import value_of
from controller.inventory.sources.ranges import expand

_SECTION = re.compile(r"\[([^:\[\]\s]+)(?::([^\[\]]*))?\]\s*(?:#.*)?")
_BROKEN_SECTION = re.compile(r"\[[^\]]*(?:\]\s*(?:#.*)?)?|\[[^\]\s]*\s.*")
_CHILD = re.compile(r"([^:\[\]\s]+)\s*(?:#.*)?")
_WORD = re.compile(r"[^ \t\r\n]+")
_KINDS = ("hosts", "children", "vars")


def read(text: str, file: str, draft: Draft) -> None:
    """Add an INI source's groups, hosts and variables to the draft. Raises InventoryError at the first wrong line."""
    reader = _Reader(file, draft)
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if line and line[0] not in "#;":
            reader.line(line, Origin(file, number))
    reader.finish()


class _Reader:
    """Where the reader stands: the section, and the groups that are named but not declared yet."""

    def __init__(self, file: str, draft: Draft) -> None:
        self._draft = draft
        self._group = "ungrouped"
        self._kind = "hosts"
        self._declared = set(draft.groups)
        self._parents: dict[str, list[tuple[str, Origin]]] = {}
        self._vars: dict[str, Origin] = {}

    def line(self, line: str, origin: Origin) -> None:
        """Take one line that is neither blank nor a comment."""
        if line[0] == "[":
            section = _SECTION.fullmatch(line)
            if section is not None:
                self._section(section[1], section[2], origin)
                return
            if line[-1] == "]" or _BROKEN_SECTION.fullmatch(line):
                raise InventoryError.at(
                    origin,
                    f"{shown(line)} is not a section",
                    "write [group], [group:children] or [group:vars], with no blank in the name",
                )
        if self._kind == "hosts":
            self._host(line, origin)
        elif self._kind == "vars":
            self._variable(line, origin)
        else:
            self._child(line, origin)

    def finish(self) -> None:
        """Refuse groups that were named and never declared."""
        for name, waiting in self._parents.items():
            parent, origin = waiting[0]
            what = f"group {shown(name)}, a child of {shown(parent)}, is not declared"
            raise InventoryError.at(origin, what, _declare(name))
        for name, origin in self._vars.items():
            if name not in self._declared:
                what = f"variables for group {shown(name)}, which is not declared"
                raise InventoryError.at(origin, what, _declare(name))

    def _section(self, name: str, kind: str | None, origin: Origin) -> None:
        kind = "hosts" if kind is None else kind
        if kind not in _KINDS:
            raise InventoryError.at(
                origin, f"section kind {shown(kind)} is unknown", "use hosts, children or vars after the colon"
            )
        self._group, self._kind = name, kind
        self._draft.group(name, origin)
        if kind == "vars":
            self._vars.setdefault(name, origin)
            return
        self._declared.add(name)
        for parent, where in self._parents.pop(name, ()):
            self._draft.groups[parent].children.setdefault(name, where)

    def _host(self, line: str, origin: Origin) -> None:
        words = _words(line, origin)
        if not words:
            return
        variables = [_pair(word, number, origin) for number, word in enumerate(words[1:], start=2)]
        names, port = expand(words[0], origin)
        for name in names:
            self._draft.host(name, self._group, port, origin)
            for key, value in variables:
                self._draft.host_variable(name, key, value, origin)

    def _variable(self, line: str, origin: Origin) -> None:
        name, equals, value = line.partition("=")
        if not equals:
            raise InventoryError.at(origin, "a line of a vars section has no '='", "write name=value")
        self._draft.group_variable(self._group, name.strip(), value_of(value.strip(), origin), origin)

    def _child(self, line: str, origin: Origin) -> None:
        child = _CHILD.fullmatch(line)
        if child is None:
            raise InventoryError.at(
                origin, f"{shown(line)} is not one group name", "write one child group a line, without variables"
            )
        name = child[1]
        # A section of its variables makes a group known here, though it does not declare it.
        if name in self._declared or name in self._vars:
            self._draft.groups[self._group].children.setdefault(name, origin)
        else:
            self._parents.setdefault(name, []).append((self._group, origin))


def _words(line: str, origin: Origin) -> list[str]:
    """The line split as a shell does, where `#` begins a comment even inside a word."""
    if '"' not in line and "'" not in line and "\\" not in line:
        return _WORD.findall(line.partition("#")[0])
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        raise InventoryError.at(origin, "a quote is not closed", "close it, or escape it with a backslash") from None


def _pair(word: str, number: int, origin: Origin) -> tuple[str, object]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        # The word itself may be the second half of a password with a blank in it: it is not shown.
        mend = "begin a comment with #" if word.startswith(";") else "put values with blanks in quotes"
        raise InventoryError.at(origin, f"word {number} of the host line is not name=value", mend)
    return name, value_of(value, origin)


def _declare(name: str) -> str:
    return "write the name of a group there" if group_flaw(name) else f"add a section [{name}]"
