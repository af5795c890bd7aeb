"""Reads a TOML file field by field: each refusal names the file, the line, the field and the mend."""

import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

LARGEST = 1e18


class ConfigError(Exception):
    """Bad configuration, as one line for a person."""


@dataclass(frozen=True)
class Table:
    """One table of a file. `path` is its dotted name; `index` counts the tables of an array, from 0."""

    file: Path
    text: str
    path: tuple[str, ...]
    values: Mapping[str, object]
    index: int | None = None
    known: set[str] = field(default_factory=set, compare=False)

    def refuse(self, key: str, problem: str) -> ConfigError:
        name = ".".join((*self.path, key)) if key else ".".join(self.path)
        name = name if name.isprintable() else ascii(name)
        return ConfigError(f"{self.file}:{self.line(key)}: {name}: {problem}")

    def line(self, key: str) -> int:
        """The line on which a key of this table stands, else that of the table's head."""
        head = 1
        for number, name, index, found in _keys(self.text):
            if name != self.path or (self.index is not None and index != self.index):
                continue
            if found == key:
                return number
            if not found:
                head = number
        return head

    def text_of(self, key: str, default: str = "") -> str:
        value = self._take(key, default)
        if not isinstance(value, str):
            raise self.refuse(key, f"is {_kind(value)}, and must be text in quotes")
        return self._plain(key, value)

    def name_of(self, key: str, default: str, allowed: re.Pattern[str], what: str) -> str:
        """A text that is a name: it stands in findings, commands and connections."""
        value = self.text_of(key, default)
        if value and not allowed.fullmatch(value):
            raise self.refuse(key, f"{value!r} is no name of {what}")
        return value

    def _plain(self, key: str, value: str) -> str:
        """Nothing here needs a sign that can't be seen, and a NUL ends a path where the system reads it."""
        if not value.isprintable():
            raise self.refuse(key, f"{ascii(value)} holds a control or invisible character")
        return value

    def integer(self, key: str, default: int, least: int, most: int) -> int:
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.refuse(key, f"is {value!r}, and must be a whole number from {least} to {most}")
        return value

    def number(self, key: str, default: float) -> float:
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(key, f"is {_kind(value)}, and must be a number")
        if isinstance(value, float) and not math.isfinite(value):
            raise self.refuse(key, f"is {value}, and must be a number")
        if abs(value) > LARGEST:
            raise self.refuse(key, f"must be a number of at most {LARGEST:g}")
        return float(value)

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self.refuse(key, f"is {_kind(value)}, and must be true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._take(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.refuse(key, 'must be a list of texts, such as ["a", "b"]')
        return tuple(self._plain(key, item) for item in value)

    def table(self, key: str) -> "Table":
        value = self._take(key, {})
        if not isinstance(value, dict):
            raise self.refuse(key, f"is {_kind(value)}, and must be a table: [{'.'.join((*self.path, key))}]")
        return Table(self.file, self.text, (*self.path, key), value)

    def tables(self, key: str) -> list["Table"]:
        value = self._take(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.refuse(key, f"must be written as [[{'.'.join((*self.path, key))}]]")
        return [Table(self.file, self.text, (*self.path, key), item, index) for index, item in enumerate(value)]

    def _take(self, key: str, default: object) -> object:
        self.known.add(key)
        return self.values.get(key, default)

    def end(self) -> None:
        """Refuses what was not asked for: a misspelt key must not be silently without effect."""
        for key in self.values:
            if key not in self.known:
                close = get_close_matches(key, sorted(self.known), n=1)
                mend = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(sorted(self.known))}"
                raise self.refuse(key, f"is not known; {mend}")


def read(file: Path, text: str) -> Table:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = found[1] if found else str(text.count("\n") + 1)
        raise ConfigError(f"{file}:{line}: not TOML: {str(error).partition(' (at ')[0]}") from error
    except RecursionError as error:
        raise ConfigError(f"{file}:1: not TOML for us: nested too deeply") from error
    return Table(file, text, (), values)


_HEAD = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:"[^"]*"|'[^']*'|[\w-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[\w-]+))*)\s*=""")


def _keys(text: str) -> Iterator[tuple[int, tuple[str, ...], int | None, str]]:
    """Line, table, index in an array of tables and key, for each head (key "") and each key of a file."""
    table: tuple[str, ...] = ()
    index: int | None = None
    counts: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if head := _HEAD.match(line):
            table = _dotted(head[2])
            index = None
            if head[1] == "[[":
                index = counts.get(table, -1) + 1
                counts[table] = index
            yield number, table, index, ""
        elif key := _KEY.match(line):
            *inner, last = _dotted(key[1])
            yield number, (*table, *inner), index, last


def _dotted(name: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in re.findall(r""""[^"]*"|'[^']*'|[^.]+""", name))


def _kind(value: object) -> str:
    names: Sequence[tuple[type, str]] = ((bool, "true or false"), (str, "text"), (int, "a number"), (float, "a number"))
    return next((name for kind, name in names if isinstance(value, kind)), f"a {type(value).__name__}")
