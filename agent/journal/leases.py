"""One operation at a time at each target: a lock that its process holds as long as it lives, whoever else ends.

The files lie in the run folder, which is memory: after a restart of the host nobody holds one.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from agent import folders
from fleetmedic.v1.finding_pb2 import Subject

FOLDER = "leases"
LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a target: the operation, whose it is, what it does, and since when in epoch seconds."""

    operation_id: str
    user: str
    action: str
    since: float


class Taken(Exception):
    """Another operation has the target; `holder` is None where it has not said yet whose it is."""

    def __init__(self, holder: Holder | None) -> None:
        super().__init__("taken")
        self.holder = holder


def target(subject: Subject) -> str:
    """What two operations must not both be at: the container, the server, the file system."""
    return f"{subject.kind} {subject.service} {subject.name}"


@contextmanager
def held(run: Path, subject: Subject, holder: Holder) -> Iterator[None]:
    """Holds the target until the block ends, or the process does. Taken, or OSError where none can be had."""
    folders.own(run / FOLDER)
    descriptor = os.open(_path(run, subject), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Taken(_read(descriptor)) from error
        said = json.dumps(asdict(holder)).encode()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, said, 0)
        yield
    finally:
        os.close(descriptor)


def _path(run: Path, subject: Subject) -> Path:
    return run / FOLDER / f"{hashlib.sha256(target(subject).encode()).hexdigest()[:24]}.lock"


def _read(descriptor: int) -> Holder | None:
    try:
        return Holder(**json.loads(os.pread(descriptor, LONGEST, 0)))
    except (ValueError, TypeError, OSError):
        return None
