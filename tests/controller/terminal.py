"""A real pseudo-terminal: for what is written to a stream, and for programs."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def written(columns: int, write: Callable[[TextIO], None]) -> str:
    """Give what reaches a terminal of so many columns."""
    master, slave = pty.openpty()
    _resize(slave, columns)
    with _Reader(master) as reader, os.fdopen(slave, "w", encoding="utf-8") as stream:
        write(stream)
    return reader.text()


def run(
    words: Sequence[str | Path], environment: Mapping[str, str], folder: Path, columns: int, typed: str = ""
) -> tuple[int, str]:
    """Run a program at a terminal where `typed` was typed; give its exit code and what reached the terminal."""
    master, slave = pty.openpty()
    _resize(slave, columns)
    with _Reader(master) as reader:
        process = subprocess.Popen(
            [str(word) for word in words], stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=dict(environment)
        )
        os.write(master, typed.encode())
        os.close(slave)
        code = process.wait(60)
    return code, reader.text()


@dataclass(frozen=True)
class Running:
    """A program at a terminal, and what it has written there so far."""

    process: "subprocess.Popen[bytes]"
    text: Callable[[], str]


@contextlib.contextmanager
def running(
    words: Sequence[str | Path], environment: Mapping[str, str], folder: Path, columns: int
) -> Iterator[Running]:
    """As `run`, for a program that goes on; it is killed where it has not ended with the block."""
    master, slave = pty.openpty()
    _resize(slave, columns)
    with _Reader(master) as reader:
        process = subprocess.Popen(
            [str(word) for word in words], stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=dict(environment)
        )
        os.close(slave)
        try:
            yield Running(process, reader.text)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(60)


def _resize(terminal: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))


class _Reader:
    """Empties a terminal while others fill it; one that nobody reads would hold them up."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._parts: list[bytes] = []
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> "_Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(60)
        os.close(self._master)

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self._master, 65536)
            except OSError:
                # The other end is closed.
                return
            if not part:
                return
            self._parts.append(part)

    def text(self) -> str:
        return b"".join(self._parts).decode().replace("\r\n", "\n")
