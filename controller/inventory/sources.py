"""From what `-i` names to one inventory: files in INI, YAML or JSON, and host lists; all of them or none."""

import re
import stat
from collections.abc import Sequence
from pathlib import Path

from controller.inventory.draft import Draft
from controller.inventory.graph import Inventory, InventoryError, Origin
from controller.inventory.names import shown
from controller.inventory.ranges import literal

MAX_BYTES = 8 * 1024 * 1024
"""The largest source that is read."""

_YAML_SUFFIXES = (".yml", ".yaml", ".json")
_YAML_START = re.compile(r"""---|%YAML|[{]|"[^"]*":(\s|$)|'[^']*':(\s|$)|[^\s=\[:"']+:(\s|$)""")
_LATER = "a later version reads them"


def load(sources: Sequence[str]) -> Inventory:
    """Read the sources in order into one inventory; later ones add members and override variables.

    A source is a path, or a host list: a text with a comma that is no existing path. Raises InventoryError for the
    first thing that is wrong in any of them; then nothing of the others is used either.
    """
    if not sources:
        raise InventoryError("no inventory is named; name a file with -i")
    draft = Draft()
    for source in sources:
        if "," in source and not _exists(source):
            _read_list(source, draft)
        else:
            _read_file(source, draft)
    return draft.finish(sources)


def _exists(source: str) -> bool:
    try:
        return Path(source).exists()
    except (OSError, ValueError):  # a host list longer than a path may be
        return False


def _read_list(source: str, draft: Draft) -> None:
    origin = Origin(source, 1)
    entries = [entry.strip() for entry in source.split(",") if entry.strip()]
    if not entries:
        raise InventoryError(f"host list {shown(source)} names no host; write web01,web02 or web01,")
    for entry in entries:
        name, port = literal(entry, origin)
        draft.host(name, "ungrouped", port, origin)


def _read_file(source: str, draft: Draft) -> None:
    path = Path(source)
    _check_kind(source, path)
    text = _text(source, path)
    # Each reader brings its own imports; a command pays for those it needs.
    if path.suffix.lower() in _YAML_SUFFIXES or (not path.suffix and _looks_like_yaml(text)):
        from controller.inventory import yaml_source

        yaml_source.read(text, source, draft)
    else:
        from controller.inventory import ini

        ini.read(text, source, draft)


def _check_kind(source: str, path: Path) -> None:
    """Refuse what is no plain file of a kind that this version reads."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(source, path) from None
    except (OSError, ValueError) as error:
        raise _unreadable(source, error) from None
    for folder in ("group_vars", "host_vars"):
        if stat.S_ISREG(mode) and path.with_name(folder).is_dir():
            raise InventoryError(
                f"{source}: {folder} beside it: {_LATER}; write the variables into the file, or move it"
            )
    if stat.S_ISDIR(mode):
        raise InventoryError(
            f"{source}: a directory as an inventory source: {_LATER}; name the files in it with -i each"
        )
    if not stat.S_ISREG(mode):
        raise InventoryError(f"{source}: not a plain file; name a file")
    if path.suffix.lower() == ".toml":
        raise InventoryError(f"{source}: TOML sources: {_LATER}; write it as INI or YAML")
    if mode & 0o111:
        raise InventoryError(
            f"{source}: executable sources: {_LATER}; if it is a plain file, take its x bit away with chmod -x"
        )


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


def _unreadable(source: str, error: Exception) -> InventoryError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InventoryError(f"{source}: can't be read: {reason}; name a readable file")


def _text(source: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(source, error) from None
    if len(content) > MAX_BYTES:
        raise InventoryError(f"{source}: larger than {MAX_BYTES // 1024**2} MiB; split it into several files")
    nul = content.find(b"\0")
    if nul >= 0:
        raise InventoryError.at(Origin(source, content.count(b"\n", 0, nul) + 1), "a NUL byte", "take it out")
    content = content.removeprefix(b"\xef\xbb\xbf")
    if content.startswith(b"$ANSIBLE_VAULT"):
        raise InventoryError.at(Origin(source, 1), f"a vaulted file: {_LATER}", "name a plain file")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "\n".join(_line(source, number, line) for number, line in enumerate(content.split(b"\n"), start=1))


def _line(source: str, number: int, line: bytes) -> str:
    """One line of a file that is not UTF-8 throughout; a comment may be anything."""
    if line.lstrip()[:1] in (b"#", b";"):
        return ""
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise InventoryError.at(Origin(source, number), "not UTF-8", "convert the file to UTF-8") from None


def _looks_like_yaml(text: str) -> bool:
    """Whether the first line that is neither blank nor a comment begins a YAML document, and not an INI one."""
    for raw in text.split("\n"):
        line = raw.strip()
        if line and line[0] not in "#;":
            return _YAML_START.match(line) is not None
    return False
