"""Faults of the host itself, found by a real agent over mutual TLS."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.coverage import Evidence
from tests.lab import agents, fixtures
from tests.lab.agents import Desk, Fleet
from tests.scenarios.conftest import SMALL

MEGABYTE = 2**20


@pytest.fixture
def small(lab: object) -> Iterator[None]:
    """Mount a filesystem of 20 MB at the place the agent is told to watch."""
    del lab
    fixtures.need(root=True)
    SMALL.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "small", SMALL], check=True)
    yield
    subprocess.run(["umount", SMALL], check=True)


@pytest.mark.covers("chk:HOST-DISK-SPACE")
@pytest.mark.usefixtures("small")
def test_a_filesystem_that_fills_up_is_named(site: Fleet, evidence: Evidence) -> None:
    evidence.well("HOST-DISK-SPACE", site.findings("--include", "HOST-DISK-SPACE"), name=str(SMALL))

    (SMALL / "ballast").write_bytes(b"x" * (19 * MEGABYTE))
    found = site.findings("--include", "HOST-DISK-SPACE")
    (SMALL / "ballast").unlink()

    space = evidence.fault("HOST-DISK-SPACE", found, name=str(SMALL))
    assert space["status"] == "crit"
    assert "of 20.0 MiB free" in space["summary"]
    evidence.well("HOST-DISK-SPACE", site.findings("--include", "HOST-DISK-SPACE"), name=str(SMALL))


@pytest.mark.covers("chk:HOST-MEM", "inv:limits")
def test_memory_is_read_for_real_and_held_against_the_limit_passed_in(site: Fleet, evidence: Evidence) -> None:
    below = agents.asking(site, fleetmedic_limits={"HOST-MEM": {"warn_free_share": 0.001, "crit_free_share": 0.0005}})
    evidence.well("HOST-MEM", below.findings("--include", "HOST-MEM"))

    above = agents.asking(site, fleetmedic_limits={"HOST-MEM": {"warn_free_share": 1.0, "crit_free_share": 0.0005}})
    found = evidence.fault("HOST-MEM", above.findings("--include", "HOST-MEM"))

    assert found["status"] == "warn"
    share = next(item for item in found["metrics"] if item["name"] == "available_share")
    assert 0 < share["value"] < 1
    assert found["table"]["rows"], "who holds the memory"


@pytest.mark.covers("sec:R6")
@pytest.mark.parametrize("state", ["full", "read-only"])
def test_an_agent_whose_own_disk_is_full_or_read_only_still_looks(desk: Desk, folder: Path, state: str) -> None:
    fixtures.need(root=True)
    with agents.run(desk, f"disk-{state}", port=7480) as agent, agents.fleet(desk, [agent]) as fleet:
        own = agent.folder / "state"
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "own", own], check=True)
        try:
            if state == "full":
                with contextlib.suppress(OSError):
                    (own / "ballast").write_bytes(b"x" * 10**6)
            else:
                subprocess.run(["mount", "-o", "remount,ro", own], check=True)
            asked = agents.asking(fleet, fleetmedic_limits={"HOST-MEM": {"warn_free_share": 1.0}})
            found = asked.findings("--include", "HOST-*")
        finally:
            subprocess.run(["umount", own], check=True)

    memory = next(item for item in found if item["id"] == "HOST-MEM")
    assert memory["status"] == "warn", memory["summary"]
    assert [item for item in found if item["status"] == "error"] == []
