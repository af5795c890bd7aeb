"""Keys of a cache are deleted as planned, on a real Redis: those that agent.toml lists, and no others."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from fleetmedic.v1.action_pb2 import OPERATION_STATE_DONE, OPERATION_STATE_FAILED, Action, FlushKeys
from fleetmedic.v1.local_pb2 import (
    REFUSAL_KIND_FAILED_PRECONDITION,
    REFUSAL_KIND_NOT_PERMITTED,
)
from tests.lab import redis as servers
from tests.lab.redis import Redis
from tests.scenarios.actions import operating
from tests.scenarios.actions.operating import Operator

PORT = 6391
PATTERN = "cache:*"
CONFIG = f"""
[[redis]]
service = "carts"
host = "127.0.0.1"
port = {PORT}

[[actions.keys]]
service = "carts"
pattern = "{PATTERN}"

[[actions.keys]]
service = "carts"
pattern = "page:*"
database = 3
"""
LOOKING = "-@all +ping +info +config|get +slowlog|get +client|list +client|setname +hello +auth +select"
# What a shell, a line or a text would break on; and neighbours that a careless pattern takes along.
ODD = [b"cache:a b", b"cache:\n", b"cache:'\"", b"cache:\xff\x00\xfe", b"cache:{x}", b"cache:*", b"cache:$(id)"]
NEIGHBOURS = [b"b", b"cache", b"cache_2:1", b"session:1", b"xcache:1", b"CACHE:1"]


@pytest.fixture(scope="module")
def server(lab: Path) -> Iterator[Redis]:
    """Run a Redis for the tests of this file."""
    with servers.run(lab / "flushing", port=PORT) as running:
        yield running


@pytest.fixture(scope="module")
def operator(lab: Path, server: Redis) -> Iterator[Operator]:
    """Run a worker that may flush some of its keys."""
    with operating.working(lab / "flushing-agent", CONFIG) as working:
        yield working


@pytest.fixture
def client(server: Redis) -> Iterator[Any]:
    """Give a client of an empty server."""
    with server.client(decode_responses=False) as client:
        client.flushall()
        client.config_set("maxmemory", 0)
        yield client


def flush(pattern: str = PATTERN) -> Action:
    return Action(flush_keys=FlushKeys(service="carts", pattern=pattern))


@pytest.mark.covers("exp:F5")
def test_every_key_that_matches_is_deleted_whatever_it_is_called_and_no_neighbour(
    operator: Operator, client: Any
) -> None:
    for key in (*ODD, *NEIGHBOURS, *(b"cache:%d" % number for number in range(3000))):
        client.set(key, b"x" * 100, ex=600)
    client.execute_command("SELECT", 1)
    client.set(b"cache:of another database", b"x")
    client.execute_command("SELECT", 0)
    plan = operator.plan(flush(), reason="many tests, one server")
    (keys, memory) = plan.amounts
    assert (keys.value, keys.tolerance) == (3000 + len(ODD), 0.2)
    assert abs(memory.value / (3007 * 176) - 1) < 0.2
    assert plan.irreversible
    assert plan.kept[0].startswith(f"{len(NEIGHBOURS)} other keys")
    assert client.dbsize() == 3000 + len(ODD) + len(NEIGHBOURS)
    ended = operator.apply(plan)
    assert ended.state == OPERATION_STATE_DONE, ended.result
    assert ended.result == f"3,007 keys deleted, {len(NEIGHBOURS)} others are left in database 0"
    assert sorted(client.keys()) == sorted(NEIGHBOURS)
    assert client.info("keyspace")["db1"]["keys"] == 1
    assert b"cache" in operator.evidence(ended, "redis.json")
    assert b"$(id)" not in operator.evidence(ended, "redis.json")


@pytest.mark.covers("exp:F5")
def test_only_what_agent_toml_lists_may_be_deleted(operator: Operator, client: Any) -> None:
    client.set("session:1", "x")
    for pattern in ("*", "session:*", "cache:1*", "", "page:**"):
        refusal = operator.refused(flush(pattern))
        assert refusal.kind == REFUSAL_KIND_NOT_PERMITTED
        assert refusal.reason == "of carts these may be deleted: cache:*, page:*"
    assert client.dbsize() == 1


@pytest.mark.covers("exp:F5")
def test_where_no_key_matches_there_is_nothing_to_apply(operator: Operator, client: Any) -> None:
    client.set("session:1", "x")
    plan = operator.plan(flush(), reason="many tests, one server")
    assert (plan.plan_id, plan.summary) == ("", "no key matches cache:*")


@pytest.mark.covers("sec:A8", "exp:F5")
def test_a_plan_whose_count_moved_by_more_than_a_fifth_is_refused_and_deletes_nothing(
    operator: Operator, client: Any
) -> None:
    for number in range(100):
        client.set(f"cache:{number}", "x")
    plan = operator.plan(flush(), reason="many tests, one server")
    for number in range(100, 130):
        client.set(f"cache:{number}", "x")
    refusal = operator.not_applied(plan)
    assert refusal.kind == REFUSAL_KIND_FAILED_PRECONDITION
    assert "keys moved from 100 keys to 130 keys, and may not move more than 20%" in refusal.reason
    assert client.dbsize() == 130


@pytest.mark.covers("exp:F5")
def test_the_keys_of_another_database_are_those_that_are_deleted_where_agent_toml_says_so(
    operator: Operator, client: Any
) -> None:
    client.set("page:1", "x")
    client.execute_command("SELECT", 3)
    client.set("page:1", "x")
    ended = operator.apply(operator.plan(flush("page:*"), reason="many tests, one server"))
    assert ended.state == OPERATION_STATE_DONE, ended.result
    client.execute_command("SELECT", 0)
    assert client.info("keyspace").keys() == {"db0"}


@pytest.mark.covers("exp:F5")
def test_a_full_server_that_refuses_writes_is_written_to_again_after_it(operator: Operator, client: Any) -> None:
    for number in range(2000):
        client.set(f"cache:{number}", b"x" * 1000)
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", client.info("memory")["used_memory"])
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        client.set("order:1", b"x" * 10_000)
    plan = operator.plan(flush(), reason="many tests, one server")
    assert {"REDIS-MEM-NEAR-MAX", "REDIS-NOEVICTION-FULL"} == set(plan.verified_by)
    ended = operator.apply(plan)
    assert ended.state == OPERATION_STATE_DONE, ended.result
    assert client.set("order:1", b"x" * 10_000)


@pytest.mark.covers("exp:F5")
def test_a_login_that_may_not_delete_is_refused_with_what_it_lacks(lab: Path, server: Redis) -> None:
    password = lab / "acl-password"
    password.write_text("lab-acl-password")
    password.chmod(0o600)
    login = f'[[redis]]\nservice = "carts"\nhost = "127.0.0.1"\nport = {PORT}\nuser = "reader"\n'
    config = login + f'password_file = "{password}"\n[[actions.keys]]\nservice = "carts"\npattern = "{PATTERN}"\n'
    client: Any = server.client()
    with client, operating.working(lab / "flushing-reader", config) as operator:
        client.set("cache:1", "x")
        words = f"on >lab-acl-password ~* {LOOKING} +scan +memory|usage +pttl +dbsize"
        client.execute_command("ACL", "SETUSER", "reader", *words.split())
        refusal = operator.refused(flush())
        assert refusal.kind == REFUSAL_KIND_NOT_PERMITTED
        assert "ACL SETUSER reader +scan +unlink" in refusal.reason
        assert client.exists("cache:1")
        client.execute_command("ACL", "DELUSER", "reader")


@pytest.mark.covers("exp:F5")
def test_who_makes_such_keys_faster_than_they_go_ends_it_with_what_was_deleted(operator: Operator, client: Any) -> None:
    """A cache that is filled again at once is no mitigation: the plan was for so many keys."""
    client.execute_command("DEBUG", "POPULATE", 60_000, "cache", 100)
    plan = operator.plan(flush(), reason="many tests, one server")
    begun = operator.begin(plan)
    made = 0
    while operator.state(begun) not in (OPERATION_STATE_DONE, OPERATION_STATE_FAILED):
        with client.pipeline(transaction=False) as line:
            for number in range(5000):
                line.set(f"cache:again:{made + number}", "x")
            line.execute()
        made += 5000
    ended = operator.ended(begun)
    assert ended.state == OPERATION_STATE_FAILED
    assert "somebody makes more such keys than the 72,000 that were due at most" in ended.result
    assert ended.result.startswith("stopped after ")
