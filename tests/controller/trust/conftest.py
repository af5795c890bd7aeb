"""The authorities of lab, and what stands in their files."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.trust import authority

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    """Make the authorities of lab at NOW."""
    authority.initialise(tmp_path / "pki", "lab", NOW)
    return tmp_path / "pki"


@pytest.fixture
def now() -> datetime:
    """The moment at which the authorities were made."""
    return NOW
