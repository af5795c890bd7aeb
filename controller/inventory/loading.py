"""From what `-i` names to one inventory: files, folders, scripts and host lists; all of them or none."""

import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from controller.inventory.draft import Draft
from controller.inventory.graph import Inventory
from controller.inventory.names import shown
from controller.inventory.origins import InventoryError, Origin
from controller.inventory.sources import text
from controller.inventory.sources.ranges import literal
from controller.inventory.vars_files import DEEPEST, FOLDERS, VarsFolder

IGNORED = (".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry")
"""Ends of names that are no sources in a folder."""

_NO_SOURCES = (*FOLDERS, "vars_plugins")
_YAML_SUFFIXES = (".yml", ".yaml", ".json")
_YAML_START = re.compile(r"""---|%YAML|[{]|"[^"]*":(\s|$)|'[^']*':(\s|$)|[^\s=\[:"']+:(\s|$)""")


def load(sources: Sequence[str]) -> Inventory:
    """Read the sources in order into one inventory; later ones add members and override variables.

    A source is a path, or a host list: a text with a comma that is no existing path. Raises InventoryError for the
    first thing that is wrong in any of them; then nothing of the others is used either.
    """
    if not sources:
        raise InventoryError("no inventory is named; name a file with -i")
    draft = Draft()
    folders: list[Path] = []
    for source in sources:
        if is_host_list(source):
            _read_list(source, draft)
        else:
            folders.append(_read_path(source, draft))
    return draft.finish(sources, [VarsFolder(folder, draft.names) for folder in _last_of_each(folders)])


def is_host_list(source: str) -> bool:
    """Whether the text names hosts itself, with commas, and no file."""
    return "," in source and not _exists(source)


def refuse_missing(source: str) -> None:
    """InventoryError with the nearest name where the path is not there."""
    _mode(source, Path(source))


def _exists(source: str) -> bool:
    try:
        return Path(source).exists()
    except (OSError, ValueError):  # a host list longer than a path may be
        return False


def _last_of_each(folders: Iterable[Path]) -> Iterator[Path]:
    """Each folder once, where it comes last: what it sets wins over all that came before it."""
    places = [folder.resolve() for folder in folders]
    last = {place: number for number, place in enumerate(places)}
    yield from (folder for number, folder in enumerate(folders) if last[places[number]] == number)


def _read_list(source: str, draft: Draft) -> None:
    origin = Origin(source, 1)
    entries = [entry.strip() for entry in source.split(",") if entry.strip()]
    if not entries:
        raise InventoryError(f"host list {shown(source)} names no host; write web01,web02 or web01,")
    for entry in entries:
        name, port = literal(entry, origin)
        # As with Ansible, which puts a host it knows from elsewhere behind these, where that is in no group.
        if name not in draft.hosts:
            draft.host(name, "ungrouped", port, origin)


def _read_path(source: str, draft: Draft) -> Path:
    """Read a file or a folder; answers the folder whose group_vars and host_vars go with it."""
    path = Path(source)
    if stat.S_ISDIR(_mode(source, path)):
        for file in _in_folder(path):
            _read_file(file, draft)
        return path
    _read_file(path, draft)
    return path.parent


def _in_folder(folder: Path, depth: int = 1) -> Iterator[Path]:
    """The sources in a folder and in those within it, sorted by name."""
    if depth > DEEPEST:
        raise InventoryError(f"{folder}: folders are nested deeper than {DEEPEST}; write them flatter (is one a link?)")
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise text.unreadable(folder, error) from None
    found = False
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _NO_SOURCES or entry.name.endswith(IGNORED):
            continue
        found = True
        if entry.is_dir():
            yield from _in_folder(entry, depth + 1)
        else:
            yield entry
    if not found:
        raise InventoryError(f"{folder}: no inventory source is in this folder; put one there, or name another")


def _read_file(path: Path, draft: Draft) -> None:
    # Each reader brings its own imports; a command pays for those it needs.
    mode = _mode(str(path), path)
    if not stat.S_ISREG(mode):
        raise InventoryError(f"{path}: not a plain file; name a file")
    if mode & 0o111:
        from controller.inventory.sources import script

        if script.read(path, draft):
            return
    content = text.read(path)
    if text.is_encrypted(content):
        raise InventoryError.at(
            Origin(str(path), 1),
            "a file that ansible-vault encrypted as a whole",
            "encrypt single values instead (ansible-vault encrypt_string), or try --inventory-backend ansible",
        )
    suffix = path.suffix.lower()
    if suffix == ".toml":
        from controller.inventory.sources import toml_source

        toml_source.read(content, str(path), draft)
    elif suffix in _YAML_SUFFIXES or (not suffix and _looks_like_yaml(content)):
        from controller.inventory.sources import yaml_source

        yaml_source.read(content, str(path), draft)
    else:
        from controller.inventory.sources import ini

        ini.read(content, str(path), draft)


def _mode(source: str, path: Path) -> int:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(source, path) from None
    except (OSError, ValueError) as error:
        raise text.unreadable(path, error) from None


def _missing(source: str, path: Path) -> InventoryError:
    import difflib  # only where a name is wrong

    try:
        siblings = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        siblings = []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    mend = f"did you mean {path.with_name(near[0])}?" if near else "name an existing file"
    if not near and "/" not in source and "." not in source:
        mend = f"name an existing file, or write {source}, (with the comma) for a host"
    return InventoryError(f"{source}: no such inventory file; {mend}")


def _looks_like_yaml(content: str) -> bool:
    """Whether the first line that is neither blank nor a comment begins a YAML document, and not an INI one."""
    for raw in content.split("\n"):
        line = raw.strip()
        if line and line[0] not in "#;":
            return _YAML_START.match(line) is not None
    return False
