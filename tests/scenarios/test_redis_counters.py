"""Clients, slow commands, keys, saving and eviction of a real Redis, found by a real agent over mutual TLS."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as library

from tests.coverage import Evidence
from tests.lab import redis
from tests.lab.agents import Fleet
from tests.lab.redis import Redis
from tests.lab.waiting import until

BUSY = "local i = 0; while i < 30000000 do i = i + 1 end; return i"


@pytest.fixture
def server(folder: Path) -> Iterator[Redis]:
    """Run a Redis of the test's own, small in everything."""
    settings = {"maxclients": "20", "maxmemory": "8mb", "maxmemory-policy": "allkeys-random"}
    with redis.run(folder / "r", port=6394, settings=settings) as started:
        yield started


def of(site: Fleet, server: Redis, rule: str) -> list[dict[str, Any]]:
    return [item for item in site.findings("--include", rule) if item["name"] == f"{server.host}:{server.port}"]


def sampled(site: Fleet, server: Redis, rule: str, said: str) -> None:
    """Until the sampler has counted this server once."""
    until(
        "a sample", lambda: all(said not in item["summary"] for item in of(site, server, rule)), seconds=10, every=0.5
    )


@pytest.mark.covers("chk:REDIS-CLIENTS", "exp:E14")
def test_a_client_that_takes_all_connections_is_named_and_those_turned_away_are_counted(
    site: Fleet, server: Redis, evidence: Evidence
) -> None:
    evidence.well("REDIS-CLIENTS", of(site, server, "REDIS-CLIENTS"))

    with contextlib.ExitStack() as stack:
        for _ in range(16):
            client = server.client()
            stack.callback(client.close)
            client.client_setname("leaky")
        full = evidence.fault("REDIS-CLIENTS", of(site, server, "REDIS-CLIENTS"))
        for _ in range(8):
            client = server.client()
            stack.callback(client.close)
            with contextlib.suppress(library.exceptions.ConnectionError):
                client.ping()
    turned_away = evidence.fault("REDIS-CLIENTS", of(site, server, "REDIS-CLIENTS"))

    assert "of 20 clients" in full["summary"]
    assert "most by leaky: 16" in full["summary"]
    assert turned_away["status"] == "crit"
    assert "turned away" in turned_away["summary"]


@pytest.mark.covers("chk:REDIS-SLOWLOG", "exp:E15")
def test_a_slow_command_is_named_by_its_shape_and_never_by_its_values(
    site: Fleet, server: Redis, evidence: Evidence
) -> None:
    evidence.well("REDIS-SLOWLOG", of(site, server, "REDIS-SLOWLOG"))

    client = server.client()
    client.config_set("slowlog-log-slower-than", 0)
    client.get("session:hunter2Canary")
    client.eval(BUSY, 0)
    client.config_set("slowlog-log-slower-than", 10_000_000)
    slow = evidence.fault("REDIS-SLOWLOG", of(site, server, "REDIS-SLOWLOG"))

    assert "the longest EVAL with" in slow["summary"]
    shapes = {row[0] for row in slow["table"]["rows"]}
    assert "GET session:*" in shapes
    assert "Canary" not in str(slow)


@pytest.mark.covers("chk:REDIS-KEYSPACE", "exp:E16")
def test_keys_that_vanish_are_named(site: Fleet, server: Redis, evidence: Evidence) -> None:
    client = server.client()
    pipe = client.pipeline()
    for number in range(3000):
        pipe.set(f"k{number}", "x", ex=3600)
    pipe.execute()
    evidence.well("REDIS-KEYSPACE", of(site, server, "REDIS-KEYSPACE"))
    client.flushall()
    gone = evidence.fault("REDIS-KEYSPACE", of(site, server, "REDIS-KEYSPACE"))

    assert "db0 from 3000 to 0 keys" in gone["summary"]


@pytest.mark.covers("chk:REDIS-MISCONF")
def test_a_redis_that_can_not_save_is_named(site: Fleet, server: Redis, evidence: Evidence, folder: Path) -> None:
    evidence.well("REDIS-MISCONF", of(site, server, "REDIS-MISCONF"))

    place = folder / "save"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    client = server.client()
    client.config_set("dir", str(place))
    client.config_set("save", "3600 1")
    shutil.rmtree(place)
    with contextlib.suppress(library.exceptions.ResponseError):
        client.bgsave()
    until("the save has failed", lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
    failed = evidence.fault("REDIS-MISCONF", of(site, server, "REDIS-MISCONF"))
    client.config_set("save", "")

    assert failed["status"] == "crit"
    assert "it refuses writes" in failed["summary"]


@pytest.mark.covers("chk:REDIS-EVICTION")
def test_a_cache_that_is_too_small_is_named_by_how_much_it_evicts(
    site: Fleet, server: Redis, evidence: Evidence
) -> None:
    evidence.well("REDIS-EVICTION", of(site, server, "REDIS-EVICTION"))
    sampled(site, server, "REDIS-EVICTION", "no earlier sample")

    client = server.client()
    for batch in range(20):
        pipe = client.pipeline(transaction=False)
        for number in range(1000):
            pipe.set(f"{batch}:{number}", "x" * 1000)
        pipe.execute(raise_on_error=False)
    evicts = evidence.fault("REDIS-EVICTION", of(site, server, "REDIS-EVICTION"))

    assert "keys evicted" in evicts["summary"]


@pytest.mark.covers("chk:grants")
def test_an_acl_that_allows_less_is_told_by_the_command_it_lacks(site: Fleet, server: Redis) -> None:
    client = server.client()
    client.acl_setuser("default", enabled=True, nopass=True, categories=["+@all"], commands=["-slowlog"], keys=["*"])
    (slow,) = of(site, server, "REDIS-SLOWLOG")
    client.acl_setuser("default", enabled=True, nopass=True, categories=["+@all"], commands=["+slowlog"], keys=["*"])

    assert (slow["status"], slow["reason"]) == ("skipped", "needs +slowlog|get")
