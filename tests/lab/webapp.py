"""Starts the sample web application on uvicorn, with a role and a database of its own."""

import contextlib
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.lab import child, requirements
from tests.lab.postgres import Postgres
from tests.lab.redis import Redis

ROLE = "orders"
DATABASE = "shop"


@dataclass(frozen=True)
class WebApp:
    """The running application and the address requests go to."""

    host: str
    port: int
    pid: int
    log: Path
    role: str = ROLE
    database: str = DATABASE

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@contextlib.contextmanager
def run(
    directory: Path,
    *,
    port: int,
    postgres: Postgres,
    redis: Redis,
    pool_size: int = 5,
    host: str = "127.0.0.1",
    release: str = "1.0.0",
) -> Iterator[WebApp]:
    """Run the application until the block ends; `host` may be any 127.0.0.0/8 address."""
    prepare(postgres)
    environment = {
        "PATH": requirements.SEARCH,
        "DATABASE_DSN": f"host={postgres.sockets} port={postgres.port} user={ROLE} dbname={DATABASE}",
        "REDIS_URL": redis.url,
        "POOL_SIZE": str(pool_size),
        "RELEASE": release,
    }
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(Path(__file__).parent / "app"), "orders:app"]
    with child.run(
        [*command, "--host", host, "--port", str(port), "--no-access-log", "--timeout-graceful-shutdown", "1"],
        log=directory / "webapp.log",
        ready=lambda _: _lives(host, port),
        name="webapp",
        environment=environment,
        directory=directory,
        seconds=20.0,
        patience=3.0,
    ) as server:
        yield WebApp(host, port, server.pid, server.log)


def prepare(postgres: Postgres) -> None:
    """Create the application's role and database where they are missing."""
    with contextlib.closing(postgres.connect(autocommit=True)) as session:
        with contextlib.suppress(psycopg.errors.DuplicateObject):
            session.execute(f"CREATE ROLE {ROLE} LOGIN")
        with contextlib.suppress(psycopg.errors.DuplicateDatabase):
            session.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")


def _lives(host: str, port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/health/live", timeout=1.0) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
