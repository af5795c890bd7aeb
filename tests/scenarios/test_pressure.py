"""Load, pressure, killings, inodes and read-only filesystems of the host itself, found by a real agent."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.coverage import Evidence
from tests.lab import agents, fixtures, images
from tests.lab.agents import Fleet
from tests.lab.dockerd import Engine
from tests.scenarios.conftest import SMALL


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Processes that do nothing but count."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield


@contextlib.contextmanager
def mounted(*options: str) -> Iterator[None]:
    fixtures.need(root=True)
    SMALL.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "small", SMALL], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", SMALL], check=True)


@pytest.mark.covers("chk:HOST-LOAD", "chk:HOST-PSI")
def test_load_and_pressure_are_read_for_real_and_held_against_the_limits_passed_in(
    site: Fleet, evidence: Evidence
) -> None:
    high = {"HOST-LOAD": {"warn_per_processor": 1000}, "HOST-PSI": {"cpu_some_warn": 101}}
    found = agents.asking(site, fleetmedic_limits=high).findings("--include", "HOST-*")
    evidence.well("HOST-LOAD", found)
    evidence.well("HOST-PSI", found)

    low = {"HOST-LOAD": {"warn_per_processor": 0.001, "pressure_some": 0.5}, "HOST-PSI": {"cpu_some_warn": 0.5}}
    with busy(6):
        time.sleep(6)
        found = agents.asking(site, fleetmedic_limits=low).findings("--include", "HOST-*")

    load = evidence.fault("HOST-LOAD", found)
    assert load["status"] == "warn"
    pressure = evidence.fault("HOST-PSI", found)
    assert "some wait for a processor" in pressure["summary"]
    assert {row[0] for row in pressure["table"]["rows"]} == {"cpu", "memory", "io"}


@pytest.mark.covers("chk:HOST-INODE")
def test_a_filesystem_without_inodes_is_named_though_it_has_room(site: Fleet, evidence: Evidence) -> None:
    with mounted("size=20m", "nr_inodes=200"):
        evidence.well("HOST-INODE", site.findings("--include", "HOST-INODE"), name=str(SMALL))
        for number in range(197):
            (SMALL / f"{number}").touch()
        found = site.findings("--include", "HOST-*")

    full = evidence.fault("HOST-INODE", found, name=str(SMALL))
    assert full["status"] == "crit"
    evidence.well("HOST-DISK-SPACE", found, name=str(SMALL))


@pytest.mark.covers("chk:HOST-DISK-RO")
def test_a_filesystem_that_became_read_only_is_named(site: Fleet, evidence: Evidence) -> None:
    with mounted("size=20m"):
        evidence.well("HOST-DISK-RO", site.findings("--include", "HOST-DISK-RO"), name=str(SMALL))
        subprocess.run(["mount", "-o", "remount,ro", SMALL], check=True)
        found = site.findings("--include", "HOST-*")

    assert evidence.fault("HOST-DISK-RO", found, name=str(SMALL))["status"] == "crit"
    assert [item for item in found if item["name"] == str(SMALL) and item["id"] == "HOST-DISK-SPACE"] == []


@pytest.mark.covers("chk:HOST-OOM", "chk:DOCKER-OOM-CHILD", "chk:D11")
def test_a_worker_killed_for_memory_is_seen_though_its_container_runs_on(
    site: Fleet, engine: Engine, evidence: Evidence
) -> None:
    # Those of earlier tests lie within the window of five minutes.
    nothing = agents.asking(site, fleetmedic_limits={"HOST-OOM": {"window_seconds": 0.001}})
    evidence.well("HOST-OOM", nothing.findings("--include", "HOST-OOM"))
    worker = "import time\ntime.sleep(3)\nx = 'x' * 200_000_000"
    script = f'python3 -c "{worker}"; exec sleep 600'
    with images.run_container(engine, "master", ["sh", "-c", script], mem_limit="32m", memswap_limit="32m") as started:
        evidence.well("DOCKER-OOM-CHILD", site.findings("--include", "DOCKER-OOM-CHILD"))
        deadline = time.monotonic() + 15
        found = site.findings("--include", "*OOM*")
        while time.monotonic() < deadline and not [i for i in found if i["name"] == "master"]:
            time.sleep(0.5)
            found = site.findings("--include", "*OOM*")
        started.reload()
        state = started.attrs["State"]

    assert (state["Status"], state["OOMKilled"]) == ("running", False), "docker inspect shows nothing"
    child = evidence.fault("DOCKER-OOM-CHILD", found, name="master")
    assert child["status"] in ("crit", "warn")
    host = evidence.fault("HOST-OOM", found)
    assert "the limit of container master" in str(host["table"]["rows"])
