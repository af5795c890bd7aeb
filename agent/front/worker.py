"""The way to the worker: a request over its socket, and its answers while they are wanted."""

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from agent import frames
from fleetmedic.v1.local_pb2 import LocalRequest, LocalResponse

CONNECT = 1.0
# For the worker to record and carry out a change, in seconds.
CHANGE = 5.0
# So soon a connection is tried again where too many wait to be taken, in seconds.
AGAIN = 0.02
# How often a waiting call looks whether its caller is still there and may still call, in seconds.
LOOK_UP = 0.25
# A request, for how long in seconds, and whether the caller still waits.
Ask = Callable[[LocalRequest, float, Callable[[], bool]], Iterator[LocalResponse]]


class WorkerAway(Exception):
    """The worker can't be reached, or gave no proper answer."""


def ask(place: Path, request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
    """The worker's answers over its socket, while they are wanted. WorkerAway where there are none."""
    deadline = time.monotonic() + patience
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(CONNECT)
        try:
            _connect(connection, place)
            connection.settimeout(None)
            frames.write(connection.fileno(), request)
            # A log may hold nothing that is new to its reader, and an operation may go on.
            whole = not request.HasField("check")
            while _readable(connection, deadline, wanted) and (
                (answer := frames.read(connection.fileno(), LocalResponse, deadline)) is not None
            ):
                whole = not answer.HasField("check") or answer.check.last
                yield answer
            if not whole:
                raise WorkerAway("the agent's worker ended before its answer was whole")
        except OSError as error:
            raise WorkerAway(f"the agent's worker is away: {error.strerror or type(error).__name__}") from error
        except frames.FrameError as error:
            raise WorkerAway(f"the agent's worker gave no answer: {error}") from error


def told(ask: Ask, request: LocalRequest, patience: float = CHANGE) -> LocalResponse:
    """The answer to a change, which goes on though its caller leaves. WorkerAway where there is none."""
    for answer in ask(request, patience, lambda: True):
        return answer
    raise WorkerAway("the agent's worker gave no answer")


def _connect(connection: socket.socket, place: Path) -> None:
    """OSError, EAGAIN too, where there was no room for so long."""
    end = time.monotonic() + CONNECT
    while True:
        try:
            connection.connect(str(place))
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
            time.sleep(AGAIN)
        else:
            return


def _readable(connection: socket.socket, deadline: float, wanted: Callable[[], bool]) -> bool:
    """Whether there is something to read; not, once nobody waits for it. WorkerAway at the deadline."""
    while not select.select([connection], [], [], LOOK_UP)[0]:
        if not wanted():
            return False
        if time.monotonic() > deadline:
            raise WorkerAway("the agent's worker gave no answer in time")
    return True
