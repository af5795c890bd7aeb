"""Forked jobs with a kill budget: what can hang, hangs in a process of its own.

A job holds a lock file named after its target for as long as it lives, so a job that even SIGKILL does not end (state
D, on a hung mount) is known to every later check: it is never waited for, and never joined by a second at its target.
"""

import ctypes
import fcntl
import gc
import hashlib
import os
import resource
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from select import POLLRDHUP, poll
from typing import NoReturn

from google.protobuf.message import DecodeError

from agent import boundary, redact
from fleetmedic.v1.snapshot_pb2 import (
    FAILURE_KIND_CRASHED,
    FAILURE_KIND_NEEDS_RIGHT,
    FAILURE_KIND_OUT_OF_TIME,
    FAILURE_KIND_STUCK,
    FAILURE_KIND_TIMEOUT,
    Failure,
    FailureKind,
    Snapshot,
    Target,
)

PR_SET_PDEATHSIG = 1
PR_GET_PDEATHSIG = 2
# How long SIGKILL may take before a job counts as one that can't be killed.
KILL_GRACE = 0.25
LOCK_RETRY = 0.05
LARGEST_RESULT = 4 * 1024 * 1024
MAX_CPU_SECONDS = 20
LARGEST_MEMORY = 640 * 1024 * 1024
OLD_LOCK = 24 * 3600.0
NO_LOCK = -1

libc = ctypes.CDLL(None, use_errno=True)


class NeedsRight(Exception):
    """The probe lacks a right; the message says which, for people: 'needs root'."""


@dataclass(frozen=True, slots=True)
class Work:
    """One thing to do in a job: `run` fills the snapshot's content; `secrets` are values that must not leave it."""

    target: Target
    run: Callable[[Target], Snapshot]
    budget: float
    secrets: tuple[str, ...] = ()
    # It may be done by several checks at once; one that hangs for good still keeps others away.
    shared: bool = False


@dataclass(slots=True)
class _Job:
    work: Work
    deadline: float
    pid: int = 0
    pipe: int = -1
    result: bytearray = field(default_factory=bytearray)
    killed_at: float = 0.0
    abandoned: bool = False


class CallerGone(SystemExit):
    """Whoever asked has hung up, and nobody reads the answer: ends the process that answers, past every boundary."""


class Crew:
    """The jobs of one check: at most `at_once` at work, each killed at its budget.

    `locks` is a folder that all checks of an agent share. Snapshots come as they are done, each exactly once. `caller`
    is the descriptor of who asked: CallerGone, with all jobs ended, when it hangs up.
    """

    def __init__(self, locks: Path, at_once: int = 16, caller: int | None = None) -> None:
        self._locks = locks
        self._at_once = at_once
        self._caller = caller
        self._waiting: list[_Job] = []
        self._running: dict[int, _Job] = {}
        self._poll = poll()
        if caller is not None:
            self._poll.register(caller, POLLRDHUP)

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._running)

    def add(self, works: Iterable[Work]) -> None:
        """Takes on more work; its budget runs from now on."""
        now = time.monotonic()
        self._waiting += [_Job(work, now + work.budget) for work in works]

    def finished(self, until: float) -> Iterator[Snapshot]:
        """What is done by `until` (time.monotonic()), or sooner where nothing is left to wait for."""
        while self.busy:
            yield from self._start()
            yield from self._reap_overdue()
            now = time.monotonic()
            if now >= until or not self.busy:
                return
            for descriptor, _ in self._poll.poll(max(1, int(1000 * (self._next_turn(until) - now)))):
                if descriptor == self._caller:
                    self._hang_up()
                job = self._running[descriptor]
                if self._read(job):
                    yield self._close(job, None)

    def _hang_up(self) -> NoReturn:
        for job in self._running.values():
            kill_group(job.pid)
        raise CallerGone

    def abandon(self) -> Iterator[Snapshot]:
        """Ends all that is still at work, as if each budget were over."""
        for job in list(self._waiting):
            self._waiting.remove(job)
            yield _failed(job.work, FAILURE_KIND_OUT_OF_TIME, "the check's time was over before this probe's turn came")
        for job in self._running.values():
            job.abandoned = job.deadline > time.monotonic()
            job.deadline = 0.0
        yield from self.finished(time.monotonic() + 2 * KILL_GRACE)

    def _next_turn(self, until: float) -> float:
        turns = [until]
        if self._waiting and len(self._running) < self._at_once:
            turns.append(time.monotonic() + LOCK_RETRY)
        turns += [job.killed_at + KILL_GRACE if job.killed_at else job.deadline for job in self._running.values()]
        return min(turns)

    def _start(self) -> Iterator[Snapshot]:
        for job in list(self._waiting):
            if len(self._running) >= self._at_once:
                return
            lock = _lock(self._locks, job.work)
            if lock is None and job.work.shared:
                lock = NO_LOCK
            if isinstance(lock, int):
                self._waiting.remove(job)
                self._fork(job, lock)
            elif lock is not None or time.monotonic() > job.deadline:
                self._waiting.remove(job)
                yield lock or _failed(
                    job.work, FAILURE_KIND_OUT_OF_TIME, "another check was looking at it all the time"
                )

    def _fork(self, job: _Job, lock: int) -> None:
        reader, writer = os.pipe()
        parent = os.getpid()
        job.pid = os.fork()
        if job.pid == 0:
            _child(job.work, writer, lock, parent)
        os.close(writer)
        if lock != NO_LOCK:
            os.close(lock)
        job.pipe = reader
        self._running[reader] = job
        self._poll.register(reader)

    def _read(self, job: _Job) -> bool:
        piece = os.read(job.pipe, 1 << 20)
        job.result += piece
        if len(job.result) > LARGEST_RESULT:
            kill_group(job.pid)
            return True
        return not piece

    def _reap_overdue(self) -> Iterator[Snapshot]:
        now = time.monotonic()
        for job in list(self._running.values()):
            if not job.killed_at and now >= job.deadline:
                kill_group(job.pid)
                job.killed_at = now
            elif job.killed_at and now >= job.killed_at + KILL_GRACE:
                yield self._close(job, FAILURE_KIND_STUCK)

    def _close(self, job: _Job, kind: "FailureKind.ValueType | None") -> Snapshot:
        self._poll.unregister(job.pipe)
        del self._running[job.pipe]
        os.close(job.pipe)
        if kind == FAILURE_KIND_STUCK:
            return _failed(job.work, kind, f"can't be killed since its budget of {job.work.budget:g} s ended")
        status = os.waitpid(job.pid, 0)[1]
        if job.abandoned:
            return _failed(job.work, FAILURE_KIND_OUT_OF_TIME, "not finished when the check's own time was over")
        if job.killed_at:
            return _failed(job.work, FAILURE_KIND_TIMEOUT, f"no answer within {job.work.budget:g} s (timeout)")
        return _snapshot(job, status)


def kill_group(pid: int) -> None:
    """SIGKILL to a job and all it started; a job leads its own session."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _snapshot(job: _Job, status: int) -> Snapshot:
    if len(job.result) > LARGEST_RESULT:
        return _failed(job.work, FAILURE_KIND_CRASHED, f"the probe brought more than {LARGEST_RESULT >> 20} MiB")
    made = Snapshot()
    try:
        made.ParseFromString(bytes(job.result))
    except DecodeError:
        made.Clear()
    if os.waitstatus_to_exitcode(status) != 0 or not made.HasField("target"):
        return _failed(job.work, FAILURE_KIND_CRASHED, f"the probe ended with {os.waitstatus_to_exitcode(status)}")
    return made


def _failed(work: Work, kind: "FailureKind.ValueType", detail: str) -> Snapshot:
    made = Snapshot(target=redact.target(work.target), failure=Failure(kind=kind, detail=detail))
    made.taken_time.GetCurrentTime()
    return made


def _lock(folder: Path, work: Work) -> int | Snapshot | None:
    """The lock's descriptor; a snapshot where a job hangs at the target for good; None where one is at work.

    NO_LOCK where none can be had (a full or read-only run folder): to look matters more than to look once.
    """
    target = work.target
    place = f"{target.host}\0{target.port}\0{target.socket}\0{redact.url(target.url)}\0{target.pid}"
    if target.probe == "filesystem" or not any((target.host, target.socket, target.url)):
        place = target.name
    path = folder / f"{target.probe}-{hashlib.sha256(place.encode()).hexdigest()[:16]}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return NO_LOCK
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{uptime():.3f} {work.budget:g} {time.time():.3f}".encode())
    except BlockingIOError:
        held = os.read(descriptor, 64)
        os.close(descriptor)
        return _held(work, held)
    except OSError:
        # Locked, and the disk is full: without a time in it others will wait, not call it stuck.
        return descriptor
    return descriptor


def uptime() -> float:
    """Seconds since boot, which no step of the clock moves."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _held(work: Work, held: bytes) -> Snapshot | None:
    try:
        began, budget, since = map(float, held.split())
    except ValueError:
        return None
    if not uptime() >= began + budget + KILL_GRACE:
        return None
    clock = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(since))
    made = _failed(work, FAILURE_KIND_STUCK, f"still stuck since {clock}")
    made.failure.since_time.FromMilliseconds(int(since * 1000))
    return made


def forget_old_locks(folder: Path, now: float) -> None:
    """Removes lock files that nobody has used for a day; a request's targets must not fill the run folder."""
    for file in folder.glob("*.lock"):
        with suppress(OSError):
            if file.stat().st_mtime < now - OLD_LOCK:
                _unlink_free(file)


def _unlink_free(file: Path) -> None:
    """A lock that is held stays: its job may hang for days. BlockingIOError then."""
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.unlink()
    finally:
        os.close(descriptor)


def _child(work: Work, writer: int, lock: int, parent: int) -> None:
    """In the fork: look, redact, answer, end. Never returns."""
    os.setsid()
    die_with(parent)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGALRM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    close_all_but(writer, *(() if lock == NO_LOCK else (lock,)))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))
    limit_memory()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        body = boundary.contain(lambda: _look(work), lambda error: _refused(work, error)).SerializeToString()
        view = memoryview(body)
        while view:
            view = view[os.write(writer, view) :]
        os._exit(0)
    finally:
        # Whatever passes the boundary (SystemExit) must not run on as a second parent.
        os._exit(1)


def limit_memory() -> None:
    """What a hostile peer sends must not eat the host's memory: an answer without end ends this process."""
    resource.setrlimit(resource.RLIMIT_AS, (LARGEST_MEMORY, LARGEST_MEMORY))


def die_with(parent: int) -> None:
    """Asks the kernel to end this process when its parent ends, and ends it now if that has happened."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def dies_with_parent() -> bool:
    """Whether die_with() holds for this process."""
    found = ctypes.c_int()
    libc.prctl(PR_GET_PDEATHSIG, ctypes.byref(found))
    return bool(found.value)


def live_on() -> None:
    """Undoes die_with(): this process goes on when its parent ends."""
    libc.prctl(PR_SET_PDEATHSIG, 0)


def close_all_but(*kept: int) -> None:
    """Closes every descriptor from 3 on, except these: what a fork inherited must not hold a peer's connection open."""
    # What the parent left unreachable is never collected here: it would close a number that is another file's by then.
    gc.freeze()
    bounds = [2, *sorted(kept), resource.getrlimit(resource.RLIMIT_NOFILE)[0]]
    for before, after in zip(bounds, bounds[1:], strict=False):
        os.closerange(before + 1, after)


def _look(work: Work) -> Snapshot:
    began = time.monotonic()
    made = work.run(work.target)
    made.ClearField("target")
    redact.message(made, work.secrets)
    # After the patterns, which would take auth-db:5432 for a secret: a target is our own, and its URL is redacted.
    made.target.CopyFrom(redact.target(work.target))
    made.taken_time.GetCurrentTime()
    made.took.FromNanoseconds(int((time.monotonic() - began) * 1e9))
    return made


def _refused(work: Work, error: Exception) -> Snapshot:
    if isinstance(error, NeedsRight):
        return _failed(work, FAILURE_KIND_NEEDS_RIGHT, str(error))
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        return _failed(work, FAILURE_KIND_NEEDS_RIGHT, "needs root")
    return _failed(work, FAILURE_KIND_CRASHED, boundary.where(error))
