"""Whatever hangs, a check ends: real servers that refuse, fall silent, trickle and stop, and a mount that hangs."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import budgets
from tests.lab import agents, child, fixtures, hung_mount, postgres, proxy, redis
from tests.lab.agents import Agent, Desk, Fleet
from tests.lab.dockerd import Engine
from tests.lab.waiting import until

MODES = ("refuse", "silent", "trickle", "stopped")
TIMES = 3
# The command's own start and end, beside the probe's budget; the bound on the probe itself is one second.
COMMAND = 1.5
UP = {"postgres": "PG-UP", "redis": "REDIS-UP", "docker": "DOCKER-DAEMON"}


@pytest.fixture(scope="module")
def places(desk: Desk, engine: Engine) -> Iterator[dict[str, Any]]:
    """Run real servers, each behind a proxy of its own, and an agent that knows only the proxies."""
    fixtures.need(root=True)
    folder = Path("/run/lab/bounded")
    folder.mkdir()
    with (
        postgres.run(folder / "p", port=5449, sockets=folder / "p") as database,
        redis.run(folder / "r", port=6399) as cache,
        proxy.run("127.0.0.1", database.port) as to_database,
        proxy.run("127.0.0.1", cache.port) as to_cache,
        proxy.run_unix(engine.socket, folder / "d") as to_engine,
        agents.run(
            desk, "bounded", port=7460, top="discover = false", config=config(to_database, to_cache, folder)
        ) as agent,
        agents.fleet(desk, [agent]) as fleet,
    ):
        yield {
            "fleet": fleet,
            "agent": agent,
            "postgres": (to_database, database.pid),
            "redis": (to_cache, cache.pid),
            "docker": (to_engine, engine.pid),
        }


def config(database: proxy.Proxy, cache: proxy.Proxy, folder: Path) -> str:
    return f"""
[[postgres]]
host = "127.0.0.1"
port = {database.port}
user = "postgres"

[[redis]]
host = "127.0.0.1"
port = {cache.port}

[docker]
socket = "{folder / "d"}"
"""


@contextlib.contextmanager
def fault(mode: str, way: proxy.Proxy, pid: int) -> Iterator[None]:
    if mode == "stopped":
        with child.stopped(pid, *child.descendants(pid)):
            yield
        return
    way.set("cut")
    way.set(mode)
    try:
        yield
    finally:
        way.set("cut")
        way.set("pass")


def quiet(agent: Agent) -> tuple[int, int, int]:
    """Processes, threads and descriptors of an agent that has nothing to do."""
    pids = [pid for pid in agent.pids() if child.state(pid) not in ("", "Z")]
    threads, descriptors = (
        sum(len(list(Path(f"/proc/{pid}/{what}").iterdir())) for pid in pids) for what in ("task", "fd")
    )
    return len(pids), threads, descriptors


def no_more(now: tuple[int, ...], before: tuple[int, ...]) -> bool:
    """Whether nothing was left; a thread that watched over the call before the first count may have ended since."""
    return all(one <= other for one, other in zip(now, before, strict=True))


def opened(pid: int) -> list[str]:
    return [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]


@pytest.mark.covers("sec:R4", "sec:D5")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("probe", ["postgres", "redis", "docker"])
def test_a_probe_ends_within_its_budget_and_leaves_nothing(places: dict[str, Any], probe: str, mode: str) -> None:
    fleet: Fleet = places["fleet"]
    agent: Agent = places["agent"]
    way, pid = places[probe]
    other = {rule for name, rule in UP.items() if name != probe}
    settled(fleet)
    before = quiet(agent)

    for _ in range(TIMES):
        with fault(mode, way, pid):
            began = time.monotonic()
            found = fleet.findings()
            took = time.monotonic() - began

        bad = next(item for item in found if item["id"] == UP[probe])
        assert bad["status"] in ("crit", "error"), bad
        assert took < budgets.PROBE_KILL[probe] + 1 + COMMAND
        assert {item["id"] for item in found if item["id"] in other and item["status"] == "ok"} == other
        settled(fleet)

    # The resident connection was killed where its server hung, and is forked anew.
    until("the resident is there again", lambda: quiet(agent)[0] == before[0], every=0.1)
    settled(fleet)
    with contextlib.suppress(TimeoutError):
        until("no more than before", lambda: no_more(quiet(agent), before), every=0.1)
    assert no_more(quiet(agent), before), [(pid, sorted(opened(pid))) for pid in agent.pids()]


def settled(fleet: Fleet) -> None:
    """Until all three servers are well again, as the agent sees it."""

    def well() -> bool:
        found = {item["id"]: item["status"] for item in fleet.findings() if item["id"] in UP.values()}
        return found == dict.fromkeys(UP.values(), "ok")

    until("all well", well, seconds=10, every=0.1)


@pytest.mark.covers("sec:hung-mount")
def test_a_hung_mount_is_abandoned_and_the_next_check_says_since_when(desk: Desk, folder: Path) -> None:
    fixtures.need(root=True)
    point = folder / "hung"
    point.mkdir()
    with (
        agents.run(desk, "mounted", port=7461, top=f'mounts = ["{point}"]') as agent,
        agents.fleet(desk, [agent]) as fleet,
    ):
        with hung_mount.run(point):
            began = time.monotonic()
            first = stuck(fleet, point)
            took = time.monotonic() - began
            second = stuck(fleet, point)
            jobs = [pid for pid in agent.pids() if child.state(pid) == "D"]
        until("the job is gone", lambda: not [pid for pid in agent.pids() if child.state(pid) == "D"])
        healed = [item for item in fleet.findings("--include", "HOST-DISK-SPACE") if item["name"] == str(point)]

    assert first["status"] == "error"
    assert took < budgets.PROBE_KILL["filesystem"] + 1 + COMMAND
    assert second["status"] == "error"
    assert "still stuck since" in second["summary"]
    assert len(jobs) == 1
    assert [item["status"] for item in healed] == ["error"]
    assert "is not mounted, and agent.toml names it" in healed[0]["summary"]


def stuck(fleet: Fleet, point: Path) -> dict[str, Any]:
    found = fleet.findings()
    assert {item["id"] for item in found if item["status"] == "ok"} >= {"HOST-MEM"}
    return next(item for item in found if (item["id"], item["name"]) == ("HOST-DISK-SPACE", str(point)))
