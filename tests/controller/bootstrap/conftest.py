"""A desk that installs agents on the lab's hosts, from a bundle that was made while there was a package index."""

import shutil
from pathlib import Path

import pytest

from tests.controller.bootstrap.installing import Crew
from tests.lab import agents
from tests.lab.hosts import Site

MADE = Path(__file__).parent.parent.parent.parent / ".cache/bundles"


@pytest.fixture(scope="session")
def bundles(lab: Path) -> Path:
    """Return a folder of bundles of the session's own; whatever is made in it is made without an index."""
    if not MADE.exists():
        pytest.skip("no bundle was made: make .cache/bundles/.made")
    folder = lab / "bundles"
    shutil.copytree(MADE, folder)
    return folder


@pytest.fixture(scope="module")
def crew(lab: Path, bundles: Path, tmp_path_factory: pytest.TempPathFactory, hosts: Site) -> Crew:
    """Return a desk with an authority of its own, and the session's three hosts."""
    return Crew(agents.desk(lab / tmp_path_factory.mktemp("desk").name), hosts, bundles)
