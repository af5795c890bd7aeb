"""Every rule under the units on a host in trouble, beside the same agent as plain root without any sandbox."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent import registry
from tests.lab import hosts as machines
from tests.lab.agents import Desk
from tests.lab.dockerd import Engine
from tests.lab.hosts import LabHost, Site
from tests.lab.waiting import until
from tests.under_units import by_hand, troubled
from tests.under_units.troubled import Troubled

# What is there, by rule, service and name: its status, and why it was not looked at.
Judged = Mapping[tuple[str, str, str], tuple[str, str]]
# Of the whole machine, which other tests load: they must look, and may see different things.
OF_THE_MOMENT = frozenset({"HOST-LOAD", "HOST-PSI", "HOST-MEM"})
# All hosts and the session's own servers share one network: whose listener is met first at a port is the kernel's.
FOUND_BY_PORT = "tls"
PATIENCE = ("--deadline", "60s", "--connect-timeout", "20s")
TABLES = ("sessions", "locks", "containers", "processes", "errors", "keyspace", "disk")
PLAIN = ("plain-work.service", "plain-serve.service")
PLAIN_UNIT = """\
[Unit]
Description=fleetmedic agent without a sandbox
[Service]
Type=exec
ExecStart=/opt/fleetmedic/current/bin/fleetmedic-agent {command}
"""


@dataclass(frozen=True)
class Look:
    """What an agent said of the host: of all, of PostgreSQL while it was full, its targets, and rows of tables."""

    all: Judged
    full: Judged
    targets: frozenset[tuple[str, ...]]
    tables: Mapping[str, tuple[bool, str]]


@pytest.fixture(scope="module")
def looks(lab: Path, host_engine: Engine, desk: Desk) -> Iterator[tuple[Look, Look]]:
    """What the agent under its units saw, and what the unconfined one saw then."""
    folder = lab / "units" / "troubled"
    mounts = {**by_hand.MOUNTS, **troubled.MOUNTS}
    with machines.run(host_engine, folder, ("trouble01",), first=22, mounts=mounts) as site:
        host = site.only
        by_hand.install(host, desk, troubled.CONFIG.format(address=host.address))
        host.put({f"/etc/systemd/system/{unit}": _plain(unit) for unit in PLAIN})
        with troubled.run(host, folder) as trouble:
            by_hand.start(host)
            under = _look(desk, site, trouble)
            host.run("systemctl", "stop", *by_hand.UNITS)
            host.run("rm", "/run/fleetmedic/discovered")
            host.run("systemctl", "start", *PLAIN)
            by_hand.await_ready(host, PLAIN[1])
            yield under, _look(desk, site, trouble)


def _plain(unit: str) -> str:
    return PLAIN_UNIT.format(command=unit.removeprefix("plain-").removesuffix(".service"))


def _look(desk: Desk, site: Site, trouble: Troubled) -> Look:
    # Counters are judged between two samples, and a resident connects after the first.
    until("both residents", lambda: len(_warm(site.only)) == 2, seconds=60.0, every=0.2)
    _settled(desk, site)
    judged = _settled(desk, site)
    with trouble.full():
        full = _settled(desk, site, "--include", "PG-*")
    described = desk.run("describe", "-i", site.inventory, "--format", "json", *PATIENCE)
    assert described.code == 0, described.out + described.err
    targets = frozenset(
        (item["probe"], item["service"], item["name"], item["origin"])
        for item in described.json()["targets"]
        if item["service"] != FOUND_BY_PORT
    )
    return Look(judged, full, targets, {name: _table(desk, site, name) for name in TABLES})


def _warm(host: LabHost) -> list[str]:
    """The residents' sockets: one for each PostgreSQL, on the host and in the container."""
    return [name for name in host.run("ls", "/run/fleetmedic").split() if name.startswith("postgres-")]


def _settled(desk: Desk, site: Site, *words: str) -> Judged:
    """What a check says, once no probe but that of the hung mount ran out of time, as on a busy machine any may."""
    last: dict[tuple[str, str, str], tuple[str, str]] = {}

    def whole() -> bool:
        done = desk.check("-i", site.inventory, "--format", "json", *PATIENCE, *words)
        report: dict[str, Any] = done.json()["reports"][0]
        assert report["state"] == "failed", report
        last.clear()
        for item in report["findings"]:
            if item["service"] == FOUND_BY_PORT:
                continue
            last[item["id"], item["service"], item.get("name", "")] = (item["status"], _why(item))
        return {key[2] for key, value in last.items() if value[0] == "error"} <= {"/srv/hung"}

    with contextlib.suppress(TimeoutError):
        until("a whole answer", whole, seconds=30.0)
    return last


def _why(item: Mapping[str, Any]) -> str:
    # With the moment since when it is so.
    return str(item.get("reason", "")).partition(" since ")[0] if item["status"] in ("skipped", "error") else ""


def _table(desk: Desk, site: Site, name: str) -> tuple[bool, str]:
    """Whether it has rows, and what could not be seen."""
    done = desk.run("show", name, "-i", site.inventory, "--json", *PATIENCE)
    rows = [json.loads(line) for line in done.out.splitlines()]
    return bool(rows), "\n".join(sorted(line for line in done.err.splitlines() if "NOT SEEN" in line))


def steady(judged: Judged) -> Judged:
    return {key: value for key, value in judged.items() if key[0] not in OF_THE_MOMENT}


@pytest.mark.covers("sec:units")
def test_the_same_is_found_under_the_units_as_by_plain_root(looks: tuple[Look, Look]) -> None:
    under, plain = looks
    assert steady(under.all) == steady(plain.all)


@pytest.mark.covers("sec:units")
def test_every_rule_looks_under_the_units(looks: tuple[Look, Look]) -> None:
    under = looks[0].all
    assert {rule.id for rule in registry.load()} == {key[0] for key in under}
    unseen = {key: value for key, value in under.items() if value[0] in ("skipped", "error")}
    # The hung mount's own, and what has ended can't be about to.
    assert {key[0] for key in unseen if key[2] == "/srv/hung"} == {"HOST-DISK-SPACE", "HOST-DISK-RO", "HOST-INODE"}
    assert {key[0] for key in unseen if key[2] != "/srv/hung"} == {"TLS-EXPIRY"}


@pytest.mark.covers("sec:units")
@pytest.mark.parametrize(
    ("rule", "needs"),
    [
        ("HOST-OOM", "the kernel's log"),
        ("DOCKER-OOM-CHILD", "control groups of containers"),
        ("DOCKER-PROC", "processes of other namespaces"),
        ("DOCKER-PAUSED", "the engine's socket"),
        ("PG-LOCK-ROOT", "to be seen as the server's user"),
        ("REDIS-MISCONF", "the network"),
        ("PY-PROCS", "the workers of another user"),
        ("TLS-KEY-MISMATCH", "a key of root's alone"),
        ("HOST-DISK-SPACE", "a mount made after the start"),
        ("DEP-TCP", "connections of its own"),
        ("DNS-RESOLVE", "the resolver"),
    ],
)
def test_a_fault_is_found_that_needs(looks: tuple[Look, Look], rule: str, needs: str) -> None:
    assert any(key[0] == rule and value[0] in ("warn", "crit") for key, value in looks[0].all.items()), needs


@pytest.mark.covers("sec:units")
def test_what_is_in_containers_without_a_network_is_reached_and_so_is_a_socket_closed_to_others(
    looks: tuple[Look, Look],
) -> None:
    under = looks[0].all
    assert {key[2]: value[0] for key, value in under.items() if key[0] == "REDIS-UP"} == {
        "127.0.1.22:6379": "ok",
        "/run/lab-carts/redis.sock": "ok",
        "127.0.0.1:6379 in databases": "ok",
    }
    assert {value[0] for key, value in under.items() if key[:2] == ("PG-UP", "databases")} == {"ok"}


@pytest.mark.covers("sec:units")
def test_the_resident_s_connection_still_reads_a_full_server_under_the_units(looks: tuple[Look, Look]) -> None:
    under, plain = looks
    assert under.full == plain.full
    full = {key[0]: value[0] for key, value in under.full.items() if key[1] == "postgres"}
    assert (full["PG-CONN-SATURATION"], full["PG-IDLE-TXN"], full["PG-LOCK-ROOT"]) == ("crit", "warn", "warn")


@pytest.mark.covers("sec:units")
def test_discovery_finds_the_same_and_tables_have_rows(looks: tuple[Look, Look]) -> None:
    under, plain = looks
    assert under.targets == plain.targets
    assert ("docker", "docker", troubled.ENGINE_SOCKET, "discovered") in under.targets
    assert under.tables == plain.tables
    assert {name for name, (rows, _) in under.tables.items() if not rows} == set()
