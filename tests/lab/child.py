"""Starts a child process with a log file of its own, waits until it is ready, and ends it by its pid."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.waiting import until


@dataclass(frozen=True)
class Child:
    """A running child: its process and the file that holds its standard output and error, from byte `begin` on."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    begin: int

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None

    def said(self) -> str:
        """Return what this child has written; an earlier one may have written to the same log."""
        return self.log.read_bytes()[self.begin :].decode(errors="replace")

    def tail(self, lines: int = 20) -> str:
        """Return the last `lines` lines this child has written."""
        return "\n".join(self.said().splitlines()[-lines:])


class DiedEarly(RuntimeError):
    """The child ended before it was ready; the message holds the end of its log."""


@contextlib.contextmanager
def run(
    argv: Sequence[str | Path],
    *,
    log: Path,
    ready: Callable[[Child], bool],
    name: str = "",
    seconds: float = 10.0,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    stop: signal.Signals = signal.SIGTERM,
    patience: float = 5.0,
) -> Iterator[Child]:
    """Run `argv` until the block ends; `stop` is the polite signal, SIGKILL follows after `patience` seconds.

    Raises DiedEarly or TimeoutError, both with the log's tail, when `ready` does not hold within `seconds`.
    """
    name = name or Path(argv[0]).name
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        begin = output.tell()
        process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            cwd=directory,
            start_new_session=True,
        )
    child = Child(name, process, log, begin)
    try:
        _await_ready(child, ready, seconds)
        yield child
    finally:
        end(child, stop, patience)


def _await_ready(child: Child, ready: Callable[[Child], bool], seconds: float) -> None:
    def ready_or_dead() -> bool:
        if not child.alive():
            raise DiedEarly(f"{child.name} ended with code {child.process.returncode}:\n{child.tail()}")
        return ready(child)

    try:
        until(f"{child.name} ready", ready_or_dead, seconds=seconds)
    except TimeoutError as late:
        raise TimeoutError(f"{late}:\n{child.tail()}") from None


def end(child: Child, stop: signal.Signals = signal.SIGTERM, patience: float = 5.0) -> None:
    """End the child and all it started, waking what was stopped (state T) first."""
    family = wake(child.pid)
    if child.alive():
        child.process.send_signal(stop)
    try:
        child.process.wait(patience)
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait()
    deadline = time.monotonic() + patience
    for pid in family[1:]:
        while state(pid) not in ("", "Z") and time.monotonic() < deadline:
            time.sleep(0.005)
        if state(pid) not in ("", "Z"):
            send(pid, signal.SIGKILL)


def wake(pid: int) -> list[int]:
    """Let the process and all it started go on (SIGCONT); return their pids, its own first."""
    family = [pid, *descendants(pid)]
    for each in family:
        send(each, signal.SIGCONT)
    return family


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal and say whether the process was still there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def state(pid: int) -> str:
    """Return the state letter of /proc/PID/stat (R, S, D, T, Z), or "" when there is no such process."""
    fields = _stat(pid)
    return fields[0] if fields else ""


def descendants(pid: int) -> list[int]:
    """Return the pids of children, grandchildren and so on."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    found = [pid]
    for ancestor in found:
        found += [child for child, parent in parents.items() if parent == ancestor]
    return found[1:]


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The command's name stands in parentheses and may itself hold blanks and parentheses.
    return text.rpartition(")")[2].split()


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Hold the processes in state T (SIGSTOP) for the length of the block."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        until("state T", lambda: all(state(pid) == "T" for pid in pids))
        yield
    finally:
        for pid in pids:
            send(pid, signal.SIGCONT)
