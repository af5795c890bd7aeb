"""Nothing is called bad where nothing is: on a healthy host, and on one that is merely busy."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from tests.lab import agents, busy, images
from tests.lab import postgres as database
from tests.lab.agents import Desk, Fleet
from tests.lab.dockerd import Engine
from tests.lab.nginx import Nginx
from tests.lab.postgres import Postgres
from tests.lab.redis import Redis
from tests.lab.webapp import WebApp

BAD = {"warn", "crit", "error"}
BUSY_SECONDS = 20.0
# It takes a second to start, as applications do, and ends when it is told to.
START = ["sh", "-c", "trap 'exit 0' TERM; sleep 1; touch /tmp/ready; sleep 600 & wait"]
SECOND = 1_000_000_000
HEALTH = {
    "test": ["CMD", "test", "-e", "/tmp/ready"],
    "interval": SECOND,
    "timeout": SECOND,
    "start_period": 5 * SECOND,
    "retries": 3,
}
ALWAYS = {"Name": "unless-stopped"}
# Rows of some 500 bytes: 300 MB to dump and to vacuum.
ROWS = 600_000
HISTORY = (
    f"CREATE TABLE history AS SELECT n AS id, repeat(md5(n::text), 15) AS entry FROM generate_series(1, {ROWS}) AS n"
)


@dataclass(frozen=True)
class Shop:
    """A host with everything on it that an agent looks at, all of it well."""

    fleet: Fleet
    postgres: Postgres
    web: WebApp
    containers: Sequence[Container]

    def bad(self, since: float) -> list[str]:
        """What a check calls bad; `since` is the monotonic time before which kills for memory were other tests'."""
        asked = agents.asking(
            self.fleet,
            fleetmedic_http=[f"{self.web.url}/health/live", f"{self.web.url}/health/ready"],
            fleetmedic_limits={"HOST-OOM": {"window_seconds": 1 + int(time.monotonic() - since)}},
        )
        found = asked.findings()
        assert_looked(found)
        bad = [item for item in found if item["status"] in BAD]
        return [f"{item['status']} {item['id']} {item['name']}: {item['summary']}" for item in bad]


def assert_looked(found: Sequence[Mapping[str, Any]]) -> None:
    """All the parts of the shop were looked at: silence would be no proof."""
    answered = {item["id"] for item in found if item["status"] in ("ok", "info")}
    assert {
        "PG-UP",
        "REDIS-UP",
        "DOCKER-DAEMON",
        "HTTP-HEALTH",
        "TLS-EXPIRY",
        "HOST-PSI",
        "HOST-DISK-SPACE",
    } <= answered


@pytest.fixture
def shop(desk: Desk, postgres: Postgres, redis: Redis, engine: Engine, webapp: WebApp, nginx: Nginx) -> Iterator[Shop]:
    """Run three containers beside the session's services, and an agent of its own that finds all of it."""
    with contextlib.ExitStack() as running:
        started: dict[str, dict[str, Any]] = {
            "shop-web-1": {"healthcheck": HEALTH},
            "shop-web-2": {"healthcheck": HEALTH},
            "shop-worker": {},
        }
        containers = [
            running.enter_context(images.run_container(engine, name, START, restart_policy=ALWAYS, **more))
            for name, more in started.items()
        ]
        for container in containers:
            busy.await_health(container)
        config = '[sampler]\nseconds = 1\n\n[docker]\nexpected = ["shop-web-1", "shop-web-2"]\n'
        agent = running.enter_context(agents.run(desk, "shop01", port=7486, config=config))
        yield Shop(running.enter_context(agents.fleet(desk, [agent])), postgres, webapp, containers)


@pytest.mark.covers("chk:healthy")
def test_nothing_is_bad_on_a_healthy_host(shop: Shop) -> None:
    assert shop.bad(time.monotonic()) == []


@pytest.mark.covers("chk:busy")
def test_nothing_is_bad_while_a_backup_maintenance_load_a_rollout_and_stray_requests_go_on(
    shop: Shop, folder: Path
) -> None:
    began = time.monotonic()
    with contextlib.closing(shop.postgres.connect(dbname=shop.web.database, autocommit=True)) as session:
        session.execute(HISTORY)
    try:
        said, counts = while_busy(shop, folder, began)
    finally:
        with contextlib.closing(shop.postgres.connect(dbname=shop.web.database, autocommit=True)) as session:
            session.execute("DROP TABLE history")

    assert [line for lines in said for line in lines] == []
    assert len(said) >= 5
    assert all(count.done for count in counts.values()), counts


def while_busy(shop: Shop, folder: Path, began: float) -> tuple[list[list[str]], dict[str, busy.Count]]:
    """What each check said, one after the other while everything goes on, and how often that was done."""
    said: list[list[str]] = []
    with contextlib.ExitStack() as working:
        start = working.enter_context
        counts = {
            "backups": start(busy.backups(shop.postgres, shop.web.database, database.debian_binaries())),
            "maintenance": start(busy.maintenance(shop.postgres, shop.web.database)),
            "rollouts": start(busy.rollout(shop.containers)),
            "stray requests": start(busy.stray_requests(shop.web.host, shop.web.port)),
        }
        start(busy.processors(folder, count=2, share=0.85))
        deadline = time.monotonic() + BUSY_SECONDS
        while time.monotonic() < deadline:
            said.append(shop.bad(began))
    return said, counts
