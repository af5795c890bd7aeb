"""One real agent over mutual TLS, and the services of the session it looks at."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import agents, fixtures
from tests.lab.agents import Desk, Fleet

# A small filesystem that the agent is told to watch; a test mounts it.
SMALL = Path("/run/lab/small")
EXPECTED = "orders-app"
CONFIG = f"""
mounts = ["{SMALL}"]
"""
TABLES = f"""
[sampler]
seconds = 1

[docker]
expected = ["{EXPECTED}"]
"""


@pytest.fixture(scope="session")
def desk(lab: Path) -> Desk:
    """Make the certificates of the session."""
    return agents.desk(lab / "desk")


@pytest.fixture(scope="session")
def site(desk: Desk) -> Iterator[Fleet]:
    """Run the session's agent, db01, which discovers whatever a test starts."""
    fixtures.need()
    with (
        agents.run(desk, "db01", port=7443, top=CONFIG, config=TABLES) as agent,
        agents.fleet(desk, [agent]) as fleet,
    ):
        yield fleet
