"""Faults made in a real Redis, found by a real agent over mutual TLS."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis as library

from agent.config import Config, RedisLogin
from agent.probes import redis as probe
from fleetmedic.v1.snapshot_pb2 import Target
from tests.coverage import Evidence
from tests.lab import child, proxy, redis
from tests.lab.agents import Fleet
from tests.lab.authority import Authority
from tests.lab.redis import Redis
from tests.lab.waiting import until

MEGABYTE = 2**20


@pytest.fixture
def server(folder: Path) -> Iterator[Redis]:
    """Run a Redis of the test's own, which may hold 20 MB and evicts nothing."""
    with redis.run(folder, port=6390, settings={"maxmemory": "20mb", "maxmemory-policy": "noeviction"}) as started:
        yield started


def at(server: Redis) -> dict[str, str]:
    return {"name": f"{server.host}:{server.port}"}


def fill(server: Redis, share: float) -> None:
    """Until the share of maxmemory is used, or a write is refused."""
    client = server.client()
    number = 0
    while client.info("memory")["used_memory"] < share * 20 * MEGABYTE:
        try:
            client.set(f"key:{number}", "x" * 100_000)
        except library.exceptions.OutOfMemoryError:
            break
        number += 1
    client.close()


@pytest.mark.covers("chk:REDIS-MEM-NEAR-MAX")
def test_a_redis_near_its_limit_is_named_before_it_is_full(site: Fleet, server: Redis, evidence: Evidence) -> None:
    evidence.well("REDIS-MEM-NEAR-MAX", site.findings("--include", "REDIS-*"), **at(server))

    fill(server, 0.85)
    found = site.findings("--include", "REDIS-*")

    near = evidence.fault("REDIS-MEM-NEAR-MAX", found, **at(server))
    assert near["status"] == "warn"
    assert "noeviction" in near["summary"]
    evidence.well("REDIS-NOEVICTION-FULL", found, **at(server))


@pytest.mark.covers("chk:REDIS-NOEVICTION-FULL")
def test_a_redis_that_refuses_writes_is_named_though_it_answers_ping(
    site: Fleet, server: Redis, evidence: Evidence
) -> None:
    evidence.well("REDIS-NOEVICTION-FULL", site.findings("--include", "REDIS-*"), **at(server))

    fill(server, 1.0)
    found = site.findings("--include", "REDIS-*")

    full = evidence.fault("REDIS-NOEVICTION-FULL", found, **at(server))
    assert "writes are refused" in full["summary"]
    assert "commands refused for want of memory" in full["summary"]
    evidence.fault("REDIS-MEM-NEAR-MAX", found, **at(server))
    evidence.well("REDIS-UP", found, **at(server))


@pytest.mark.covers("chk:REDIS-UP")
def test_a_stopped_redis_is_a_timeout(site: Fleet, server: Redis, evidence: Evidence) -> None:
    evidence.well("REDIS-UP", site.findings("--include", "REDIS-UP"), **at(server))

    with child.stopped(server.pid):
        found = site.findings("--include", "REDIS-*")

    up = evidence.fault("REDIS-UP", found, **at(server))
    assert "timeout" in up["summary"]
    others = [item for item in found if item["name"] == at(server)["name"] and item["id"] != "REDIS-UP"]
    assert {item["status"] for item in others} == {"skipped"}


@pytest.mark.covers("chk:REDIS-UP", "chk:grants")
def test_a_redis_that_wants_a_login_prints_the_acl_and_is_never_ok(site: Fleet, folder: Path) -> None:
    with redis.run(folder, port=6391, settings={"requirepass": "sesame"}):
        found = [item for item in site.findings("--include", "REDIS-*") if item["name"] == "127.0.0.1:6391"]

    assert {item["status"] for item in found} == {"skipped"}
    up = next(item for item in found if item["id"] == "REDIS-UP")
    assert "ACL SETUSER fleetmedic" in up["excerpt"]
    assert "wants a login" in up["summary"]


@pytest.mark.covers("chk:REDIS-UP")
@pytest.mark.parametrize(
    ("settings", "make", "said"),
    [
        ({"maxclients": "2"}, "clients", "full of clients"),
        ({"busy-reply-threshold": "100"}, "script", "busy with a script"),
        ({"save": "1 1"}, "misconf", "MISCONF"),
    ],
)
def test_each_way_of_refusing_has_its_own_name(
    site: Fleet, folder: Path, settings: dict[str, str], make: str, said: str
) -> None:
    with redis.run(folder, port=6392, settings=settings) as server:
        clients = [server.client(socket_timeout=0.3) for _ in range(3)]
        FAULTS[make](clients)
        found = site.findings("--include", "REDIS-UP")
        for client in clients:
            client.close()
        if make == "script":
            server.client().script_kill()

    up = next(item for item in found if item["name"] == "127.0.0.1:6392")
    assert up["status"] == "crit"
    assert said in up["summary"]


@pytest.mark.covers("chk:REDIS-UP")
@pytest.mark.parametrize(
    ("clients", "protocols", "status", "said"),
    [
        ("no", "TLSv1.2 TLSv1.3", "ok", "PING in"),
        ("yes", "TLSv1.3", "skipped", "wants a client certificate"),
        ("yes", "TLSv1.2", "skipped", "wants a client certificate"),
    ],
)
def test_a_port_that_speaks_tls_is_spoken_to_in_tls(
    site: Fleet, folder: Path, authority: Authority, clients: str, protocols: str, status: str, said: str
) -> None:
    files = authority.issue("cache.lab", dns=["cache.lab"]).write(folder)
    settings = {
        "tls-port": "6396",
        "tls-cert-file": str(files.certificate),
        "tls-key-file": str(files.key),
        "tls-ca-cert-file": str(files.root),
        "tls-auth-clients": clients,
        "tls-protocols": f'"{protocols}"',
    }
    # Of two ports the agent dials the lower.
    with redis.run(folder, port=6397, settings=settings):
        found = [item for item in site.findings("--include", "REDIS-*") if item["name"] == "127.0.0.1:6396"]

    assert {item["status"] for item in found} == {status}
    assert said in next(item for item in found if item["id"] == "REDIS-UP")["summary"]


@pytest.mark.covers("chk:REDIS-UP")
def test_a_redis_that_is_named_as_tls_gets_no_password_in_plain_text(folder: Path, authority: Authority) -> None:
    files = authority.issue("cache.lab", dns=["cache.lab"]).write(folder)
    password = folder / "password"
    password.write_text("sesame\n")
    settings = {
        "tls-port": "6398",
        "tls-cert-file": str(files.certificate),
        "tls-key-file": str(files.key),
        "tls-auth-clients": "no",
        "requirepass": "sesame",
    }
    login = RedisLogin("cache", "127.0.0.1", 6398, "", "", password, "agent.toml:1", tls=True)
    config = Config(None, "h", folder, folder, redis=(login,))
    target = Target(probe="redis", host="127.0.0.1", port=6398, origin=login.origin)
    with redis.run(folder / "redis", port=6399, settings=settings):
        seen = probe.collect(target, config).redis
        elsewhere = Target(probe="redis", host="127.0.0.1", port=6399, origin=login.origin)
        plain = probe.collect(elsewhere, replace(config, redis=(replace(login, port=6399),))).redis

    assert (seen.error_class, seen.tls) == ("", True)
    assert seen.version
    assert plain.tls, "one that does not speak TLS is not tried without"
    assert plain.error_class


def _all_clients(clients: "list[library.Redis]") -> None:
    for client in clients[:2]:
        client.ping()


def _endless_script(clients: "list[library.Redis]") -> None:
    with pytest.raises(library.exceptions.TimeoutError):
        clients[0].eval("while true do end", 0)


def _no_place_to_save(clients: "list[library.Redis]") -> None:
    """Nothing can be saved into /proc, whoever asks."""
    clients[0].config_set("dir", "/proc")
    clients[0].set("a", "b")

    def refused() -> bool:
        try:
            clients[0].set("a", "c")
        except library.exceptions.ResponseError as error:
            return "MISCONF" in str(error)
        return False

    until("writes are refused", refused, every=0.1)


FAULTS = {"clients": _all_clients, "script": _endless_script, "misconf": _no_place_to_save}


def test_a_cache_that_finds_nothing_to_evict_and_refuses_writes_is_named(
    site: Fleet, folder: Path, evidence: Evidence
) -> None:
    settings = {"maxmemory": "20mb", "maxmemory-policy": "volatile-lru"}
    with redis.run(folder, port=6391, settings=settings) as server:
        evidence.well("REDIS-NOEVICTION-FULL", site.findings("--include", "REDIS-*"), **at(server))
        fill(server, 1.0)
        with pytest.raises(library.exceptions.OutOfMemoryError):
            server.client().set("one more", "x" * 1_000_000)
        full = evidence.fault("REDIS-NOEVICTION-FULL", site.findings("--include", "REDIS-*"), **at(server))

    assert full["status"] == "crit"
    assert "volatile-lru finds nothing to evict" in full["summary"]


@pytest.mark.covers("chk:REDIS-UP")
def test_a_redis_is_slow_where_every_ping_is_and_not_where_one_was(server: Redis, folder: Path) -> None:
    config = Config(None, "h", folder, folder)
    with proxy.run(server.host, server.port) as between, contextlib.closing(server.client()) as client:
        client.client_pause(200, all=True)
        once = probe.collect(Target(probe="redis", host=server.host, port=server.port), config).redis
        between.set("delay", seconds=0.1)
        always = probe.collect(Target(probe="redis", host="127.0.0.1", port=between.port), config).redis

    assert 0 < once.ping.ToMicroseconds() < 100_000
    assert always.ping.ToMilliseconds() >= 200
