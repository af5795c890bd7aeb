"""The lab as pytest fixtures: started when first asked for, shared by the session, skipped with their reason."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.lab import authority as certificates
from tests.lab import dockerd, requirements, sandbox
from tests.lab import hosts as machines
from tests.lab import nginx as web
from tests.lab import postgres as database
from tests.lab import redis as cache
from tests.lab import webapp as shop
from tests.lab.authority import Authority
from tests.lab.dockerd import Engine
from tests.lab.hosts import Site
from tests.lab.nginx import Nginx
from tests.lab.postgres import Postgres
from tests.lab.redis import Redis
from tests.lab.webapp import WebApp

WEBAPP_PORT = 8000
TLS_PORT = 443
HTTP_PORT = 80
SITE = "shop.lab"


def need(*programs: str, root: bool = False) -> None:
    """Skip the test, saying which package or right it lacks, unless all is there."""
    if not sandbox.inside():
        pytest.skip("needs the sandbox: python3 tests/lab/sandbox.py .venv/bin/python -m pytest")
    if root and os.geteuid():
        pytest.skip("needs root")
    if programs and (lacking := requirements.missing(*programs)):
        pytest.skip("; ".join(f"{program} is missing: apt-get install {package}" for program, package in lacking))


@pytest.fixture(scope="session")
def lab() -> Path:
    """Return the folder of everything the session starts, which other system users can reach."""
    need()
    return sandbox.LAB


@pytest.fixture
def folder(lab: Path) -> Iterator[Path]:
    """Make a folder for one test with a short name, which other system users can reach (tmp_path is 0700)."""
    made = Path(tempfile.mkdtemp(prefix="t-", dir=lab))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def postgres(lab: Path) -> Iterator[Postgres]:
    """Run the session's PostgreSQL on 127.0.0.1:5432 and /run/postgresql."""
    need("/usr/lib/postgresql/*/bin/initdb", "setpriv")
    with database.run(lab / "postgres", port=5432, sockets=Path("/run/postgresql")) as server:
        yield server


@pytest.fixture(scope="session")
def redis(lab: Path) -> Iterator[Redis]:
    """Run the session's Redis on 127.0.0.1:6379."""
    need("redis-server")
    with cache.run(lab / "redis", port=6379) as server:
        yield server


@pytest.fixture(scope="session")
def engine(lab: Path) -> Iterator[Engine]:
    """Run the session's Docker engine on /run/docker.sock."""
    need("dockerd", root=True)
    with dockerd.run(lab / "docker", address=Path("/run/docker.sock")) as started:
        yield started


@pytest.fixture(scope="session")
def host_engine(lab: Path) -> Iterator[Engine]:
    """Run the engine of the lab's hosts: one apart, for the other's containers are counted by tests."""
    need("dockerd", "sshd", "sudo", "systemctl", root=True)
    with dockerd.run(lab / "hosts" / "docker", apart=True) as started:
        yield started


@pytest.fixture(scope="session")
def hosts(lab: Path, host_engine: Engine) -> Iterator[Site]:
    """Run the session's three hosts, on 127.0.1.1 to 127.0.1.3. Leave them as they were found."""
    with machines.run(host_engine, lab / "hosts" / "site", ("db01", "app01", "web01")) as site:
        yield site


@pytest.fixture
def fresh_host(host_engine: Engine, folder: Path) -> Iterator[Site]:
    """Run a host for one test, on 127.0.1.9; it is `.only` of its site."""
    with machines.run(host_engine, folder / "site", ("new01",), first=9) as site:
        yield site


@pytest.fixture(scope="session")
def webapp(lab: Path, postgres: Postgres, redis: Redis) -> Iterator[WebApp]:
    """Run the sample application on 127.0.0.1:8000."""
    with shop.run(lab / "webapp", port=WEBAPP_PORT, postgres=postgres, redis=redis) as server:
        yield server


@pytest.fixture(scope="session")
def authority() -> Authority:
    """Make the session's root authority, with validity counted from now."""
    return certificates.root(datetime.fromtimestamp(time.time(), UTC))


@pytest.fixture(scope="session")
def nginx(lab: Path, webapp: WebApp, authority: Authority) -> Iterator[Nginx]:
    """Run nginx on 127.0.0.1:443 (TLS, for shop.lab and localhost) and :80 in front of the sample application."""
    need("nginx")
    files = authority.issue(SITE, dns=[SITE, "localhost"], addresses=["127.0.0.1"]).write(lab / "site")
    with web.run(
        lab / "nginx",
        tls_port=TLS_PORT,
        http_port=HTTP_PORT,
        backend_port=webapp.port,
        certificate=files.certificate,
        key=files.key,
    ) as server:
        yield server
