"""A file's text, bounded, and as UTF-8 or not at all."""

import stat
from pathlib import Path

from controller.inventory.origins import InventoryError, Origin

MAX_BYTES = 8 * 1024 * 1024
"""The largest source that is read."""

_VAULT = "$ANSIBLE_VAULT"


def read(path: Path) -> str:
    """The text without a byte order mark. InventoryError where it can't be read, is too large, or is no text."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            # A pipe would be waited for.
            raise InventoryError(f"{path}: not a plain file; name a file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    if len(content) > MAX_BYTES:
        raise InventoryError(f"{path}: larger than {MAX_BYTES // 1024**2} MiB; split it into several files")
    return decoded(content, str(path))


def decoded(content: bytes, source: str) -> str:
    """The bytes of a source as text. InventoryError for a NUL, and for what is not UTF-8 outside of comments."""
    nul = content.find(b"\0")
    if nul >= 0:
        raise InventoryError.at(Origin(source, content.count(b"\n", 0, nul) + 1), "a NUL byte", "take it out")
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "\n".join(_line(source, number, line) for number, line in enumerate(content.split(b"\n"), start=1))


def is_encrypted(content: str) -> bool:
    """Whether ansible-vault encrypted the whole file."""
    return content.startswith(_VAULT)


def unreadable(path: Path, error: Exception) -> InventoryError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InventoryError(f"{path}: can't be read: {reason}; name a readable file")


def _line(source: str, number: int, line: bytes) -> str:
    """One line of a file that is not UTF-8 throughout; a comment may be anything."""
    if line.lstrip()[:1] in (b"#", b";"):
        return ""
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise InventoryError.at(Origin(source, number), "not UTF-8", "convert the file to UTF-8") from None
