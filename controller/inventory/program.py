"""Runs another program: bounded in time and output, never in a shell, and with all that it started ended after it."""

import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class TooSlow(Exception):
    """It had not ended in its time."""


class TooMuch(Exception):
    """It printed more than it may."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What it printed, and its exit code: negative where a signal ended it."""

    output: bytes
    complaint: bytes
    code: int


def run(
    command: Sequence[str], until: float, most: int, complaint: int, environment: Mapping[str, str] | None = None
) -> Ended:
    """`until` by the monotonic clock; `most` bytes of output, and so many of the complaint: its rest is thrown away.

    Raises TooSlow, TooMuch, and OSError where it can't be run.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    try:
        printed = _collect(process, until, most, complaint)
        _await_end(process, until)
    finally:
        # With all that it started, even where it ended by itself: until it is reaped, its group is no other's.
        os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()
    return Ended(*printed, code)


def _collect(process: "subprocess.Popen[bytes]", until: float, most: int, complaint: int) -> tuple[bytes, bytes]:
    """What it writes, until it closes both pipes."""
    assert process.stdout is not None
    assert process.stderr is not None
    output, complained = bytearray(), bytearray()
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ, output)
        waiting.register(process.stderr, selectors.EVENT_READ, complained)
        while waiting.get_map():
            ready = waiting.select(max(0.0, until - time.monotonic()))
            if not ready:
                raise TooSlow
            for key, _ in ready:
                piece = os.read(key.fd, 65536)
                if not piece:
                    waiting.unregister(key.fileobj)
                elif key.data is output or len(complained) < complaint:
                    key.data.extend(piece)
            if len(output) > most:
                raise TooMuch
    return bytes(output), bytes(complained)


def _await_end(process: "subprocess.Popen[bytes]", until: float) -> None:
    """Until it has ended; it is not reaped."""
    handle = os.pidfd_open(process.pid)
    try:
        if not select.select([handle], [], [], max(0.0, until - time.monotonic()))[0]:
            raise TooSlow
    finally:
        os.close(handle)
