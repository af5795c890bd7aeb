"""The Redis rules over snapshots made by hand."""

import pytest

from agent.probes import redis as probe
from fleetmedic.v1.snapshot_pb2 import RedisKeyspace
from tests.agent.rules.judged import NOW, duration, one, redis, sample, status, statuses


@pytest.mark.parametrize(("seconds", "expected"), [(0.1, "ok"), (0.101, "warn")])
def test_a_slow_ping_is_a_warning(seconds: float, expected: str) -> None:
    assert status("REDIS-UP", redis(ping=duration(seconds))) == expected


@pytest.mark.parametrize(
    ("error_class", "words"),
    [
        ("LOADING", "loading its data"),
        ("BUSY", "busy with a script"),
        ("MISCONF", "refuses writes (MISCONF)"),
        ("MASTERDOWN", "primary is down"),
        ("DENIED", "protected mode"),
        ("maxclients", "full of clients"),
        ("timeout", "gives no answer"),
        ("refused", "nobody listens"),
        ("cut", "cut the connection off"),
        ("READONLY", "refuses"),
    ],
)
def test_a_refusal_is_critical_and_says_which_kind_it_is(error_class: str, words: str) -> None:
    found = one("REDIS-UP", redis(error_class=error_class, error_text="the text"))
    assert statuses([found]) == ["crit"]
    assert words in found.summary
    assert found.next


@pytest.mark.parametrize("error_class", ["NOAUTH", "WRONGPASS", "NOPERM"])
def test_a_refusal_of_our_own_login_is_skipped_with_the_acl_to_run(error_class: str) -> None:
    found = one("REDIS-UP", redis(error_class=error_class, error_text="no", acl="ACL SETUSER fleetmedic"))
    assert statuses([found]) == ["skipped"]
    assert (found.reason, found.excerpt) == ("needs a login: no", "ACL SETUSER fleetmedic")


@pytest.mark.parametrize(
    ("used", "expected"), [(799, "ok"), (800, "warn"), (899, "warn"), (900, "crit"), (2000, "crit")]
)
def test_memory_is_judged_by_its_share_of_maxmemory(used: int, expected: str) -> None:
    assert status("REDIS-MEM-NEAR-MAX", redis(used_memory=used, maxmemory=1000)) == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("noeviction", "crit"),
        ("volatile-lru", "crit"),
        ("volatile-ttl", "crit"),
        ("", "crit"),
        ("allkeys-lru", "info"),
        ("allkeys-lfu", "info"),
        ("allkeys-random", "info"),
    ],
)
def test_a_cache_that_may_evict_any_key_may_be_full(policy: str, expected: str) -> None:
    found = one("REDIS-MEM-NEAR-MAX", redis(used_memory=999, maxmemory=1000, maxmemory_policy=policy))
    assert statuses([found]) == [expected]
    assert ("it evicts" in found.summary) == (expected == "info")
    half_full = redis(used_memory=500, maxmemory=1000, maxmemory_policy=policy)
    assert status("REDIS-MEM-NEAR-MAX", half_full) == "ok"


@pytest.mark.parametrize("role", ["slave", "replica"])
def test_a_replica_refuses_no_writes_for_want_of_memory(role: str) -> None:
    full = redis(used_memory=999, maxmemory=1000, maxmemory_policy="noeviction", role=role)
    found = one("REDIS-NOEVICTION-FULL", full)
    assert statuses([found]) == ["ok"]
    assert "replica-ignore-maxmemory" in found.summary
    full.redis.role = "master"
    assert status("REDIS-NOEVICTION-FULL", full) == "crit"


def test_one_that_wants_a_client_certificate_is_skipped_and_not_down() -> None:
    found = one("REDIS-UP", redis(error_class="client-certificate", error_text="alert", tls=True))
    assert (statuses([found]), found.reason) == (["skipped"], "speaks TLS and wants a client certificate")
    assert "--tls" in found.equal_command
    assert "tls-auth-clients" in found.next


def test_buffers_that_eviction_does_not_count_do_not_count_here() -> None:
    assert status("REDIS-MEM-NEAR-MAX", redis(used_memory=950, not_counted_for_evict=200, maxmemory=1000)) == "ok"
    assert status("REDIS-MEM-NEAR-MAX", redis(used_memory=10, not_counted_for_evict=200, maxmemory=1000)) == "ok"


def test_without_maxmemory_there_is_no_share_to_judge() -> None:
    assert "no maxmemory" in one("REDIS-MEM-NEAR-MAX", redis(used_memory=10**12)).summary


@pytest.mark.parametrize(("used", "expected"), [(949, "ok"), (950, "crit")])
def test_a_full_server_that_may_not_evict_is_critical(used: int, expected: str) -> None:
    snapshot = redis(used_memory=used, maxmemory=1000, maxmemory_policy="noeviction")
    assert status("REDIS-NOEVICTION-FULL", snapshot) == expected


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_one_that_finds_nothing_to_evict_and_refuses_writes_is_critical_whatever_its_policy(policy: str) -> None:
    earlier = [sample(NOW - 60, oom_errors=2)]
    full = redis(used_memory=1400, maxmemory=1000, maxmemory_policy=policy, oom_errors=9, earlier=earlier)
    found = one("REDIS-NOEVICTION-FULL", full)
    assert statuses([found]) == ["crit"]
    assert "7 commands refused" in found.summary
    assert status("REDIS-MEM-NEAR-MAX", full) == "crit"


def test_a_full_server_that_may_evict_is_well() -> None:
    snapshot = redis(used_memory=999, maxmemory=1000, maxmemory_policy="allkeys-lru", oom_errors=9)
    assert status("REDIS-NOEVICTION-FULL", snapshot) == "ok"


@pytest.mark.parametrize(
    ("before", "now", "refused"),
    [([], 7, 0), ([7], 7, 0), ([7], 8, 1), ([5, 6, 7], 8, 3), ([100], 2, 2), ([100], 0, 0)],
    ids=["no sample yet", "none since", "one", "since the oldest", "reset and two since", "reset and none since"],
)
def test_refused_writes_are_counted_since_the_oldest_sample(before: list[float], now: int, refused: int) -> None:
    earlier = [sample(NOW - 100 + at, oom_errors=count) for at, count in enumerate(before)]
    found = one(
        "REDIS-NOEVICTION-FULL",
        redis(used_memory=1, maxmemory=1000, maxmemory_policy="noeviction", oom_errors=now, earlier=earlier),
    )
    assert {metric.name: metric.value for metric in found.metrics}["refused_writes"] == refused
    assert statuses([found]) == (["crit"] if refused else ["ok"])


@pytest.mark.parametrize("rule", ["REDIS-MEM-NEAR-MAX", "REDIS-NOEVICTION-FULL"])
@pytest.mark.parametrize("error_class", ["NOAUTH", "refused", "timeout", ""])
def test_memory_that_could_not_be_read_is_skipped_and_never_well(rule: str, error_class: str) -> None:
    assert status(rule, redis(error_class=error_class, version="")) == "skipped"


@pytest.mark.parametrize("rule", ["REDIS-MEM-NEAR-MAX", "REDIS-NOEVICTION-FULL"])
def test_memory_is_judged_where_ping_fails_and_info_answers(rule: str) -> None:
    snapshot = redis(error_class="MISCONF", used_memory=990, maxmemory=1000, maxmemory_policy="noeviction")
    assert status(rule, snapshot) == "crit"


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ([], 5000, "ok"),
        ([5000, 5000], 2501, "ok"),
        ([5000, 5000], 2500, "warn"),
        ([10, 5000], 0, "warn"),
        ([5000], 9999, "ok"),
        ([5000], 10000, "warn"),
        ([0], 10000, "ok"),
        ([999], 0, "ok"),
    ],
)
def test_keys_that_vanish_or_double_in_minutes_are_a_warning(before: list[int], now: int, expected: str) -> None:
    earlier = [sample(NOW - 100 + at, **{"keys 0": count}) for at, count in enumerate(before)]
    spaces = [RedisKeyspace(database=0, keys=now)] if now else []
    assert status("REDIS-KEYSPACE", redis(keyspaces=spaces, earlier=earlier)) == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["get", "session:abc123"], "GET session:*"),
        (["GET", "plain"], "GET plain"),
        (["SET", "4f3c9a", "value"], "SET *"),
        (["EVAL", "return 1", "0"], "EVAL"),
        (["AUTH", "hunter2"], "AUTH"),
        (["\x1b[31m", "x"], "? x"),
        ([], "?"),
    ],
)
def test_a_command_is_told_by_its_shape(words: list[str], said: str) -> None:
    assert probe.shape(words) == said
