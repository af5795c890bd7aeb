"""Files that are whole or not there: written beside their place, synced, and then moved into it."""

import os
import tempfile
from pathlib import Path


def replace(place: Path, content: str | bytes, mode: int = 0o666) -> None:
    """The file with this content, instead of what may have been there. OSError names the place."""
    fresh = _beside(place, content, mode)
    try:
        fresh.replace(place)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    _sync(place.parent)


def create(place: Path, text: str) -> None:
    """The file with this text, where there is none. FileExistsError where there is: nothing is overwritten."""
    fresh = _beside(place, text, 0o666)
    try:
        # A link, unlike a move, fails where another command was faster.
        place.hardlink_to(fresh)
    except FileExistsError:
        raise
    except OSError:
        # A file system without links.
        if place.exists():
            raise FileExistsError(f"{place} is there") from None
        fresh.replace(place)
    finally:
        fresh.unlink(missing_ok=True)
    _sync(place.parent)


def _beside(place: Path, content: str | bytes, mode: int) -> Path:
    """A synced file in the same folder, under a name that nobody else has."""
    # Of a fixed length: a name may be as long as a name can be.
    descriptor, name = tempfile.mkstemp(prefix=".writing-", dir=place.parent)
    fresh = Path(name)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fchmod(file.fileno(), mode & ~_umask())
            os.fsync(file.fileno())
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    return fresh


def _umask() -> int:
    """There is no way to ask without setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
