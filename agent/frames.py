"""Messages between processes of one host: four bytes of length, then a protobuf message. No pickle."""

import os
import struct
import time
from select import select
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

M = TypeVar("M", bound=Message)

LENGTH = struct.Struct(">I")
# The same cap as the gRPC answers have.
LARGEST = 4 * 1024 * 1024


class FrameError(Exception):
    """The other side sent what is no frame, or closed in the middle of one."""


class FrameTimeout(FrameError):
    """The other side was silent for too long."""


def write(descriptor: int, message: Message) -> None:
    body = message.SerializeToString()
    if len(body) > LARGEST:
        raise FrameError(f"a message of {len(body)} bytes is over the {LARGEST} a frame may hold")
    data = memoryview(LENGTH.pack(len(body)) + body)
    while data:
        data = data[os.write(descriptor, data) :]


def read(descriptor: int, kind: type[M], deadline: float | None = None) -> M | None:
    """The next message, or None where the other side closed between two. `deadline` is time.monotonic()'s."""
    head = _read_exactly(descriptor, LENGTH.size, deadline, may_end=True)
    if head is None:
        return None
    (size,) = LENGTH.unpack(head)
    if size > LARGEST:
        raise FrameError(f"a frame of {size} bytes is over the {LARGEST} allowed")
    body = _read_exactly(descriptor, size, deadline, may_end=False)
    message = kind()
    try:
        message.ParseFromString(body or b"")
    except DecodeError as error:
        raise FrameError("a frame holds no message of the expected kind") from error
    return message


def _read_exactly(descriptor: int, size: int, deadline: float | None, *, may_end: bool) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0 or not select([descriptor], [], [], left)[0]:
                raise FrameTimeout("no answer in time")
        piece = os.read(descriptor, min(size - len(parts), 1 << 20))
        if not piece:
            if may_end and not parts:
                return None
            raise FrameError("the connection ended in the middle of a message")
        parts += piece
    return bytes(parts)
