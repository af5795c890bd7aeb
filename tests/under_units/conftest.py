"""Hosts with an agent under its units, put there by hand; what installs agents has tests of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import agents
from tests.lab import hosts as machines
from tests.lab.agents import Desk
from tests.lab.dockerd import Engine
from tests.lab.hosts import Site
from tests.under_units import by_hand


@pytest.fixture(scope="session")
def desk(lab: Path) -> Desk:
    """Make the certificates of these tests."""
    return agents.desk(lab / "units-desk")


@pytest.fixture(scope="session")
def confined(lab: Path, host_engine: Engine, desk: Desk) -> Iterator[Site]:
    """Run a host, on 127.0.1.21, with both units enabled and started."""
    with machines.run(host_engine, lab / "units" / "confined", ("conf01",), first=21, mounts=by_hand.MOUNTS) as site:
        by_hand.install(site.only, desk)
        by_hand.start(site.only)
        yield site
