"""What stands in group_vars and host_vars beside a source, read when a host or group that it concerns is asked for."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from controller.inventory.origins import InventoryError, Origin
from controller.inventory.sources import text
from controller.inventory.sources.table import Table
from controller.inventory.variables import Layer, Variable, VariableNames

FOLDERS = ("group_vars", "host_vars")
DEEPEST = 20
"""Folders in folders; a link to its own parent would go on for ever."""

_SUFFIXES = ("", ".yml", ".yaml", ".json")
"""In the order they are looked for; of several files for one name the first is read alone."""


class VarsFolder:
    """The files of one folder that holds a source."""

    def __init__(self, path: Path, names: VariableNames) -> None:
        self._path = path
        self._names = names
        self._entries: dict[str, frozenset[str]] = {}
        self._groups: dict[str, tuple[Layer, ...]] = {}

    def of_group(self, name: str) -> tuple[Layer, ...]:
        """No layer or one. InventoryError where a file is no mapping, or can't be read."""
        known = self._groups.get(name)
        if known is None:
            known = self._groups[name] = self._layer("group_vars", name)
        return known

    def of_host(self, name: str) -> tuple[Layer, ...]:
        """No layer or one, read at each call. InventoryError where a file is no mapping, or can't be read."""
        return self._layer("host_vars", name)

    def entries(self, kind: str) -> Mapping[str, tuple[Path, ...]]:
        """Files and folders by the group (`group_vars`) or host (`host_vars`) they are there for; the first is read."""
        made: dict[str, list[tuple[int, str]]] = {}
        for entry in sorted(self._there(kind)):
            if _counts(entry):
                name, suffix = _split(entry)
                made.setdefault(name, []).append((_SUFFIXES.index(suffix), entry))
        return {name: tuple(self._path / kind / entry for _, entry in sorted(found)) for name, found in made.items()}

    def _layer(self, kind: str, name: str) -> tuple[Layer, ...]:
        there = self._there(kind)
        if not there:
            return ()
        found = next((name + suffix for suffix in _SUFFIXES if name + suffix in there), None)
        if found is None:
            return ()
        variables: dict[str, Variable] = {}
        encrypted: list[str] = []
        for file in _files(self._path / kind / found):
            content = text.read(file)
            if text.is_encrypted(content):
                encrypted.append(str(file))
                self._names.warn(str(file), f"{file}: encrypted as a whole: what it sets is not known here")
            else:
                variables.update(self._variables(file, content))
        return (Layer(f"{kind}/{name}", variables, tuple(encrypted)),)

    def _there(self, kind: str) -> frozenset[str]:
        """The names in the folder; none where it is not there."""
        known = self._entries.get(kind)
        if known is None:
            known = self._entries[kind] = _entries(self._path / kind)
        return known

    def _variables(self, file: Path, content: str) -> Iterator[tuple[str, Variable]]:
        from controller.inventory.sources.yaml_document import parse  # only inventories with such files pay for it

        value, line = parse(content, str(file))
        if value is None:
            return
        if not isinstance(value, Table):
            raise InventoryError.at(Origin(str(file), line), "not a mapping of variables", "write name: value")
        for key, item in value.items():
            origin = Origin(str(file), value.lines[key])
            name = self._names.take(key, origin)
            if name is not None:
                yield name, Variable(item, origin)


def _entries(folder: Path) -> frozenset[str]:
    try:
        return frozenset(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise InventoryError(f"{folder}: can't be read: {error.strerror}; make it a readable folder") from None


def _files(path: Path, depth: int = 1) -> Iterator[Path]:
    """A file alone, or those of a folder, sorted by name, with those of its folders whose name has no extension."""
    if not path.is_dir():
        yield path
        return
    if depth > DEEPEST:
        raise InventoryError(f"{path}: folders are nested deeper than {DEEPEST}; write them flatter (is one a link?)")
    for entry in sorted(_entries(path)):
        if not _counts(entry):
            continue
        inner = path / entry
        if not inner.suffix and inner.is_dir():
            yield from _files(inner, depth + 1)
        elif inner.suffix in _SUFFIXES and not inner.is_dir():
            yield inner


def _counts(entry: str) -> bool:
    return not entry.startswith(".") and not entry.endswith("~")


def _split(entry: str) -> tuple[str, str]:
    """The name that an entry is for, and its suffix."""
    suffix = next((suffix for suffix in _SUFFIXES[1:] if entry.endswith(suffix)), "")
    return entry.removesuffix(suffix), suffix
