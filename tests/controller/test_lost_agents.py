"""An agent that is lost in the middle of a long call is found within eight seconds; one that is slow is not lost."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from controller import fleet
from controller.calling import Bounds
from controller.endings import State
from controller.host_report import HostReport
from controller.inventory.connection import Endpoint
from controller.transport import mtls
from controller.transport.mtls import Identity
from fleetmedic.v1.agent_pb2 import CheckRequest
from tests.agent.front import NAME
from tests.lab import blackhole, child, proxy
from tests.lab.child import Child
from tests.lab.waiting import until

ROOT = Path(__file__).parents[2]
# Long enough for pings that would be taken for too many.
SLOW = 23.0
PROMISED = 8.0
SPARE = 1.0
SILENT = "connected, then not a sign for 2s: host down, network cut, or its agent is stopped"


@dataclass(frozen=True)
class Slow:
    """A front in a process of its own, reached through a proxy or directly."""

    process: Child
    port: int
    endpoint: Endpoint
    identity: Identity

    def asked(self) -> bool:
        return "asked" in self.process.said()


@dataclass(frozen=True)
class Lost:
    """How the call ended, and seconds from the fault to its ending."""

    report: HostReport
    after: float


@contextlib.contextmanager
def slow(folder: Path, through: contextlib.ExitStack | None = None) -> Iterator[tuple[Slow, proxy.Proxy | None]]:
    argv: list[str | Path] = [sys.executable, "-P", "-m", "tests.agent.slow_front", folder, str(SLOW)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"}  # noqa: TID251 - the child's own
    with child.run(
        argv,
        log=folder / "log",
        ready=lambda started: "port" in started.said(),
        environment=environment,
        directory=ROOT,
        seconds=30.0,
    ) as process:
        port = int(process.said().split("port ")[1].split()[0])
        before = through.enter_context(proxy.run("127.0.0.1", port)) if through else None
        identity = Identity(
            (folder / "operator.crt").read_bytes(),
            (folder / "operator.key").read_bytes(),
            (folder / "agent" / f"{NAME}.root.crt").read_bytes(),
        )
        yield Slow(process, port, Endpoint(NAME, "127.0.0.1", before.port if before else port), identity), before


def held(one: Slow, fault: Callable[[], object] = lambda: None) -> Lost:
    """Ask, commit the fault once the call is taken, and give its ending."""

    async def collect() -> Lost:
        asked = {one.endpoint: CheckRequest().SerializeToString()}
        awaited = asyncio.create_task(_only(asked, one.identity))
        await asyncio.to_thread(until, "the check has begun", one.asked, seconds=15.0)
        # Its set-up is over, so that no limit for that finds it.
        await asyncio.sleep(1.0)
        fault()
        began = time.monotonic()
        return Lost(await awaited, time.monotonic() - began)

    return asyncio.run(collect())


async def _only(asked: Mapping[Endpoint, bytes], identity: Identity) -> HostReport:
    (report,) = [report async for report in fleet.check(asked, identity, Bounds(32, 10.0, 60.0))]
    return report


def black_hole(folder: Path) -> Lost:
    with slow(folder) as (one, _), contextlib.ExitStack() as rules:
        return held(one, lambda: rules.enter_context(blackhole.drop("127.0.0.1", one.port)))


def stopped(folder: Path) -> Lost:
    with slow(folder) as (one, _):
        return held(one, partial(os.kill, one.process.pid, signal.SIGSTOP))


def reset(folder: Path) -> Lost:
    with contextlib.ExitStack() as stack, slow(folder, stack) as (one, between):
        assert between is not None
        return held(one, lambda: between.set("cut"))


def half_open(folder: Path) -> Lost:
    with slow(folder) as (one, _), blackhole.half_open("127.0.0.1", one.port):
        return held(one, partial(os.kill, one.process.pid, signal.SIGKILL))


def nothing(folder: Path) -> Lost:
    with slow(folder) as (one, _):
        return held(one)


@pytest.fixture(scope="module")
def endings(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Future[Lost]]]:
    """Commit every fault on an agent of its own, side by side: each is mostly waited for."""
    folder = lab / tmp_path_factory.mktemp("lost").name
    faults = (black_hole, stopped, reset, half_open, nothing)
    with ThreadPoolExecutor(len(faults)) as pool:
        yield {fault.__name__: pool.submit(fault, folder / fault.__name__) for fault in faults}


Endings = Mapping[str, Future[Lost]]


@pytest.mark.covers("sec:R3")
def test_a_black_hole_is_found_in_the_middle_of_a_call(endings: Endings) -> None:
    lost = endings["black_hole"].result()
    assert lost.after < PROMISED + SPARE
    assert (lost.report.state, lost.report.cause) == (State.TIMEOUT, SILENT)


@pytest.mark.covers("sec:R3", "sec:F18")
def test_a_stopped_agent_whose_kernel_still_answers_is_found_in_the_middle_of_a_call(endings: Endings) -> None:
    lost = endings["stopped"].result()
    assert lost.after < PROMISED + SPARE
    assert (lost.report.state, lost.report.cause) == (State.TIMEOUT, SILENT)


@pytest.mark.covers("sec:R3")
def test_a_connection_that_is_reset_is_lost_at_once(endings: Endings) -> None:
    lost = endings["reset"].result()
    assert lost.after < SPARE
    assert lost.report.state == State.FAILED
    assert lost.report.cause == "the connection was cut in the middle of its answer: agent ended, or network cut"


@pytest.mark.covers("sec:R3")
def test_a_connection_whose_other_side_is_gone_without_a_word_is_found(endings: Endings) -> None:
    lost = endings["half_open"].result()
    assert lost.after < PROMISED + SPARE
    assert lost.report.state in (State.FAILED, State.TIMEOUT)
    assert lost.after > 1.0, "the end itself was seen: nothing was tested"


@pytest.mark.covers("sec:R3", "sec:F18")
def test_a_long_call_that_only_waits_is_neither_lost_nor_ended_for_too_many_pings(endings: Endings) -> None:
    assert mtls.PING_EVERY * 4 < SLOW
    lost = endings["nothing"].result()
    assert (lost.report.state, lost.report.cause) == (State.OK, "")
    assert lost.after > SLOW - 5.0
