"""The worker: root, without grpc, single-threaded; forks a process for each caller, each sample and each resident."""

import errno
import fcntl
import os
import pwd
import selectors
import signal
import socket
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from agent import boundary, budgets, frames, jobs, local, recording, resident, sampler
from agent.check import Medic
from agent.journal import audit, requests
from agent.operating import interrupting
from fleetmedic.v1.local_pb2 import REFUSAL_KIND_BUSY, REFUSAL_KIND_NOT_PERMITTED, LocalRequest, LocalResponse, Refusal
from fleetmedic.v1.snapshot_pb2 import Target

PR_SET_CHILD_SUBREAPER = 36
SOCKET = "worker.sock"
LOCK = "worker.lock"
# A sample that takes longer hangs somewhere; it is ended, and if it can't be, forgotten.
LONGEST_SAMPLE = 30
# A caller that sends nothing is dropped after this, in seconds.
CALLER_PATIENCE = 5
RESIDENT_PAUSE = 1.0
MOST_CALLERS = 32
# The audit log is read through so often, in seconds: an edit in the middle of it shows nowhere else.
AUDIT_PAUSE = 3600.0
# How long the first call may be kept waiting for the log's head at the start; a disk that hangs is not waited for.
AUDIT_PATIENCE = 1.0


@dataclass(slots=True)
class Worker:
    """The state of the running worker: what it forked, by pid, and when the next sample is due."""

    medic: Medic
    allowed: frozenset[int]
    front: int
    listener: socket.socket
    callers: set[int] = field(default_factory=set)
    sampling: int = 0
    next_sample: float = 0.0
    sample_due: float = 0.0
    auditing: int = 0
    next_audit: float = 0.0
    residents: dict[int, bytes] = field(default_factory=dict)
    resident_due: dict[bytes, float] = field(default_factory=dict)


def run(medic: Medic) -> None:
    """Serves until SIGTERM or SIGINT; then ends what it forked, except what can't be ended."""
    jobs.libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    wake_reader, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopping.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
    alone = _alone(medic)
    opening = _open_audit(medic)
    # What was ended with the worker before is looked at, and never run again.
    _fork(lambda: interrupting.settle(medic))
    front = _front(medic)
    worker = Worker(medic, frozenset({0, os.geteuid(), front}), front, _listen(medic), auditing=opening)
    with selectors.DefaultSelector() as selector:
        selector.register(worker.listener, selectors.EVENT_READ)
        selector.register(wake_reader, selectors.EVENT_READ)
        while not stopping:
            try:
                _start_due(worker)
                for key, _ in selector.select(_next_turn(worker)):
                    if key.fileobj is worker.listener:
                        _accept(worker)
                    else:
                        with suppress(BlockingIOError):
                            os.read(wake_reader, 4096)
            except OSError as error:
                # No process or descriptor to be had, under the very pressure we are called for: wait, and go on.
                os.write(2, f"fleetmedic-agent: {error.strerror}; going on in {RESIDENT_PAUSE:g} s\n".encode())
                time.sleep(RESIDENT_PAUSE)
            _reap(worker)
    _end(worker)
    os.close(alone)


def _listen(medic: Medic) -> socket.socket:
    """The socket the front calls: whoever else could connect could keep it full. Who may call the kernel says too."""
    place = medic.config.run / SOCKET
    with suppress(FileNotFoundError):
        place.unlink()
    listener = socket.socket(socket.AF_UNIX)
    front = medic.config.front_user
    group = pwd.getpwnam(front).pw_gid if front else os.getegid()
    # By mask and group of ours, and not by chmod and chown, which would follow a link that somebody put there.
    before, own = os.umask(0o117 if front else 0o177), os.getegid()
    os.setegid(group)
    listener.bind(str(place))
    os.setegid(own)
    os.umask(before)
    listener.listen(64)
    return listener


def _alone(medic: Medic) -> int:
    """Holds the run folder for this worker as long as it lives. OSError where another has it."""
    descriptor = os.open(medic.config.run / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(errno.EBUSY, "another worker has this run folder", str(medic.config.run)) from error
    return descriptor


def _front(medic: Medic) -> int:
    """The user whose word on a caller counts."""
    user = medic.config.front_user
    return pwd.getpwnam(user).pw_uid if user else os.geteuid()


def _open_audit(medic: Medic) -> int:
    """Says in the log that this worker began; 0, or the process that hangs at it."""
    said = f"the worker of fleetmedic-agent {medic.identity.version}, boot {medic.identity.boot_id}"
    record = audit.Record(audit.OWN, "", "work", "begun", said)

    def begin() -> None:
        audit.recall(medic.config.audit, medic.config.run)
        with suppress(audit.AuditError):
            audit.append(medic.config.audit, medic.config.run, record, time.time())

    pid = _fork(begin)
    end = time.monotonic() + AUDIT_PATIENCE
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return 0
        time.sleep(0.002)
    return pid


def _read_audit(medic: Medic) -> None:
    # What can't be read can't be written either, and that is told already.
    with suppress(OSError):
        audit.verify(medic.config.audit, medic.config.run)


def _next_turn(worker: Worker) -> float:
    due = [max(worker.next_sample, worker.sample_due if worker.sampling else 0.0)]
    due += worker.resident_due.values()
    due += [] if worker.auditing else [worker.next_audit]
    return max(0.0, min(due) - time.monotonic())


def _start_due(worker: Worker) -> None:
    now = time.monotonic()
    if now >= worker.next_sample and (not worker.sampling or now >= worker.sample_due):
        worker.next_sample = now + worker.medic.config.sample_seconds
        worker.sample_due = now + 2 * LONGEST_SAMPLE
        worker.sampling = _fork(lambda: _sample(worker.medic))
    if now >= worker.next_audit and not worker.auditing:
        worker.next_audit = now + AUDIT_PAUSE
        worker.auditing = _fork(lambda: _read_audit(worker.medic))
    for key, due in list(worker.resident_due.items()):
        if now >= due:
            del worker.resident_due[key]
            hold = partial(resident.hold, worker.medic.config, Target.FromString(key))
            worker.residents[_fork(hold)] = key


def _sample(medic: Medic) -> None:
    signal.alarm(LONGEST_SAMPLE)
    sampler.sample(medic)


def _fork(act: Callable[[], None], *kept: int) -> int:
    """A child that leads its own session, does one thing with the descriptors `kept`, and ends with the worker."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        jobs.die_with(parent)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        jobs.close_all_but(*kept)
        jobs.limit_memory()
        failed: list[Exception] = []
        boundary.contain(act, failed.append)
        if failed:
            os.write(2, f"fleetmedic-agent: {boundary.where(failed[0])}\n".encode())
        os._exit(1 if failed else 0)
    finally:
        # CallerGone passes every boundary, and must not become a second worker.
        os._exit(0)


def _accept(worker: Worker) -> None:
    connection = worker.listener.accept()[0]
    with connection:
        uid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if uid not in worker.allowed or len(worker.callers) >= MOST_CALLERS:
            refusal = Refusal(kind=REFUSAL_KIND_BUSY, reason=f"{MOST_CALLERS} calls are under way on this host already")
            if uid not in worker.allowed:
                refusal = Refusal(kind=REFUSAL_KIND_NOT_PERMITTED, reason=f"user {uid} may not call the worker")
            with suppress(OSError):
                frames.write(connection.fileno(), LocalResponse(refusal=refusal))
            return
        # Who is not the front is who the kernel says.
        user = "" if uid == worker.front else requests.user(uid)
        worker.callers.add(_fork(lambda: _serve(worker.medic, connection, user), connection.fileno()))


def _serve(medic: Medic, connection: socket.socket, user: str) -> None:
    """In the caller's own process: one request, its answers. The alarm ends it where nothing else does."""
    signal.alarm(CALLER_PATIENCE)
    request = frames.read(connection.fileno(), LocalRequest)
    received = time.time()
    if request is None:
        return
    request.caller.user = user or request.caller.user or _own_user(request)
    signal.alarm(int(local.budget(request) + 3))
    last = None
    try:
        for last in local.answer(medic, request, received, connection.fileno()):
            frames.write(connection.fileno(), last)
    finally:
        # Whoever asked waits for the end of the answer, and not for our disk.
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        recording.after(medic, request, last)


def _own_user(request: LocalRequest) -> str:
    """Whoever runs a command as the front's user; of a call that the front refused nobody is known."""
    return "" if request.HasField("noted") else requests.local_user()


def _reap(worker: Worker) -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        worker.callers.discard(pid)
        if pid == worker.auditing:
            worker.auditing = 0
        elif pid == worker.sampling:
            worker.sampling = 0
            _reconcile(worker)
        elif key := worker.residents.pop(pid, None):
            worker.resident_due[key] = time.monotonic() + RESIDENT_PAUSE


def _reconcile(worker: Worker) -> None:
    """A resident for each PostgreSQL server there is, none for one that has gone."""
    wanted = {target.SerializeToString(deterministic=True) for target in sampler.targets(worker.medic.config.run)}
    held: Mapping[bytes, int] = {key: pid for pid, key in worker.residents.items()}
    for key in wanted - held.keys() - worker.resident_due.keys():
        worker.resident_due[key] = time.monotonic()
    for key in held.keys() - wanted:
        del worker.residents[held[key]]
        jobs.kill_group(held[key])
        resident.path(worker.medic.config.run, Target.FromString(key)).unlink(missing_ok=True)
    for key in worker.resident_due.keys() - wanted:
        del worker.resident_due[key]


def _end(worker: Worker) -> None:
    """SIGKILL to what is left: a check can be asked again, and nothing here changes the host."""
    forked = {*worker.callers, *worker.residents, worker.sampling, worker.auditing} - {0}
    for pid in forked:
        jobs.kill_group(pid)
    end = time.monotonic() + budgets.ANSWER_MARGIN
    while forked and time.monotonic() < end:
        with suppress(ChildProcessError):
            forked.discard(os.waitpid(-1, os.WNOHANG)[0])
        time.sleep(0.01)
    with suppress(FileNotFoundError):
        (worker.medic.config.run / SOCKET).unlink()
