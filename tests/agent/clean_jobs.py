"""Jobs that fork or change their user, run from a process without grpc, as the worker is.

    python -m tests.agent.clean_jobs NAME FOLDER

In a process that serves grpc, its fork handlers abort such a child: one reason why the worker never imports grpc.
Prints the kind and the detail of the failure.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from agent.jobs import LARGEST_RESULT, Crew, Work
from fleetmedic.v1.snapshot_pb2 import FailureKind, RedisSnapshot, Snapshot, Target

LINE = "x" * 999 + "\n"
NEVER = 60.0
NOBODY = 65534


def reads_a_locked_file(folder: Path, target: Target) -> Snapshot:
    del target
    locked = folder / "locked"
    locked.touch(mode=0o000)
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    return Snapshot(redis=RedisSnapshot(version=locked.read_text()))


def _grandchild(folder: Path) -> None:
    pid = os.fork()
    if pid == 0:
        time.sleep(NEVER)
        os._exit(0)
    (folder / "pid").write_text(str(pid))


def forks_and_hangs(folder: Path, target: Target) -> Snapshot:
    del target
    _grandchild(folder)
    time.sleep(NEVER)
    return Snapshot()


def forks_and_floods(folder: Path, target: Target) -> Snapshot:
    del target
    _grandchild(folder)
    return Snapshot(redis=RedisSnapshot(version=LINE * (LARGEST_RESULT // 900)))


RUNS: Mapping[str, tuple[Callable[[Path, Target], Snapshot], float]] = {
    "reads_a_locked_file": (reads_a_locked_file, 5.0),
    "forks_and_hangs": (forks_and_hangs, 0.5),
    "forks_and_floods": (forks_and_floods, 10.0),
}


def main(name: str, folder: Path) -> None:
    run, budget = RUNS[name]
    crew = Crew(folder)
    crew.add([Work(Target(probe="redis", name=name), partial(run, folder), budget)])
    (made,) = crew.finished(time.monotonic() + budget + 5)
    print(FailureKind.Name(made.failure.kind).removeprefix("FAILURE_KIND_").lower(), made.failure.detail)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
