"""What holds for every rule: it looks before it says ok, has a subject, and every limit of it has an owner."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.check import BadRequest, Medic, check
from agent.config import Config
from agent.registry import owner
from fleetmedic.v1.agent_pb2 import CheckRequest, Identity, Limit
from fleetmedic.v1.finding_pb2 import STATUS_OK, Status
from fleetmedic.v1.snapshot_pb2 import Snapshot
from tests.agent.rules import judged
from tests.agent.rules.judged import RULES, judge, statuses

PROBES = ("postgres", "redis", "docker", "filesystem", "memory", "tls", "dns", "http")
CLASSES = ("refused", "timeout", "cut", "unknown", "57P03", "28P01", "NOAUTH", "MISCONF", "dns", "tls", "error")


def test_the_catalogue_holds_the_sixteen_rules_of_the_spine() -> None:
    assert sorted(RULES) == [
        "DNS-RESOLVE",
        "DOCKER-DAEMON",
        "DOCKER-EXIT-CLASS",
        "DOCKER-EXPECTED-MISSING",
        "DOCKER-RESTART-LOOP",
        "HOST-DISK-SPACE",
        "HOST-MEM",
        "HTTP-HEALTH",
        "PG-CONN-SATURATION",
        "PG-IDLE-TXN",
        "PG-LOCK-ROOT",
        "PG-UP",
        "REDIS-MEM-NEAR-MAX",
        "REDIS-NOEVICTION-FULL",
        "REDIS-UP",
        "TLS-EXPIRY",
    ]


def blind(probe: str, error_class: str) -> Snapshot:
    """What a probe brings that got to its target and learnt nothing there."""
    made = Snapshot(target=judged.target(probe))
    if probe == "postgres":
        made.postgres.login.error_class = error_class
    elif probe in ("redis", "docker", "tls", "http"):
        getattr(made, probe).error_class = error_class
    elif probe == "dns":
        made.dns.system.code = error_class
    else:
        getattr(made, probe).SetInParent()
    return made


@given(rule=st.sampled_from(sorted(RULES)), error_class=st.sampled_from(CLASSES), text=st.text(max_size=20))
def test_no_rule_says_ok_of_a_target_that_could_not_be_looked_at(rule: str, error_class: str, text: str) -> None:
    snapshots = [blind(probe, error_class) for probe in RULES[rule].needs]
    for snapshot in snapshots:
        if snapshot.HasField("redis"):
            snapshot.redis.error_text = text
    try:
        found = judge(rule, *snapshots)
    except ZeroDivisionError:
        assert rule == "HOST-MEM"
        return
    assert "ok" not in statuses(found)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_rule_without_snapshots_says_nothing(rule: str) -> None:
    assert judge(rule) == []


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_needs_known_probes_and_every_limit_has_an_owner(rule: str) -> None:
    assert set(RULES[rule].needs) <= set(PROBES)
    assert RULES[rule].title.endswith(".")
    assert all(limit.owner and limit.unit and limit.origin == "default" for limit in RULES[rule].limits)


@pytest.mark.parametrize("probe", PROBES)
def test_every_probe_has_one_rule_that_speaks_for_a_target_without_an_answer(probe: str) -> None:
    speaker = owner(tuple(RULES.values()), probe)
    assert speaker is not None
    assert speaker.unanswered is not None
    assert speaker.unanswered != STATUS_OK


def test_statuses_grow_worse_with_their_number_so_that_the_worst_can_be_taken() -> None:
    order = ["OK", "INFO", "WARN", "CRIT"]
    assert order == sorted(order, key=lambda name: Status.Value(f"STATUS_{name}"))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_limit_that_is_no_number_is_refused_for_it_would_make_everything_ok(value: float, tmp_path: Path) -> None:
    medic = Medic(Identity(), Config(None, "h", tmp_path, tmp_path), tuple(RULES.values()))
    request = CheckRequest(limits=[Limit(rule="HOST-MEM", name="warn_free_share", value=value, origin="prod.yml:3")])
    with pytest.raises(BadRequest, match="HOST-MEM.warn_free_share.*prod.yml:3"):
        next(check(medic, request, 0.0))
