"""Measures what a running agent costs its host: memory, idle CPU, and the CPU of one full check, all from /proc.

Memory and CPU are of the processes named and all their descendants. Reading smaps_rollup needs the same user or root.
"""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.figures import Figure

PROC = Path("/proc")
KB = 1024
MB = 1024 * 1024
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
FRONT_RSS_BOUND = 52.0
IDLE_PSS_BOUND = 80.0
IDLE_CPU_BOUND = 0.2
CHECK_CPU_BOUND = 0.25
# /proc/PID/stat after the parenthesised name: state is field 3 of proc(5), and index 0 here.
PARENT, USER_TICKS, CHILD_SYSTEM_TICKS = 1, 11, 14


def rss(pid: int) -> int:
    """Resident bytes of one process, as /proc/PID/smaps_rollup counts them."""
    return _rollup(pid, "Rss")


def pss(pids: Iterable[int]) -> int:
    """Proportional bytes of several processes together: a page shared by n processes counts 1/n for each."""
    return sum(_rollup(pid, "Pss") for pid in pids)


def tree(pid: int) -> list[int]:
    """The process and all its living descendants, itself first."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[PARENT]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, []))
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system seconds of the processes and of the children they have reaped; the dead count as nothing.

    A process that nobody waits for (SIGCHLD ignored, or its parent dead) takes its seconds with it.
    """
    ticks = 0
    for pid in pids:
        if fields := _stat(pid):
            ticks += sum(int(ticks) for ticks in fields[USER_TICKS : CHILD_SYSTEM_TICKS + 1])
    return ticks / TICKS_PER_SECOND


def idle_share(roots: Iterable[int], seconds: float) -> float:
    """Share of one core the trees use in the next `seconds`; 0.002 is 0.2 %."""
    roots = list(roots)
    before, started = cpu_seconds(trees(roots)), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(trees(roots)) - before) / (time.monotonic() - started)


def cpu_of(roots: Iterable[int], act: Callable[[], None], settle: float = 0.5) -> float:
    """CPU seconds that the trees use for `act`, up to `settle` seconds after it: jobs are reaped a little later."""
    roots = list(roots)
    before = cpu_seconds(trees(roots))
    act()
    time.sleep(settle)
    return cpu_seconds(trees(roots)) - before


def trees(roots: Iterable[int]) -> list[int]:
    """All processes of several trees, each once."""
    return list(dict.fromkeys(pid for root in roots for pid in tree(root)))


def _stat(pid: int) -> list[str]:
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The name may hold blanks and brackets; what counts follows the last bracket.
    return text.rpartition(")")[2].split()


def _rollup(pid: int, field: str) -> int:
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == field:
            return int(rest.split()[0]) * KB
    raise ValueError(f"/proc/{pid}/smaps_rollup has no {field}; it needs Linux 4.14 or later")


def measure_idle(front: int, worker: int, seconds: float) -> list[Figure]:
    """Memory and idle CPU of an agent that nobody asks anything; takes `seconds`."""
    everything = trees([front, worker])
    return [
        Figure("front, RSS", rss(front) / MB, "MB", FRONT_RSS_BOUND),
        Figure(f"all {len(everything)} idle processes, PSS", pss(everything) / MB, "MB", IDLE_PSS_BOUND),
        Figure(
            f"idle CPU over {seconds:g} s, of one core", idle_share([front, worker], seconds) * 100, "%", IDLE_CPU_BOUND
        ),
    ]


def measure_checks(front: int, worker: int, command: list[str], repeats: int) -> list[Figure]:
    """CPU inside the agent for each run of `command`; the command's own CPU is not in it."""

    def check() -> None:
        # A check that finds trouble exits with something else than 0; 64 and above mean it did not look.
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
        if done.returncode < 0 or done.returncode >= 64:
            raise SystemExit(f"{command[0]} ended with {done.returncode}, so nothing was measured")

    spent = [cpu_of([front, worker], check) for _ in range(repeats)]
    return [
        Figure(f"full check, CPU, best of {repeats}", min(spent), "s", CHECK_CPU_BOUND),
        Figure(f"full check, CPU, median of {repeats}", statistics.median(spent), "s"),
    ]
