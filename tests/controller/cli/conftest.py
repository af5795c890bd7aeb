"""One desk and one real agent for the tests of the command line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import agents
from tests.lab.agents import Agent, Desk
from tests.lab.waiting import free_port


@pytest.fixture(scope="module")
def desk(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Make certificates with the product's own commands."""
    return agents.desk(lab / tmp_path_factory.mktemp("desk").name)


@pytest.fixture(scope="module")
def agent(desk: Desk) -> Iterator[Agent]:
    """Run the agent of web01."""
    with agents.run(desk, "web01", port=free_port()) as running:
        yield running
