"""Writes down what was asked when the answer is out: nobody who looks at a host waits for its disk."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from agent.check import Medic
from agent.journal import audit, requests, sparing
from agent.journal.audit import Record
from agent.journal.sparing import Share
from fleetmedic.v1.local_pb2 import LocalRequest, LocalResponse

# These write their own records, but for what is refused.
RECORDED = frozenset({"set_denylist", "set_freeze", "noted", "apply", "approve"})
# A record that takes longer is given up, in seconds: a process is held for it.
LONGEST = 5
# How long a record waits for others', which take a millisecond each: tries, and seconds between them.
TRIES = 10
PAUSE = 0.01


def after(medic: Medic, request: LocalRequest, last: LocalResponse | None) -> None:
    """Best effort, in the process that has answered; `last` is the last of the answer, None where there is none."""
    outcome = "asked" if last is None else requests.outcome(last)
    if request.WhichOneof("request") in RECORDED and outcome != "refused":
        return
    said = requests.reason(last) if last is not None else ""
    record, moment = requests.record(request, outcome, said), time.monotonic()
    with suppress(audit.AuditError), _turn(medic.config.run) as mine:
        if mine:
            signal.signal(signal.SIGALRM, _too_long)
            signal.alarm(LONGEST)
            sparing.write(medic.config.run, record, moment, partial(_append, medic), Share.LOOKS)
            signal.alarm(0)
        else:
            sparing.missed(medic.config.run, record, moment, Share.LOOKS)


def _append(medic: Medic, record: Record) -> None:
    audit.append(medic.config.audit, medic.config.run, record, time.time())


def _too_long(*_: object) -> None:
    raise audit.AuditError("the disk hangs")


@contextmanager
def _turn(run: Path) -> Iterator[bool]:
    """Whether it is this process's turn to write: behind one that hangs on a disk nobody queues, who has answered.

    Each that waited would count among the callers that a worker serves at once.
    """
    descriptor = os.open(run / "recording.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        for _ in range(TRIES):
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield True
                return
            time.sleep(PAUSE)
        yield False
    finally:
        os.close(descriptor)


def beside(medic: Medic, request: LocalRequest, last: LocalResponse | None) -> None:
    """The same in a process of its own, without our streams: whoever reads them waits for their end."""
    if os.fork():
        return
    try:
        os.setsid()
        for stream in (0, 1, 2):
            os.close(stream)
            os.open(os.devnull, os.O_RDWR)
        request.caller.user = requests.local_user()
        after(medic, request, last)
    finally:
        os._exit(0)
