"""A whole check stays quick on a host with many containers."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.lab import agents, images
from tests.lab.agents import Desk, Fleet
from tests.lab.dockerd import Engine
from tests.lab.postgres import Postgres
from tests.lab.redis import Redis

CONTAINERS = 30
LIMIT_SECONDS = 3.0
TRIES = 3


@pytest.fixture
def crowded(desk: Desk, postgres: Postgres, redis: Redis, engine: Engine) -> Iterator[Fleet]:
    """Run thirty containers beside the session's PostgreSQL and Redis, and an agent of its own."""
    images.host_bind(engine)
    with contextlib.ExitStack() as running, ThreadPoolExecutor(4) as starters:

        def start(number: int) -> None:
            name = f"crowd-{number:02d}"
            running.enter_context(images.run_container(engine, name, ["sleep", "600"], stop_signal="SIGKILL"))

        list(starters.map(start, range(CONTAINERS)))
        agent = running.enter_context(agents.run(desk, "crowd01", port=7487))
        yield running.enter_context(agents.fleet(desk, [agent]))


@pytest.mark.covers("perf:30-containers")
def test_a_full_check_with_thirty_containers_ends_within_three_seconds(
    crowded: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    took = []
    for _ in range(TRIES):
        began = time.monotonic()
        done = crowded.check("--format", "json")
        took.append(time.monotonic() - began)

        found = [item for report in done.json()["reports"] for item in report["findings"]]
        answered = {item["id"] for item in found if item["status"] in ("ok", "info")}
        assert {"PG-UP", "REDIS-UP", "DOCKER-DAEMON", "HOST-DISK-SPACE"} <= answered
        daemon = next(item for item in found if item["id"] == "DOCKER-DAEMON")
        assert f"{CONTAINERS} of {CONTAINERS} containers running" in daemon["summary"]

    with capsys.disabled():
        times = ", ".join(f"{each:.2f}" for each in took)
        print(f"\na full check of {CONTAINERS} containers, PostgreSQL and Redis: {times} s")
    assert min(took) < LIMIT_SECONDS
