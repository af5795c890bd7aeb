"""Work of a healthy host that is no fault: a backup, maintenance, busy processors, a rollout, stray requests.

Each runs until its block ends and counts what it did.
"""

import contextlib
import functools
import http.client
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from docker.models.containers import Container

from tests.lab import child, requirements
from tests.lab.postgres import Postgres
from tests.lab.waiting import until

# Fills up what others leave of the processors: more while more than wanted is idle, less while less is.
BURN = """
import sys, time
wanted, span, own, before = float(sys.argv[1]), 0.1, 0.5, (0, 0)
while True:
    end = time.monotonic() + own * span
    while time.monotonic() < end:
        pass
    time.sleep((1 - own) * span)
    with open("/proc/stat") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    now = sum(ticks), ticks[3] + ticks[4]
    if now[0] - before[0] >= 50:
        busy = 1 - (now[1] - before[1]) / (now[0] - before[0])
        own, before = min(0.95, max(0.05, own + (wanted - busy) / 2)), now
"""
PATIENCE = 30.0


@dataclass
class Count:
    """How often the work was done, from its beginning to its end."""

    done: int = 0


@contextlib.contextmanager
def repeated(work: Callable[[], None], *, share: float = 1.0) -> Iterator[Count]:
    """Do it over and over on a thread of its own, for a share of the time; what it raises is raised in the end."""
    count, enough, failed = Count(), threading.Event(), []

    def run() -> None:
        try:
            while not enough.is_set():
                began = time.monotonic()
                work()
                count.done += 1
                enough.wait((time.monotonic() - began) * (1 - share) / share)
        except BaseException as error:  # noqa: BLE001 told where the block ends
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield count
    finally:
        enough.set()
        thread.join(PATIENCE)
    assert not thread.is_alive(), f"not at its end after {PATIENCE:g} s"
    if failed:
        raise failed[0]


@contextlib.contextmanager
def backups(server: Postgres, database: str, programs: Path) -> Iterator[Count]:
    """Dump a database over and over; `programs` is the folder of pg_dump."""
    where = ["-h", str(server.sockets), "-p", str(server.port), "-U", "postgres", "-d", database]

    def dump() -> None:
        subprocess.run(
            [programs / "pg_dump", *where],
            check=True,
            stdout=subprocess.DEVNULL,
            env={"PATH": requirements.SEARCH, "LC_ALL": "C"},
        )

    with repeated(dump, share=0.3) as count:
        yield count


@contextlib.contextmanager
def maintenance(server: Postgres, database: str) -> Iterator[Count]:
    """Vacuum and analyse every table of a database over and over."""
    with contextlib.closing(server.connect(dbname=database, autocommit=True)) as session:

        def vacuum() -> None:
            session.execute("VACUUM (FREEZE, ANALYZE)")

        with repeated(vacuum, share=0.3) as count:
            yield count


@contextlib.contextmanager
def processors(folder: Path, *, count: int, share: float) -> Iterator[None]:
    """Keep all `count` processors busy for `share` of the time, with what everything else does counted in."""
    with contextlib.ExitStack() as running:
        for number in range(count):
            burner = child.run(
                [sys.executable, "-c", BURN, str(share)],
                log=folder / f"burn{number}.log",
                ready=lambda started: started.alive(),
                name="burner",
            )
            running.enter_context(burner)
        yield


@contextlib.contextmanager
def rollout(containers: Sequence[Container]) -> Iterator[Count]:
    """Restart the containers one after the other, each when the one before it is well; over and over."""

    def round_() -> None:
        for container in containers:
            container.restart(timeout=5)
            await_health(container)

    with repeated(round_) as count:
        yield count


def await_health(container: Container) -> None:
    """Wait until the container is well."""
    until(f"{container.name} healthy", functools.partial(_healthy, container), seconds=15.0, every=0.1)


def _healthy(container: Container) -> bool:
    """Say whether its health check passes, and for one that has none whether it runs."""
    container.reload()
    state = container.attrs["State"]
    return bool(state["Running"]) and state.get("Health", {}).get("Status", "healthy") == "healthy"


@contextlib.contextmanager
def stray_requests(host: str, port: int) -> Iterator[Count]:
    """Ask a web server for what it does not have, one request after the other on one connection."""
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=10)) as connection:

        def ask() -> None:
            connection.request("GET", "/wp-login.php")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 404

        with repeated(ask, share=0.2) as count:
            yield count
