"""Reads a TOML source: [group] with children, [group.vars] and [group.hosts]."""

import re
import tomllib
from collections.abc import Iterator, Mapping

from controller.inventory.draft import Draft
from controller.inventory.names import shown
from controller.inventory.origins import InventoryError, Origin
from controller.inventory.sources.groups import Groups
from controller.inventory.sources.table import Table
from controller.inventory.variables import MAX_NUMBER, check_numbers, too_long

_NOT_TOML = re.compile(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", re.DOTALL)
# What ends a statement, or may hold a line's end that does not: strings first, longest first.
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}\n]', re.DOTALL
)
_HEADER = re.compile(r"""\[\[?((?:"(?:\\.|[^"\\\n])*"|'[^'\n]*'|[^]"'\n])+)\]""")
_KEY = re.compile(r"""(?:"(?:\\.|[^"\\\n])*"|'[^'\n]*'|[^="'\n])+""")
_HUGE = re.compile(rf"[0-9_]{{{MAX_NUMBER},}}")

MAX_NESTING = 100

Path = tuple[str, ...]


def read(text: str, file: str, draft: Draft) -> None:
    """Add a TOML source's groups, hosts and variables to the draft. Raises InventoryError at what is wrong."""
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = _NOT_TOML.fullmatch(str(error))
        what, number = (found[1], found[2]) if found else ("nested too deep", None)
        line = int(number) if number else text.count("\n") + 1
        raise InventoryError.at(Origin(file, line), f"not TOML: {what}", "correct the line") from None
    except ValueError:  # Python's own limit on digits; the parser doesn't say where
        number = next((number for number, line in enumerate(text.split("\n"), 1) if _HUGE.search(line)), 1)
        raise too_long(Origin(file, number)) from None
    lines = _lines(text)
    table = _table(content, (), lines, 1, file)
    groups = Groups(file, draft)
    if "plugin" in content:
        what = f"the configuration of the inventory plugin {shown(content['plugin'])}, which only Ansible can run"
        groups.refuse(table, "plugin", what, "try --inventory-backend ansible")
    groups.take(_with_children(table, file, draft))


def _with_children(content: Table, file: str, draft: Draft) -> Table:
    """The groups with their children, a list in TOML, as a mapping of names. Each must be a group of its own."""
    for name, group in content.items():
        if not isinstance(group, Table) or "children" not in group:
            continue
        origin = Origin(file, group.lines["children"])
        children = group["children"]
        if not isinstance(children, list) or not all(isinstance(child, str) for child in children):
            raise InventoryError.at(origin, "children is no list of group names", 'write children = ["name"]')
        entries = Table()
        for child in children:
            if child not in content and child not in draft.groups:
                what = f"group {shown(child)}, a child of {shown(name)}, is not declared"
                raise InventoryError.at(origin, what, f"add a table [{child}.hosts]")
            entries[child] = None
            entries.lines[child] = origin.line
        group["children"] = entries
    return content


def _table(content: Mapping[str, object], path: Path, lines: Mapping[Path, int], line: int, file: str) -> Table:
    """The mapping with the line of each key; a key within a value has the line where its statement begins."""
    table = Table()
    if len(path) > MAX_NESTING:
        raise InventoryError.at(Origin(file, line), f"nested deeper than {MAX_NESTING}", "write it flatter")
    for key, value in content.items():
        here = lines.get((*path, key), line)
        table.lines[key] = here
        if isinstance(value, dict):
            table[key] = _table(value, (*path, key), lines, here, file)
        else:
            check_numbers(value, Origin(file, here))
            table[key] = value
    return table


def _lines(text: str) -> dict[Path, int]:
    """The line on which each table and each key is first written. The text is known to be TOML."""
    found: dict[Path, int] = {}
    table: Path = ()
    for number, statement in _statements(text):
        if statement[0] == "[":
            header = _HEADER.match(statement)
            path = table = _path(f"{header[1]} = 0") if header else ()
        else:
            key = _KEY.match(statement)
            path = (*table, *_path(f"{key[0]} = 0")) if key else table
        for length in range(1, min(len(path), MAX_NESTING) + 1):
            found.setdefault(path[:length], number)
    return found


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each header and each `key = value`, with the number of its first line."""
    begin, number, depth = 0, 1, 0
    for token in _TOKEN.finditer(text + "\n"):
        kind = token[0]
        if kind in ("[", "{"):
            depth += 1
        elif kind in ("]", "}"):
            depth -= 1
        elif kind == "\n" and depth == 0:
            statement = text[begin : token.start()]
            plain = statement.strip()
            if plain and plain[0] != "#":
                yield number, plain
            number += statement.count("\n") + 1
            begin = token.end()


def _path(key: str) -> Path:
    """The parts of a dotted key, by the parser that knows their quotes."""
    value: object = tomllib.loads(key)
    parts = []
    while isinstance(value, dict):
        ((part, value),) = value.items()
        parts.append(part)
    return tuple(parts)
