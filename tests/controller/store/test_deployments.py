"""Deployments as agents tell of them: kept of healthy hosts too, and each of them once."""

import math
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.store import deployments, runs
from controller.store.database import connect
from fleetmedic.v1.finding_pb2 import STATUS_INFO, Finding, Metric, Row
from tests.controller import reports
from tests.controller.reports import NOW, answered, finding


@pytest.fixture
def base(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Open an empty store."""
    opened = connect(tmp_path / "a.db")
    yield opened
    opened.close()


def told(ago: float, name: str = "orders-app", release: str = "2.1.0") -> Finding:
    made = finding("DEPLOY-RECENT", STATUS_INFO, "orders", name)
    made.metrics.append(Metric(name="seconds", value=ago))
    made.table.rows.extend([Row(cells=("image", "shop:2")), Row(cells=("release", release)), Row(cells=("odd",))])
    return made


def keep(base: sqlite3.Connection, identity: str, at: float, *findings: Finding, host: str = "web01") -> None:
    given = reports.run(answered(host, *findings), identity=identity)
    runs.save(base, replace(given, started_at=at), "alice", at)


@pytest.mark.covers("exp:C7")
def test_a_deployment_that_many_runs_saw_is_one_with_the_run_that_saw_it_first(base: sqlite3.Connection) -> None:
    keep(base, "AAAA", NOW, told(60.0))
    keep(base, "BBBB", NOW + 600, told(660.4))
    keep(base, "CCCC", NOW + 900, told(959.5), told(30.0, release="2.2.0"))
    found = deployments.between(base, NOW - 3600, NOW + 3600)
    assert [(item.release, item.run) for item in found] == [
        ("shop:2, release 2.1.0", "AAAA"),
        ("shop:2, release 2.2.0", "CCCC"),
    ]
    assert found[0].at == pytest.approx(NOW - 60, abs=1)
    assert deployments.between(base, NOW, NOW + 3600) == found[1:]


def test_what_is_no_time_is_not_kept_and_a_liar_is_kept_in_bounds(base: sqlite3.Connection) -> None:
    keep(base, "AAAA", NOW, told(math.nan), told(math.inf), finding("DEPLOY-RECENT", STATUS_INFO))
    assert deployments.between(base, 0, NOW * 2) == ()
    keep(base, "BBBB", NOW, *(told(1.0, name=f"c{number}", release="x" * 999) for number in range(300)))
    found = deployments.between(base, 0, NOW * 2)
    assert len(found) == 200
    assert len(found[0].release) == 200
