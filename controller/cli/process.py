"""The edges of this process: streams whose reader may leave, and the signals that end it."""

import io
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Ended(KeyboardInterrupt):
    """Somebody ended us otherwise than with Ctrl-C: whatever is under way is cleared up, as after that."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Stream(io.FileIO):
    """A descriptor whose reader may leave when it has seen enough; what we do, and our exit code, stay the same."""

    left = False

    def __init__(self, descriptor: int, forgiven: type[OSError]) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._forgiven = forgiven

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.left = True
            # Or what is still buffered would fail once more at our end.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            if not isinstance(error, self._forgiven):
                raise
            return memoryview(data).nbytes


def prepare() -> None:
    """Once, before anything is written: the two streams, and Ended in place of a sudden end."""
    # On standard error nothing is said that would be worth another end.
    for name, forgiven in (("stdout", BrokenPipeError), ("stderr", OSError)):
        setattr(sys, name, _patient(getattr(sys, name), forgiven))
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup has its way.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def said(number: int) -> str:
    """What is said of that signal."""
    return "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"


def reader_left() -> bool:
    """Whether nobody reads our standard output any more."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _Stream) and raw.left


def _patient(stream: TextIO | None, forgiven: type[OSError]) -> TextIO:
    if stream is None:
        # A descriptor that the caller closed; print() and isatty() of None would be errors.
        return open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - to the end of the process
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    buffer = io.BufferedWriter(_Stream(stream.fileno(), forgiven))
    return io.TextIOWrapper(
        buffer, stream.encoding, stream.errors, line_buffering=stream.line_buffering, write_through=stream.write_through
    )


def _end(number: int, _: FrameType | None) -> None:
    # One is enough: what clears up is not to be broken off by a second.
    signal.signal(number, signal.SIG_IGN)
    raise Ended(number)
