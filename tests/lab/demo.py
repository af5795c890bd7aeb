"""`make demo`: real agents find a real fault in a real PostgreSQL or Redis, on this machine, without root."""

import argparse
import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import redis as redis_library

from tests.lab import agents, postgres, redis, webapp
from tests.lab.agents import BIN, Desk
from tests.lab.postgres import Postgres
from tests.lab.redis import Redis
from tests.lab.waiting import free_port, until
from tests.lab.webapp import WebApp

POOL = 5
REDIS_LIMIT = "8mb"
SERVICES = ("orders", "postgres", "redis")


@dataclass(frozen=True)
class Stage:
    """The running shop, and the desk it is looked at from."""

    desk: Desk
    inventory: Path
    database: Postgres
    cache: Redis
    app: WebApp
    began: float

    def say(self, text: str) -> None:
        print(f"\n[{time.monotonic() - self.began:4.1f}s] {text}", flush=True)

    def check(self) -> int:
        """Runs what a responder would type, and lets them see it."""
        services = [word for name in SERVICES for word in ("--service", name)]
        words = ["check", "-i", self.inventory.name, *services]
        print(f"\n$ fleetmedic {' '.join(words)}", flush=True)
        return self.run(words)

    def run(self, words: Sequence[str]) -> int:
        environment = self.desk.environment | {"TERM": "xterm"}
        return subprocess.run(
            [BIN / "fleetmedic", *words], env=environment, cwd=self.desk.folder, check=False
        ).returncode


@dataclass(frozen=True)
class Places:
    """Where the services are; PostgreSQL's sockets are with its data where no folder is named."""

    postgres: int
    redis: int
    app: int
    sockets: Path | None = None


@contextlib.contextmanager
def stage(folder: Path, began: float, places: Places | None = None) -> Iterator[Stage]:
    """PostgreSQL, Redis, the web application and three agents, each agent with what it is to look at."""
    at = places or Places(free_port(), free_port(), free_port())
    with contextlib.ExitStack() as running:
        start = running.enter_context
        binaries = postgres.embedded_binaries()
        database = start(postgres.run(folder / "p", port=at.postgres, binaries=binaries, sockets=at.sockets))
        settings = {"maxmemory": REDIS_LIMIT, "maxmemory-policy": "noeviction"}
        cache = start(redis.run(folder / "r", port=at.redis, settings=settings, binary=redis.embedded_binary()))
        app = start(webapp.run(folder / "w", port=at.app, postgres=database, redis=cache, pool_size=POOL))
        with contextlib.closing(database.connect(autocommit=True)) as session:
            session.execute("CREATE ROLE fleetmedic LOGIN")
            session.execute("GRANT pg_monitor TO fleetmedic")
        desk = agents.desk(folder / "desk")
        looked_at = {
            "web01": f'[[http]]\nservice = "orders"\nurl = "{app.url}/health/ready"\n',
            "db01": f'[[postgres]]\nsocket = "{database.sockets}"\nport = {database.port}\n',
            "cache01": f'[[redis]]\nhost = "{cache.host}"\nport = {cache.port}\n',
        }
        fleet = [
            start(agents.run(desk, name, port=free_port(), top="discover = false", config=config))
            for name, config in looked_at.items()
        ]
        inventory = start(agents.fleet(desk, fleet)).inventory
        shown = inventory.rename(inventory.with_name("inventory.yml"))
        yield Stage(desk, shown, database, cache, app, began)


@contextlib.contextmanager
def no_fault(stage: Stage) -> Iterator[str]:
    stage.say("Nothing is broken this time (FAULT=none).")
    yield ""


@contextlib.contextmanager
def lock(stage: Stage) -> Iterator[str]:
    """A session holds a row and sits idle in its transaction; requests for the row take up the pool."""
    role, name = stage.app.role, stage.app.database
    with contextlib.closing(stage.database.connect(role, name, application_name="nightly-report")) as holder:
        holder.execute("SELECT * FROM orders WHERE id = 1 FOR UPDATE")
        stage.say(f"A session of 'nightly-report' (pid {holder.info.backend_pid}) holds a row and commits nothing;")
        print(f"        {POOL} customers' requests now wait for that row, and with them the application's whole pool.")
        for _ in range(POOL):
            threading.Thread(target=_touch, args=(stage.app.url,), daemon=True).start()
        until("the pool is exhausted", lambda: not _is_ready(stage.app.url), seconds=15, every=0.1)
        yield f"session {holder.info.backend_pid} "
        holder.rollback()


def _touch(url: str) -> None:
    request = urllib.request.Request(f"{url}/orders/1/touch", method="POST")
    with contextlib.suppress(OSError):
        urllib.request.urlopen(request, timeout=20).close()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=3) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextlib.contextmanager
def redis_full(stage: Stage) -> Iterator[str]:
    """Writes fill Redis to its limit; it may evict nothing, so it refuses every further write."""
    client = stage.cache.client()
    stage.say(f"The cache is filled to its {REDIS_LIMIT}; it still answers reads, and refuses every write.")
    number = 0
    with contextlib.suppress(redis_library.exceptions.OutOfMemoryError):
        while True:
            client.set(f"cart:{number}", "x" * 10_000)
            number += 1
    yield "writes are refused"
    client.flushall()
    client.close()


FAULTS: dict[str, Callable[[Stage], contextlib.AbstractContextManager[str]]] = {
    "lock": lock,
    "redis-full": redis_full,
    "none": no_fault,
}


def play(fault: str) -> int:
    """0 where the fleet was well, and then the fault, and nothing but it, was named."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="fm-demo-"))
    folder.chmod(0o755)
    try:
        print(
            "Starting PostgreSQL, Redis, a web application and three agents with mutual TLS, all on loopback.",
            flush=True,
        )
        with stage(folder, began) as running:
            running.say("All is up. Is the fleet well?")
            before = running.check()
            with FAULTS[fault](running) as named:
                running.say("The fleet is asked again:" if named else "The fleet is asked once more:")
                after = running.check()
                said = running.desk.run("runs", "list", "--most", "1").out.split()[0]
                found = running.desk.run("runs", "show", said).out
                if named:
                    running.say("And the evidence, as it is kept:")
                    print(f"\n$ fleetmedic runs show {said}\n{found}", flush=True)
            running.say("Everything is stopped again.")
        return _verdict(before, after, named, found)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _verdict(before: int, after: int, named: str, found: str) -> int:
    if before != 0:
        print(f"The fleet was not well to begin with (exit code {before}).")
        return 1
    if named and (after != 2 or named not in found):
        print(f"The fault was made and not named (exit code {after}).")
        return 1
    if not named and after != 0:
        print(f"Something was named though nothing was broken (exit code {after}).")
        return 1
    print("The fault was named." if named else "Nothing was named.")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Real agents find a real fault, on this machine.")
    parser.add_argument("fault", choices=sorted(FAULTS), nargs="?", default="lock")
    fault = parser.parse_args().fault

    def stop(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    # Ended by whatever signal, it takes its servers with it.
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    try:
        return play(fault)
    except KeyboardInterrupt:
        return 130
    except (OSError, RuntimeError) as error:
        print(f"The demo can't run here: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
