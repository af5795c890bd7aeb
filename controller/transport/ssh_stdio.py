"""One check of a host without a living agent: a visitor over SSH brings the agent along, and takes it away again.

The visitor (visitor.py) is of the standard library, and run by the host's Python. It says who is there, is given
an agent that fits, and relays its answer; when the connection ends, however that comes about, it clears up and leaves.
"""

import json
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from controller.ssh import Remote, SshError
from controller.transport import answers
from controller.transport.answers import Intake
from fleetmedic.v1.local_pb2 import LocalRequest, LocalResponse

VISITOR = Path(__file__).with_name("visitor.py")
# So short that the command line shows nothing: the visitor itself comes on standard input. -I -S: nothing of the host's
# own Python packages is run.
STUB = "import sys;i=sys.stdin.buffer;exec(i.read(int(i.readline(9))))"
PYTHON = "python3"
SUDO = ("sudo", "-n", "--")
MARK = b"\0fleetmedic visit\0"
LENGTH = struct.Struct(">I")
OLDEST_PYTHON = (3, 11)
NO_SUCH_PROGRAM = 127
# What login shells print before the visitor speaks.
MOST_NOISE = 64 * 1024
MOST_FACTS = 4096
MOST_SAID = 300
# How much longer than we wait for it a visitor works, and how long it may take to clear up, in seconds.
GRACE = 5.0
CLEARING = 5.0
PIECE = 256 * 1024
BROKEN_OFF = "broke off in the middle of its answer"


class NoVisit(Exception):
    """A host that SSH reaches, and that gave no answer; one line says why."""


class Late(NoVisit):
    """It had no more time."""


@dataclass(frozen=True, slots=True)
class There:
    """Who a visitor found: a Python ('3.11.2'), machine, libc ('glibc 2.36') and user, and the clock against ours."""

    python: str
    machine: str
    libc: str
    uid: int
    clock_offset: float


@dataclass(frozen=True, slots=True)
class Parcel:
    """What the visitor unpacks: a tar, compressed by gzip, and the bytes that it takes on a disk."""

    archive: bytes
    room: int


def command(python: str = PYTHON, *, become: bool) -> tuple[str, ...]:
    """What SSH runs: the visitor, as root by sudo where it is to `become`."""
    return (*(SUDO if become else ()), python, "-I", "-S", "-B", "-c", STUB)


class Visit:
    """What is said with one visitor, in the order of these methods; `end` by time.monotonic()."""

    def __init__(self, remote: Remote, end: float) -> None:
        self._remote = remote
        self._end = end
        self._read = bytearray()
        self._intake = Intake()

    def begin(self) -> There:
        """NoVisit where no Python that the agent runs on is there, or we may not run it."""
        text = VISITOR.read_bytes()
        self._write(b"%d\n%b" % (len(text), text))
        while (place := self._read.find(MARK)) < 0:
            if len(self._read) > MOST_NOISE:
                raise NoVisit("its login shell prints without end: nothing may be printed there but at a terminal")
            if not self._more():
                raise NoVisit(self._why_not_begun())
        del self._read[: place + len(MARK)]
        facts = self._frame(MOST_FACTS)
        arrived = time.time()
        if facts is None:
            raise NoVisit(self._why())
        return _there(facts, arrived)

    def ask(self, parcel: Parcel, request: Callable[[float], LocalRequest]) -> Iterator[LocalResponse]:
        """Brings the agent, and gives its answers. `request` is made for the seconds that are left when it has come."""
        order = {"seconds": self._left() + GRACE, "room": parcel.room}
        self._write(_framed(json.dumps(order).encode()) + LENGTH.pack(len(parcel.archive)))
        for place in range(0, len(parcel.archive), PIECE):
            self._write(parcel.archive[place : place + PIECE])
        self._write(_framed(request(self._left()).SerializeToString()))
        last = False
        while not last:
            body = self._frame(answers.LARGEST)
            if body is None:
                raise NoVisit(self._why())
            try:
                answer = self._intake.read(LocalResponse, body)
            except DecodeError as error:
                raise NoVisit("sent what is no answer") from error
            self._intake.admit(answer.check)
            last = answer.check.last or not answer.HasField("check")
            yield answer

    def leave(self) -> str:
        """Waits until the visitor has cleared up. Why the answer is not whole, where that is so; else nothing."""
        code = self._remote.ended(CLEARING)
        if code is None:
            return "answered, but did not say that it has cleared up: look for fleetmedic-visit-* there"
        return "" if code == 0 else self._said() or f"the visitor ended with exit code {code}"

    def _why_not_begun(self) -> str:
        code, said = self._remote.ended(CLEARING), self._said()
        if code == NO_SUCH_PROGRAM:
            return f"{said or 'no python3 there'}: the agent needs Python 3.11 or newer (ansible_python_interpreter)"
        return f"the visitor could not begin: {said or _code(code)}"

    def _why(self) -> str:
        code = self._remote.ended(min(CLEARING, max(0.1, self._left())))
        return self._said() or f"broke off without a whole answer: {_code(code)}"

    def _said(self) -> str:
        """The last line that was written to standard error; hostile text as any other."""
        said = b""
        while piece := self._remote.read_error():
            said = (said + piece)[-64 * MOST_SAID :]
        return said.decode(errors="replace").strip().rpartition("\n")[2][:MOST_SAID].strip()

    def _left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise Late("no time was left")
        return left

    def _write(self, data: bytes) -> None:
        try:
            self._remote.write(data, self._left())
        except SshError as error:
            if error.kind == "late":
                raise Late(error.why) from error
            # One that ended without reading all says why.
            with suppress(Late):
                code = self._remote.ended(min(CLEARING, self._left()))
                if code is not None:
                    raise NoVisit(self._said() or _code(code)) from error
            raise NoVisit(error.why) from error

    def _more(self) -> bool:
        """Reads what there is. False at the end."""
        try:
            piece = self._remote.read(PIECE, self._left())
        except SshError as error:
            raise (Late if error.kind == "late" else NoVisit)(error.why) from error
        self._read += piece
        return bool(piece)

    def _frame(self, most: int) -> bytes | None:
        """The next one; None at the end."""
        head = self._exactly(LENGTH.size)
        if head is None:
            return None
        (size,) = LENGTH.unpack(head)
        if size > most:
            raise NoVisit(f"sent a frame of {size} bytes, which no answer has")
        body = self._exactly(size)
        if body is None:
            raise NoVisit(BROKEN_OFF)
        return body

    def _exactly(self, size: int) -> bytes | None:
        """So many bytes; None where there are none any more."""
        while len(self._read) < size:
            if not self._more():
                if self._read:
                    raise NoVisit(BROKEN_OFF)
                return None
        made = bytes(self._read[:size])
        del self._read[:size]
        return made


def _framed(body: bytes) -> bytes:
    return LENGTH.pack(len(body)) + body


def _code(code: int | None) -> str:
    return "the connection ended" if code is None else f"exit code {code}"


def _there(facts: bytes, arrived: float) -> There:
    try:
        said = json.loads(facts)
        made = There(
            str(said["python"])[:32],
            str(said["machine"])[:32],
            str(said["libc"])[:32],
            int(said["uid"]),
            float(said["time"]) - arrived,
        )
        version = tuple(int(part) for part in made.python.split("."))
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise NoVisit("sent what is no answer") from error
    if version < OLDEST_PYTHON:
        raise NoVisit(f"Python {made.python} is there: the agent needs 3.11 or newer (ansible_python_interpreter)")
    return made
