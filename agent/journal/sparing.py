"""Looks and refusals are written down sparingly: who may do nothing but look must not push changes out of the log.

Every caller has a process of its own, so what was written lies in the run folder, which is memory.
"""

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from pathlib import Path

from agent.journal import audit, chain
from agent.journal.audit import Record

# Of all together so many bytes at once, and then so many a second: 2 MiB a day, of the 56 MiB that pruning leaves.
MOST_BYTES = 1024 * 1024.0
BYTES_A_SECOND = 24.0


class Share(Enum):
    """What is written of each does not use up what may be written of the other.

    The file of what was, and a share of the bytes that may be written in all.
    """

    LOOKS = ("audit-spared", 5 / 6)
    CHANGES = ("audit-changes", 1 / 6)

    def __init__(self, file: str, part: float) -> None:
        self.file = file
        self.most = part * MOST_BYTES
        self.a_second = part * BYTES_A_SECOND


# Of one user and method so many records at once, and then one in so many seconds.
MOST_AT_ONCE = 60.0
PAUSE = 30.0
# So many users and methods are told apart; the others are one.
MOST_TOLD_APART = 64
OTHERS = ""
# Whoever has the lock has it for less than a millisecond, but where it is stopped.
TRIES = 20
RETRY = 0.01
LONGEST_STATE = 128 * 1024
LONGEST_KEY = 200
# A line's sequence and time.
REST = 64


@dataclass(slots=True)
class _Left:
    """What is left of it at a moment, and how many records were not written since the last that was."""

    left: float
    at: float
    missed: int = 0

    def fill(self, most: float, a_second: float, moment: float) -> None:
        # A moment that is earlier is another boot's.
        self.left = min(most, self.left + max(0.0, moment - self.at) * a_second)
        self.at = moment


@dataclass(slots=True)
class _State:
    together: _Left
    each: dict[str, _Left] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spared:
    """A record that may be written, and for how many it stands: itself and those before it that were not."""

    record: Record
    count: int


def write(run: Path, record: Record, moment: float, append: Callable[[Record], object], share: Share) -> bool:
    """Has a record appended, if it may be. What `append` raises is passed on, and counts as not written.

    `moment` in seconds of this boot's clock. Where nothing can be remembered, nothing is written.
    """
    allowed = spared(run, record, moment, share)
    if allowed is None:
        return False
    try:
        append(allowed.record)
    except audit.AuditError:
        missed(run, record, moment, share, allowed.count)
        raise
    return True


def spared(run: Path, record: Record, moment: float, share: Share) -> Spared | None:
    """The record with the count of those before it that were not written; None where it is one of them."""
    size = len(chain.written(chain.NOTHING, asdict(record))[1]) + REST
    with suppress(OSError), _state(run, share, moment) as state:
        own = _own(state, record, share, moment)
        if own.left < 1 or state.together.left < size:
            own.missed += 1
            return None
        own.left -= 1
        state.together.left -= size
        before, own.missed = own.missed, 0
        said = f"(and {before} more before, not written) " if before else ""
        return Spared(replace(record, detail=f"{said}{record.detail}"), before + 1)
    return None


def missed(run: Path, record: Record, moment: float, share: Share, count: int = 1) -> None:
    """So many like this one, and it among them, were not written for another reason: the next that is says so."""
    with suppress(OSError), _state(run, share, moment) as state:
        _own(state, record, share, moment).missed += count


def _own(state: _State, record: Record, share: Share, moment: float) -> _Left:
    key = f"{record.user} {record.method}"[:LONGEST_KEY]
    state.together.fill(share.most, share.a_second, moment)
    for left in state.each.values():
        left.fill(MOST_AT_ONCE, 1 / PAUSE, moment)
    state.each = {
        name: left for name, left in state.each.items() if name == key or left.missed or left.left < MOST_AT_ONCE
    }
    known = key if key in state.each or len(state.each) < MOST_TOLD_APART else OTHERS
    return state.each.setdefault(known, _Left(MOST_AT_ONCE, moment))


@contextmanager
def _state(run: Path, share: Share, moment: float) -> Iterator[_State]:
    """What was written lately, and kept again after it; OSError where it can't be."""
    descriptor = os.open(run / share.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _lock(descriptor)
        state = _read(os.pread(descriptor, LONGEST_STATE, 0), share, moment)
        yield state
        said = json.dumps(asdict(state), separators=(",", ":")).encode()
        os.ftruncate(descriptor, os.pwrite(descriptor, said, 0))
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    for _ in range(TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(RETRY)
    raise OSError(errno.EBUSY, "another process has it")


def _read(text: bytes, share: Share, moment: float) -> _State:
    """Whole shares where there is none yet, or a process was killed while it wrote."""
    try:
        said = json.loads(text)
        return _State(_Left(**said["together"]), {name: _Left(**share) for name, share in said["each"].items()})
    except (ValueError, TypeError, KeyError):
        return _State(_Left(share.most, moment))
