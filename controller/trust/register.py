"""What the authorities did, line by line: every certificate made or denied, by whom, when and why."""

import fcntl
import json
import os
import pwd
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from controller.trust.files import TrustError

NAME = "register.jsonl"
ISSUED, RENEWED, REVOKED, BREAK_GLASS = "issued", "renewed", "revoked", "break-glass"
MADE = frozenset({ISSUED, RENEWED, BREAK_GLASS})
# A command holds it for as long as it takes to sign: milliseconds.
PATIENCE = 10.0
PAUSE = 0.02
FORM = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Entry:
    """`what` was done to whose certificate; `kind` is agent, operator or authority; `serial` upper-case hexadecimal."""

    at: datetime
    what: str
    kind: str
    name: str
    role: str
    serial: str
    begins: datetime
    ends: datetime
    reason: str = ""
    actor: str = ""


@dataclass(frozen=True, slots=True)
class Register:
    """What could be read of it, in the order it was written, and the lines that could not."""

    entries: tuple[Entry, ...]
    unread: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """The register while nobody else writes it."""

    file: Path
    descriptor: int

    def append(self, *entries: Entry) -> None:
        """All of them on the disk, or none. TrustError where it can't be written: then nothing may be handed out."""
        end = os.lseek(self.descriptor, 0, os.SEEK_END)
        torn = end and os.pread(self.descriptor, 1, end - 1) != b"\n"
        text = "\n" * bool(torn) + "".join(f"{_line(entry)}\n" for entry in entries)
        try:
            try:
                left = memoryview(text.encode())
                while left:
                    left = left[os.write(self.descriptor, left) :]
                os.fsync(self.descriptor)
            except OSError:
                os.ftruncate(self.descriptor, end)
                raise
        except OSError as error:
            raise TrustError(f"{self.file}: can't be written: {error.strerror}; nothing was signed") from error


def serial(number: int) -> str:
    return f"{number:X}"


@contextmanager
def held(folder: Path, patience: float = PATIENCE) -> Iterator[Held]:
    """The register of a folder for one writer alone; it is made where there is none. TrustError after `patience` s."""
    file = folder / NAME
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TrustError(f"{file}: can't be opened: {error.strerror}; nothing was signed") from error
    try:
        _lock(file, descriptor, patience)
        yield Held(file, descriptor)
    finally:
        os.close(descriptor)


def _lock(file: Path, descriptor: int, patience: float) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > end:
                raise TrustError(
                    f"{file}: another command has held it for {patience:g} s: end that one, and try again"
                ) from error
            time.sleep(PAUSE)
        else:
            return


def append(folder: Path, *entries: Entry) -> None:
    with held(folder) as register:
        register.append(*entries)


def read(folder: Path) -> Register:
    """TrustError where there is none to read."""
    file = folder / NAME
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise TrustError(f"{file}: can't be read: {error.strerror}; `fleetmedic pki init` makes it") from error
    entries, unread = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        try:
            entries.append(_entry(json.loads(line)))
        except (ValueError, TypeError, KeyError, RecursionError):
            unread.append(number)
    return Register(tuple(entries), tuple(unread))


def _line(entry: Entry) -> str:
    known = replace(entry, actor=entry.actor or _user())
    return json.dumps(
        {key: value.strftime(FORM) if isinstance(value, datetime) else value for key, value in asdict(known).items()}
    )


def _user() -> str:
    """Who runs this, as the system has it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _entry(row: Mapping[str, str]) -> Entry:
    begins, ends = _moment(row["begins"]), _moment(row["ends"])
    what, kind, name, role, serial, reason, actor = (
        _text(row[key]) for key in ("what", "kind", "name", "role", "serial", "reason", "actor")
    )
    return Entry(_moment(row["at"]), what, kind, name, role, serial, begins, ends, reason, actor)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _moment(text: str) -> datetime:
    return datetime.strptime(text, FORM).replace(tzinfo=UTC)
