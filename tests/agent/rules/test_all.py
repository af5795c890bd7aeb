"""What holds for every rule: it looks before it says ok, has a subject, and every limit of it has an owner."""

import math
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.check import BadRequest, Medic, check
from agent.config import Config
from agent.registry import owner
from fleetmedic.v1.agent_pb2 import CheckRequest, Identity, Limit
from fleetmedic.v1.finding_pb2 import STATUS_OK, Status
from fleetmedic.v1.snapshot_pb2 import Snapshot, Target
from tests.agent.rules import judged
from tests.agent.rules.judged import RULES, judge, statuses

PROBES = (
    "postgres",
    "postgres_disk",
    "redis",
    "docker",
    "filesystem",
    "memory",
    "kernel",
    "tls",
    "dns",
    "http",
    "page",
    "dependency",
    "python",
    "own_certificate",
)
CLASSES = ("refused", "timeout", "cut", "unknown", "57P03", "28P01", "NOAUTH", "MISCONF", "dns", "tls", "error")


def test_the_catalogue_holds_these_rules() -> None:
    assert sorted(RULES) == [
        "DEP-HTTP",
        "DEP-TCP",
        "DEPLOY-RECENT",
        "DNS-RESOLVE",
        "DOCKER-CPU",
        "DOCKER-DAEMON",
        "DOCKER-EXIT-CLASS",
        "DOCKER-EXPECTED-MISSING",
        "DOCKER-MEM-LIMIT",
        "DOCKER-NET",
        "DOCKER-OOM",
        "DOCKER-OOM-CHILD",
        "DOCKER-PAUSED",
        "DOCKER-PROC",
        "DOCKER-RESTART-LOOP",
        "DOCKER-START-ERROR",
        "DOCKER-UNHEALTHY",
        "HOST-DISK-RO",
        "HOST-DISK-SPACE",
        "HOST-INODE",
        "HOST-LOAD",
        "HOST-MEM",
        "HOST-OOM",
        "HOST-PSI",
        "HTTP-ASSETS",
        "HTTP-HEALTH",
        "HTTP-READY-VS-LIVE",
        "PG-CONN-HOG",
        "PG-CONN-SATURATION",
        "PG-DISK",
        "PG-IDLE-TXN",
        "PG-LOCK-DDL-QUEUE",
        "PG-LOCK-ROOT",
        "PG-LONG-QUERY",
        "PG-LONG-TXN",
        "PG-UP",
        "PY-PROCS",
        "PY-VERSION",
        "REDIS-CLIENTS",
        "REDIS-EVICTION",
        "REDIS-KEYSPACE",
        "REDIS-MEM-NEAR-MAX",
        "REDIS-MISCONF",
        "REDIS-NOEVICTION-FULL",
        "REDIS-SLOWLOG",
        "REDIS-UP",
        "TLS-CHAIN-INCOMPLETE",
        "TLS-CLIENT-CERT",
        "TLS-EXPIRED",
        "TLS-EXPIRY",
        "TLS-FILE-VS-SERVED",
        "TLS-HOSTNAME",
        "TLS-KEY-MISMATCH",
        "TLS-NOT-YET",
        "TLS-SELF-SIGNED",
        "TLS-UNKNOWN-CA",
    ]


def blind(probe: str, error_class: str) -> Snapshot:
    """What a probe brings that got to its target and learnt nothing there."""
    made = Snapshot(target=judged.target(probe))
    if probe == "postgres":
        made.postgres.login.error_class = error_class
    elif probe in ("redis", "docker", "tls", "http", "dependency"):
        getattr(made, probe).error_class = error_class
    elif probe == "dns":
        made.dns.system.code = error_class
    elif probe == "page":
        made.page.page.error_class = error_class
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


def some_host(made: Snapshot) -> None:
    """Of what is no server: as little as a rule needs to judge it."""
    if made.HasField("filesystem"):
        made.filesystem.size_bytes = 1
    elif made.HasField("memory"):
        made.memory.total_bytes = 1
    elif made.HasField("kernel"):
        made.kernel.processors = 1
    elif made.HasField("python"):
        made.python.pid = 1
        made.python.version = HOSTILE
    elif made.HasField("page") and not made.page.page.error_class:
        made.page.page.status = 200
        made.page.assets.add(url=HOSTILE, kind="script")
    elif made.HasField("own_certificate"):
        made.own_certificate.chain.append(judged.certificate(90, 3, HOSTILE))
    elif made.HasField("postgres_disk"):
        made.postgres_disk.disks.add(part=HOSTILE, path=HOSTILE).room.size_bytes = 1


HOSTILE = "/tmp/a;id $(id) `id` 'x' \"y\" & | > z\n"


def hostile(probe: str, error_class: str, socket: str) -> Snapshot:
    """A target with a command in every name that a host, a container or a request can give it."""
    target = Target(probe=probe, service=HOSTILE, name=HOSTILE, host=HOSTILE, port=1, url=HOSTILE, socket=socket)
    made = blind(probe, error_class)
    made.target.CopyFrom(target)
    if probe == "postgres" and not error_class:
        made.postgres.connections.max_connections = 9
    elif probe == "redis" and not error_class:
        made.redis.version = "7"
    elif probe == "docker":
        for state in ("exited", "restarting"):
            made.docker.containers.add(name=HOSTILE, id=HOSTILE, state=state, exit_code=1, restart_policy="always")
        made.docker.expected.append(HOSTILE)
    elif probe == "dns":
        made.dns.name = HOSTILE
    elif probe == "tls" and not error_class:
        made.tls.chain.append(judged.certificate(90, 3, HOSTILE))
        made.tls.server_name = made.tls.authorities = HOSTILE
        made.tls.verify_code = 20
        made.tls.file.path = made.tls.file.key_path = HOSTILE
        made.tls.file.chain.append(judged.certificate(90, 4, HOSTILE))
        made.tls.file.key_error_class, made.tls.file.key_error_text = "mismatch", HOSTILE
    else:
        some_host(made)
    return made


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("error_class", ["refused", ""])
@pytest.mark.parametrize("socket", [HOSTILE, ""])
def test_a_command_to_copy_holds_what_a_host_names_as_one_word(rule: str, error_class: str, socket: str) -> None:
    found = judge(rule, *(hostile(probe, error_class, socket) for probe in RULES[rule].needs))
    for item in found:
        words = shlex.split(item.equal_command)
        assert all(HOSTILE in word for word in words if ";id" in word), item.equal_command
        assert ";id" not in item.next.replace(shlex.quote(HOSTILE), ""), item.next
    assert found or (rule.startswith(("DOCKER-", "DEPLOY-")) and error_class)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_limit_that_is_no_number_is_refused_for_it_would_make_everything_ok(value: float, tmp_path: Path) -> None:
    medic = Medic(Identity(), Config(None, "h", tmp_path, tmp_path), tuple(RULES.values()))
    request = CheckRequest(limits=[Limit(rule="HOST-MEM", name="warn_free_share", value=value, origin="prod.yml:3")])
    with pytest.raises(BadRequest, match="HOST-MEM.warn_free_share.*prod.yml:3"):
        next(check(medic, request, 0.0))
