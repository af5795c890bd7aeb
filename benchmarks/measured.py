"""Runs one program to its end and says what it cost: wall, CPU, memory at its peak."""

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MB = 1024 * 1024


@dataclass(frozen=True)
class Measured:
    """One run. Seconds of wall and of CPU (user and system, reaped children included), bytes of peak memory."""

    wall: float
    cpu: float
    peak_rss: int
    exit_code: int
    output: str
    errors: str


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str], *, keeps_output: bool = True) -> Measured:
    """Runs `command` in `folder` with exactly this environment; its output goes through files, so nobody waits for us.

    The peak memory is never below this process's own: Linux carries that figure over an exec. So a large output that
    nobody reads is better not kept.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.monotonic()
        child = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - started
        # wait4 has reaped it, so subprocess must not look for it again.
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        return Measured(
            wall=wall,
            cpu=usage.ru_utime + usage.ru_stime,
            peak_rss=usage.ru_maxrss * 1024,
            exit_code=child.returncode,
            output=output.read().decode(errors="replace") if keeps_output else "",
            errors=errors.read().decode(errors="replace"),
        )
