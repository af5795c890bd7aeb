"""One connection to a Redis or Valkey server, for looking: commands out, replies in, each bounded; no pool, no retries.

The library costs 65 ms of CPU and 9 MB in every job that imports it, and takes whatever a server sends
(docs/decisions/0009-redis-by-hand.md).
"""

import socket
import ssl
from types import TracebackType
from typing import Self, TypeAlias

Reply: TypeAlias = "None | int | str | list[Reply]"

LARGEST_REPLY = 8 * 1024 * 1024
LONGEST_LINE = 64 * 1024
MOST_ITEMS = 200_000
DEEPEST = 8


class Refused(Exception):
    """The server answered with an error; the message is its own."""


class Garbled(Exception):
    """What came is no reply: another kind of server, or a hostile one."""


class Connection:
    """An open connection. OSError (ConnectionError where it was cut, TimeoutError) when it can't be used any more."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._file = stream.makefile("rb")
        self._left = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._stream.close()

    def ask(self, *words: str | int) -> Reply:
        """The reply to one command, text as UTF-8 with what is none replaced. Refused, Garbled or OSError."""
        parts = [str(word).encode() for word in words]
        sent = b"".join([b"*%d\r\n" % len(parts), *(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)])
        self._stream.sendall(sent)
        self._left = MOST_ITEMS
        return self._reply(LARGEST_REPLY, DEEPEST)

    def _reply(self, most: int, depth: int) -> Reply:
        self._left -= 1
        if self._left < 0 or depth < 0:
            raise Garbled("a reply of more values than any has")
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode(errors="replace")
        if kind == b"-":
            # Within a list it is a value like the others; no command of ours has such a reply.
            raise Refused(rest.decode(errors="replace"))
        if kind == b":":
            return _number(rest)
        if kind == b"$":
            return self._text(_number(rest), most)
        if kind == b"*":
            size = _number(rest)
            return None if size < 0 else [self._reply(most, depth - 1) for _ in range(size)]
        raise Garbled("not the Redis protocol")

    def _text(self, size: int, most: int) -> str | None:
        if size < 0:
            return None
        if size > most:
            raise Garbled(f"a reply of {size} bytes")
        data = self._file.read(size + 2)
        if len(data) != size + 2:
            raise ConnectionResetError("closed within a reply")
        return data[:-2].decode(errors="replace")

    def _line(self) -> bytes:
        line = self._file.readline(LONGEST_LINE)
        if not line:
            raise ConnectionResetError("closed without a reply")
        if not line.endswith(b"\r\n"):
            raise Garbled("not the Redis protocol")
        return line[:-2]


def _number(text: bytes) -> int:
    try:
        return int(text[:20])
    except ValueError as error:
        raise Garbled("not the Redis protocol") from error


def connect(host: str, port: int, path: str, timeout: float, context: ssl.SSLContext | None) -> Connection:
    """To a host's port, or a UNIX socket at `path`; over TLS with a context. `timeout` in seconds is for each wait."""
    if path:
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.settimeout(timeout)
            stream.connect(path)
        except OSError:
            stream.close()
            raise
    else:
        stream = socket.create_connection((host, port), timeout)
    if context is None:
        return Connection(stream)
    try:
        return Connection(context.wrap_socket(stream))
    except OSError:
        stream.close()
        raise
