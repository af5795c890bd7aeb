"""Faults inside containers of a real Docker engine, found by a real agent over mutual TLS."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError

from tests.coverage import Evidence
from tests.lab import agents, fixtures, images
from tests.lab.agents import Fleet
from tests.lab.dockerd import Engine
from tests.lab.waiting import until

SLEEP = ["sleep", "600"]


def health(command: str, **more: Any) -> dict[str, Any]:
    return {"healthcheck": {"test": ["CMD-SHELL", command], "interval": 3 * 10**8, "retries": 2, **more}}


def eventually(
    site: Fleet, rule: str, name: str, limits: dict[str, dict[str, float]] | None = None
) -> list[dict[str, Any]]:
    """What the rule finds once it names the container."""
    asked = agents.asking(site, fleetmedic_limits=limits) if limits else site
    found: list[dict[str, Any]] = []

    def named() -> bool:
        nonlocal found
        found = asked.findings("--include", rule)
        return any(item["name"] == name for item in found)

    until(f"{rule} names {name}", named, seconds=20, every=0.5)
    return found


@pytest.mark.covers("chk:DOCKER-OOM")
def test_a_container_killed_for_memory_is_named_though_it_runs_again(
    site: Fleet, engine: Engine, evidence: Evidence
) -> None:
    evidence.well("DOCKER-OOM", site.findings("--include", "DOCKER-OOM"))
    eat = ["python3", "-c", "x = 'x' * 200_000_000"]
    with images.run_container(engine, "hungry", eat, mem_limit="32m", memswap_limit="32m"):
        found = eventually(site, "DOCKER-OOM", "hungry")
    assert "killed for memory" in evidence.fault("DOCKER-OOM", found, name="hungry")["summary"]


@pytest.mark.covers("chk:DOCKER-UNHEALTHY")
@pytest.mark.parametrize(
    ("command", "more", "said"),
    [
        ("echo database is down; exit 1", {}, "the check said: database is down"),
        ("sleep 30", {"timeout": 3 * 10**8}, "the check timed out"),
    ],
)
def test_a_container_whose_health_check_fails_says_what_the_check_said(
    site: Fleet, engine: Engine, evidence: Evidence, command: str, more: dict[str, int], said: str
) -> None:
    with images.run_container(engine, "well", SLEEP, init=True, **health("true")):
        evidence.well("DOCKER-UNHEALTHY", site.findings("--include", "DOCKER-UNHEALTHY"))
        with images.run_container(engine, "ill", SLEEP, init=True, **health(command, **more)) as container:

            def ill() -> bool:
                container.reload()
                return bool(container.attrs["State"]["Health"]["Status"] == "unhealthy")

            until("unhealthy", ill, seconds=20)
            bad = evidence.fault("DOCKER-UNHEALTHY", site.findings("--include", "DOCKER-UNHEALTHY"), name="ill")
    assert bad["status"] == "crit"
    assert said in bad["summary"]


@pytest.mark.covers("chk:DOCKER-PAUSED")
def test_a_paused_container_is_named_and_an_unpaused_one_is_well(
    site: Fleet, engine: Engine, evidence: Evidence
) -> None:
    with images.run_container(engine, "frozen", SLEEP, init=True) as container:
        container.pause()
        paused = evidence.fault("DOCKER-PAUSED", site.findings("--include", "DOCKER-PAUSED"), name="frozen")
        container.unpause()
        evidence.well("DOCKER-PAUSED", site.findings("--include", "DOCKER-PAUSED"))
    assert "docker unpause frozen" in paused["next"]


@pytest.mark.covers("chk:DOCKER-START-ERROR")
def test_a_container_that_could_not_be_started_says_why(site: Fleet, engine: Engine, evidence: Evidence) -> None:
    evidence.well("DOCKER-START-ERROR", site.findings("--include", "DOCKER-START-ERROR"))
    container = engine.client.containers.create(
        images.host_bind(engine), ["/nonexistent"], name="unborn", network_mode="none"
    )
    try:
        with contextlib.suppress(APIError):
            container.start()
        bad = evidence.fault("DOCKER-START-ERROR", site.findings("--include", "DOCKER-START-ERROR"), name="unborn")
    finally:
        container.remove(force=True)
    assert "could not be started" in bad["summary"]


@pytest.mark.covers("chk:DOCKER-CPU", "exp:E19")
def test_a_container_that_uses_up_its_processors_is_named_from_the_samples(
    site: Fleet, engine: Engine, evidence: Evidence
) -> None:
    limits = {"DOCKER-CPU": {"least_seconds": 2.0}}
    with images.run_container(engine, "calm", SLEEP, init=True):
        evidence.well("DOCKER-CPU", site.findings("--include", "DOCKER-CPU"))
        spin = ["python3", "-c", "while True: pass"]
        with images.run_container(engine, "hot", spin, init=True, nano_cpus=2 * 10**8):
            hot = evidence.fault("DOCKER-CPU", eventually(site, "DOCKER-CPU", "hot", limits), name="hot")
    assert "of its 0.2 processors" in hot["summary"]


@pytest.mark.covers("chk:DOCKER-MEM-LIMIT", "exp:E19")
def test_a_container_near_its_memory_limit_is_named_and_its_cache_does_not_count(
    site: Fleet, engine: Engine, evidence: Evidence, request: pytest.FixtureRequest
) -> None:
    # On a disk: what lies on a tmpfs is memory that can't be dropped.
    disk = Path(tempfile.mkdtemp(dir="/var/tmp"))
    request.addfinalizer(lambda: shutil.rmtree(disk))
    cache = ["sh", "-c", f"head -c 60000000 /dev/zero > {disk}/file; exec sleep 600"]
    hold = ["python3", "-c", "import time; x = b'x' * 55_000_000; time.sleep(600)"]
    limit: dict[str, Any] = {"mem_limit": "64m", "memswap_limit": "64m"}
    with images.run_container(engine, "cache", cache, init=True, mounts={disk: "rw"}, **limit):
        time.sleep(1)
        evidence.well("DOCKER-MEM-LIMIT", site.findings("--include", "DOCKER-MEM-LIMIT"))
        with images.run_container(engine, "fat", hold, init=True, **limit):
            fat = evidence.fault("DOCKER-MEM-LIMIT", eventually(site, "DOCKER-MEM-LIMIT", "fat"), name="fat")
    assert "of 64.0 MiB" in fat["summary"]


@contextlib.contextmanager
def wired(pid: int) -> Iterator[str]:
    """A cable between our network and a container's; gives our end's name."""
    fixtures.need("ip", root=True)
    inside = ["nsenter", "-t", str(pid), "-n", "ip", "link"]
    subprocess.run(["ip", "link", "add", "ours0", "type", "veth", "peer", "name", "theirs0"], check=True)
    try:
        subprocess.run(["ip", "link", "set", "theirs0", "netns", str(pid)], check=True)
        subprocess.run(["ip", "link", "set", "ours0", "up"], check=True)
        subprocess.run([*inside, "set", "theirs0", "up"], check=True)
        yield "ours0"
    finally:
        subprocess.run(["ip", "link", "del", "ours0"], check=True)


@pytest.mark.covers("chk:DOCKER-NET")
def test_a_container_whose_network_drops_packets_is_named(site: Fleet, engine: Engine, evidence: Evidence) -> None:
    with images.run_container(engine, "deaf", SLEEP, init=True) as container:
        pid = container.attrs["State"]["Pid"]
        with wired(pid) as ours:
            evidence.well("DOCKER-NET", site.findings("--include", "DOCKER-NET"))
            # Of a protocol that nobody there speaks: the kernel drops them, and counts.
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
                raw.bind((ours, 0))
                for _ in range(50):
                    raw.send(b"\xff" * 6 + b"\x02" * 6 + b"\x12\x34" + b"x" * 60)
            dropped = evidence.fault("DOCKER-NET", eventually(site, "DOCKER-NET", "deaf"), name="deaf")
    assert "packets dropped" in dropped["summary"]


@pytest.mark.covers("chk:DOCKER-PROC", "exp:E5")
def test_a_zombie_in_a_container_is_named(site: Fleet, engine: Engine, evidence: Evidence) -> None:
    with images.run_container(engine, "tidy", SLEEP, init=True):
        evidence.well("DOCKER-PROC", site.findings("--include", "DOCKER-PROC"))
        careless = ["python3", "-c", "import os, time\nif os.fork() == 0: os._exit(0)\ntime.sleep(600)"]
        with images.run_container(engine, "careless", careless):
            stuck = evidence.fault("DOCKER-PROC", eventually(site, "DOCKER-PROC", "careless"), name="careless")
    assert "1 of 2 processes are stuck" in stuck["summary"]
    assert "a zombie" in stuck["summary"]
