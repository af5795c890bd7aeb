"""The audit log on this host: appended under a lock and synced; where it can't be written, nothing may be changed.

Files in a folder for root alone, each named after its first record; the chain goes over all of them. What a reader must
know without touching a disk (the head, what is wrong) lies in the run folder, which is memory.
"""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from agent import placing
from agent.journal import chain
from agent.journal.chain import Head, Line

LARGEST_FILE = 8 * 1024 * 1024
MOST_FILES = 8
# What pruning leaves is at least so many bytes.
LEAST_LEFT = (MOST_FILES - 1) * LARGEST_FILE
# A line is a few hundred bytes; of a longer one the rest is read as a line of its own, which breaks the chain.
LONGEST_LINE = 64 * 1024
TAIL = LONGEST_LINE
# Of the last lines so many are held to the chain with each record.
MOST_LOOKED_AT = 3
LOCK = "audit.lock"
LOCK_RETRY = 0.02
# A record that is being written for longer hangs, in seconds.
STUCK = 2.0
HEAD = "audit-head"
# What is wrong, a file for each kind: it can't be written, records have gone, the chain does not hold.
UNWRITTEN, CUT, BROKEN = "audit-unwritten", "audit-cut", "audit-broken"
# Who the agent is in its own records.
OWN = "fleetmedic"


class AuditError(Exception):
    """The record can't be written; the message says why, for people."""


@dataclass(frozen=True, slots=True)
class Record:
    """Who asked what, and how it ended: asked, begun, done, refused or failed."""

    user: str
    role: str
    method: str
    outcome: str
    detail: str = ""
    request_id: str = ""
    serial: str = ""
    break_glass: str = ""
    # "front" where it is the front's word alone, of what the worker had no part in.
    by: str = ""


def append(
    folder: Path, run: Path, record: Record, now: float, *, patience: float = STUCK, largest: int = LARGEST_FILE
) -> Head:
    """Writes a record and syncs it; gives the new head. AuditError where it can't be: `alarms` tells it from then on.

    `now` in epoch seconds; waits `patience` seconds for whoever else is writing; a file of `largest` bytes gets a
    successor.
    """
    try:
        with _alone(run, patience):
            made = _append(folder, run, record, now, largest)
            with suppress(OSError):
                (run / UNWRITTEN).unlink(missing_ok=True)
            return made
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or type(error).__name__
        _note(run, UNWRITTEN, f"the audit log can't be written, and nothing will be changed: {reason}")
        raise AuditError(reason) from error


@contextmanager
def _alone(run: Path, patience: float) -> Iterator[None]:
    """The lock lies in memory, so that whoever waits for it can be told apart from whoever waits for a disk."""
    end = time.monotonic() + patience
    descriptor = os.open(run / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                held = _held(descriptor)
                if held > STUCK or time.monotonic() > end:
                    text = f"a record is being written for {held:.0f}s: does the disk hang?"
                    raise OSError(errno.EBUSY, text) from error
            time.sleep(LOCK_RETRY)
        os.pwrite(descriptor, f"{time.monotonic():020.3f}".encode(), 0)
        yield
    finally:
        # Closed, it is free: also where this process is killed.
        os.close(descriptor)


def _held(descriptor: int) -> float:
    """Since how many seconds the lock's holder has it."""
    try:
        return time.monotonic() - float(os.pread(descriptor, 20, 0))
    except (ValueError, OSError):
        return 0.0


@dataclass(frozen=True, slots=True)
class _Ending:
    """How the log ends: its last record, the whole lines of its last file in bytes, and what comes after them."""

    head: Head
    size: int
    torn: int
    flaw: str


def _append(folder: Path, run: Path, record: Record, now: float, largest: int) -> Head:
    _own(folder)
    files = _files(folder)
    ending = _ending(files)
    # A file whose end was torn gets the record that says so.
    fresh = not files or (ending.size >= largest and not ending.torn)
    old = files[: 1 - MOST_FILES] if fresh else []
    made, lines = ending.head, []
    for said in (*_notes(run, ending), *_pruning(old), asdict(record)):
        made, line = chain.written(made, {"time": _stamp(now), **said})
        lines.append(line)
    place = folder / f"{ending.head.sequence + 1:012d}.log" if fresh else files[-1]
    _write(place, b"".join(lines), 0 if fresh else ending.size)
    if fresh:
        placing.sync(folder)
    for file in old:
        file.unlink(missing_ok=True)
    _note(run, HEAD, f"{made.sequence} {made.hash.hex()}")
    return made


def _notes(run: Path, ending: _Ending) -> Iterator[Mapping[str, object]]:
    """What has happened to the log, for the log itself and for whoever asks how the agent stands."""
    known = head(run)
    if known is not None and _is_cut(ending.head, known):
        lost = f"had record {known.sequence}, has {ending.head.sequence}"
        _note(run, CUT, f"the audit log was cut or rewritten: {lost}")
        yield _of_the_log("failed", f"the log was cut or rewritten: {lost} (hash {known.hash.hex()})")
    if ending.torn:
        yield _of_the_log("done", f"{ending.torn} bytes of a record that was not written whole are cut off")
    if ending.flaw:
        _note(run, BROKEN, f"the audit log does not hold together: {ending.flaw}")


def _is_cut(last: Head, known: Head) -> bool:
    """A worker that was killed leaves a log that is further than what it had told."""
    return last.sequence < known.sequence or (last.sequence == known.sequence and last.hash != known.hash)


def _pruning(old: Sequence[Path]) -> Iterator[Mapping[str, object]]:
    if old:
        gone = _last(old[-1:]).head
        said = _of_the_log("done", f"records up to {gone.sequence} are pruned: {MOST_FILES} files are kept")
        yield {**said, "pruned": [gone.sequence, gone.hash.hex()]}


def _of_the_log(outcome: str, detail: str) -> Mapping[str, object]:
    return asdict(Record(OWN, "", "audit", outcome, detail))


def _own(folder: Path) -> None:
    """OSError where it is not this user's alone, or can't be made."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
        raise OSError(errno.EPERM, "must be a folder of this user's with mode 0700", str(folder))


def _files(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(file for file in folder.iterdir() if file.name[:12].isdecimal() and file.name[12:] == ".log")


def _ending(files: Sequence[Path]) -> _Ending:
    """Of the last file; the last record may be in one before it, where a crash left it empty."""
    if not files:
        return _Ending(chain.NOTHING, 0, 0, "")
    last = _last(files)
    return last if last.head != chain.NOTHING else replace(last, head=_last(files[:-1]).head)


def _last(files: Sequence[Path]) -> _Ending:
    if not files:
        return _Ending(chain.NOTHING, 0, 0, "")
    with files[-1].open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        tail = file.read()
    whole, _, torn = tail.rpartition(b"\n")
    lines = [chain.read(line) for line in whole.split(b"\n")[-MOST_LOOKED_AT:]]
    good = [line for line in lines if line.sequence]
    found = Head(good[-1].sequence, good[-1].hash) if good else chain.NOTHING
    return _Ending(found, size - len(torn), len(torn), _flaw(lines) if whole else "")


def _flaw(lines: Sequence[Line]) -> str:
    """What is wrong with the last lines of a file, as far as they show it alone."""
    for before, line in pairwise(lines):
        if line.sequence != before.sequence + 1 or line.hash != chain.hashed(before.hash, line.record):
            return f"record {line.sequence or before.sequence + 1} is not what was written"
    return ""


def _write(place: Path, data: bytes, keep: int) -> None:
    """After the first `keep` bytes of the file; where it fails they are all there is."""
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.ftruncate(descriptor, keep)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fdatasync(descriptor)
        except OSError:
            os.ftruncate(descriptor, keep)
            raise
    finally:
        os.close(descriptor)


def _stamp(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _note(run: Path, name: str, text: str) -> None:
    """For readers that wait for no disk; whole or not there. Lost where the run folder is full, too."""
    fresh = run / f"{name}.{os.getpid()}"
    with suppress(OSError):
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o644)
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
        fresh.replace(run / name)


def head(run: Path) -> Head | None:
    """The last record, from the run folder; None where nothing was written since the host started."""
    try:
        sequence, _, said = (run / HEAD).read_text().partition(" ")
        return Head(int(sequence), bytes.fromhex(said))
    except (OSError, ValueError):
        return None


def recall(folder: Path, run: Path) -> None:
    """After a restart of the host, the last record as the disk has it: it may take no new one that would tell it."""
    if head(run) is not None:
        return
    with suppress(OSError):
        last = _ending(_files(folder)).head
        if last != chain.NOTHING:
            _note(run, HEAD, f"{last.sequence} {last.hash.hex()}")


def alarms(run: Path) -> list[str]:
    """What is wrong with the log, for the host's owner, from the run folder alone."""
    said = []
    for name in (UNWRITTEN, CUT, BROKEN):
        with suppress(OSError):
            said.append((run / name).read_text())
    return said if said else _hanging(run)


def _hanging(run: Path) -> list[str]:
    with suppress(FileNotFoundError, PermissionError):
        descriptor = os.open(run / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if (since := _held(descriptor)) > STUCK:
                return [f"the audit log can't be written: a record is under way for {since:.0f}s"]
        finally:
            os.close(descriptor)
    return []


def lines(folder: Path, after: int = 0) -> Iterator[Line]:
    """The log as it stands, from the record after that sequence on; what is no record comes as it is.

    A line that is being written is left out. OSError where the log can't be read.
    """
    files = _files(folder)
    first = [int(file.name[:12]) for file in files]
    begin = max((place for place, number in enumerate(first) if number <= after + 1), default=0)
    for file in files[begin:]:
        # Pruned meanwhile: a later record says so.
        with suppress(FileNotFoundError), file.open("rb") as opened:
            while line := opened.readline(LONGEST_LINE):
                found = chain.read(line)
                if (line.endswith(b"\n") or len(line) == LONGEST_LINE) and not 0 < found.sequence <= after:
                    yield found


def verify(folder: Path, run: Path) -> None:
    """Reads the whole log, and notes whether it holds together. OSError where it can't be read."""
    flaws = chain.verify(lines(folder), LEAST_LEFT).flaws()
    if flaws:
        _note(run, BROKEN, f"the audit log does not hold together: {'; '.join(flaws)}")
    else:
        (run / BROKEN).unlink(missing_ok=True)
