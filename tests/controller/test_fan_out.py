"""How a fan-out ends: one status for each host, whatever fails, its own deadline, and how many are set up at once."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from benchmarks import credentials, farm
from benchmarks.dead_hosts import dead_hosts
from controller import describing, fleet
from controller.calling import SLOT_HOLD, Bounds
from controller.endings import State
from controller.host_report import HostReport
from controller.inventory.connection import Endpoint
from controller.transport.mtls import Identity
from fleetmedic.v1.agent_pb2 import CheckRequest, CheckResponse
from fleetmedic.v1.finding_pb2 import STATUS_CRIT
from tests.controller import odd_agents, reports
from tests.controller.odd_agents import Answer, Call
from tests.lab.authority import Authority
from tests.lab.waiting import until

ROOT = Path(__file__).parents[2]
REQUEST = CheckRequest().SerializeToString()
WHOLE = CheckResponse(last=True, findings=[reports.finding()]).SerializeToString()
BAD = CheckResponse(last=True, findings=[reports.finding(status=STATUS_CRIT)]).SerializeToString()
PART = CheckResponse(findings=[reports.finding(status=STATUS_CRIT)]).SerializeToString()


async def asked(
    endpoints: Sequence[Endpoint], identity: Identity, bounds: Bounds, told: list[int] | None = None
) -> AsyncIterator[HostReport]:
    heed = None if told is None else (lambda _, waiting: told.append(waiting))
    async for report in fleet.check(dict.fromkeys(endpoints, REQUEST), identity, bounds, heed):
        yield report


def ask(
    endpoints: Sequence[Endpoint], identity: Identity, bounds: Bounds, told: list[int] | None = None
) -> list[HostReport]:
    """Give all that was reported, in that order."""

    async def collect() -> list[HostReport]:
        return [report async for report in asked(endpoints, identity, bounds, told)]

    return asyncio.run(collect())


def answering(*messages: bytes, accept: float = 0.0, think: float = 0.0) -> Answer:
    """Accept after some seconds, and answer after some more."""

    def answer(_: bytes, call: Call) -> Iterator[bytes]:
        time.sleep(accept)
        call.send_initial_metadata(())
        end = time.monotonic() + think
        while call.is_active() and time.monotonic() < end:
            time.sleep(0.01)
        yield from messages

    return answer


def refusing(_: bytes, call: Call) -> Iterator[bytes]:
    call.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")
    yield b""


NAMES = [f"h{number:02d}" for number in range(10)]
SLOW = 30.0
JUNK = random.Random(3).randbytes(120)
SERVED: Mapping[str, tuple[Answer, State]] = {
    "ok": (answering(WHOLE), State.OK),
    "crit": (answering(BAD), State.FAILED),
    "breaks off": (answering(PART), State.FAILED),
    "random bytes": (answering(JUNK), State.FAILED),
    "too slow": (answering(WHOLE, think=SLOW), State.TIMEOUT),
    "refuses": (refusing, State.FAILED),
}
DEAD = {"refused": State.UNREACHABLE, "silent": State.UNREACHABLE, "wrong name": State.UNREACHABLE}
EXPECTED = {**{kind: state for kind, (_, state) in SERVED.items()}, **DEAD}
# What a busy machine may make of anybody; never of a bad host a good one.
OUT_OF_TIME = {State.TIMEOUT, State.UNREACHABLE, State.NOT_ATTEMPTED}
AT_ONCE = 40


@pytest.fixture(scope="module")
def ports(authority: Authority) -> Iterator[dict[str, int]]:
    """Run a server for each behaviour, under all names but where it lies; give their ports."""
    with contextlib.ExitStack() as stack:
        made = {
            kind: stack.enter_context(odd_agents.serving(authority, NAMES, answer))[0].port
            for kind, (answer, _) in SERVED.items()
        }
        made["wrong name"] = stack.enter_context(odd_agents.serving(authority, ["stranger"], answering(WHOLE)))[0].port
        made |= {dead.kind: dead.port for dead in stack.enter_context(dead_hosts("127.0.0.1", 1))}
        yield made


@dataclass(frozen=True)
class Script:
    """What each host does, and the bounds it is asked in."""

    kinds: tuple[str, ...]
    bounds: Bounds


def script(choose: random.Random) -> Script:
    kinds = tuple(choose.choice(sorted(EXPECTED)) for _ in range(choose.randrange(1, len(NAMES) + 1)))
    return Script(kinds, Bounds(choose.randrange(2, 40), 0.8, 2.0, choose.choice([None, 1.2])))


@pytest.mark.covers("inv:F1", "inv:F2")
def test_every_host_has_one_status_and_their_sum_is_what_was_selected_in_200_random_failures(
    ports: dict[str, int], authority: Authority
) -> None:
    choose = random.Random(20)
    scripts = [script(choose) for _ in range(200)]
    identity = odd_agents.identity(authority)

    async def play(one: Script) -> list[HostReport]:
        endpoints = [Endpoint(name, "127.0.0.1", ports[kind]) for name, kind in zip(NAMES, one.kinds, strict=False)]
        return [report async for report in asked(endpoints, identity, one.bounds)]

    async def play_all() -> list[list[HostReport]]:
        made: list[list[HostReport]] = []
        for first in range(0, len(scripts), AT_ONCE):
            made += await asyncio.gather(*map(play, scripts[first : first + AT_ONCE]))
        return made

    right: Counter[bool] = Counter()
    for one, made in zip(scripts, asyncio.run(play_all()), strict=True):
        assert sorted(report.host for report in made) == NAMES[: len(one.kinds)], one
        for report in made:
            kind = one.kinds[NAMES.index(report.host)]
            assert report.state in {EXPECTED[kind], *OUT_OF_TIME}, (one, report)
            assert bool(report.cause) == (kind not in ("ok", "crit") or report.state in OUT_OF_TIME), (one, report)
            right[report.state == EXPECTED[kind]] += 1
    assert right[True] > 20 * right[False], right


@pytest.mark.covers("inv:F2", "inv:F7")
def test_a_host_past_its_deadline_is_a_timeout_at_once_and_a_late_answer_is_named_and_not_used(
    authority: Authority,
) -> None:
    others = [f"h{number}" for number in range(6)]
    with (
        odd_agents.serving(authority, ["late"], answering(BAD, think=0.6)) as late,
        # One slot: they are accepted one after the other, and awaited for longer than the late one takes.
        odd_agents.serving(authority, others, answering(WHOLE, accept=0.25)) as rest,
    ):
        made = ask([*late, *rest], odd_agents.identity(authority), Bounds(1, 1.5, 10.0, 0.3))
    first, again = [report for report in made if report.host == "late"]
    assert (first.state, first.late) == (State.TIMEOUT, None)
    assert first.cause == "connected, but no whole answer within the host's deadline of 0.3s"
    assert first.seconds < 0.5
    assert made.index(first) < len(made) - 3, "it was told while others were awaited"
    assert (again.state, again.seconds) == (State.TIMEOUT, first.seconds)
    assert again.late == pytest.approx(0.3, abs=0.2)
    assert again.cause == f"{first.cause}; its answer came {again.late:.1f}s late and is not used"
    assert not again.answer.findings
    assert Counter(report.state for report in made if report.late is None) == {State.TIMEOUT: 1, State.OK: 6}


@pytest.mark.covers("inv:F7")
def test_nobody_waits_for_a_late_answer_when_all_others_have_ended(authority: Authority) -> None:
    def part_then_silence(_: bytes, call: Call) -> Iterator[bytes]:
        call.send_initial_metadata(())
        yield PART
        while call.is_active():
            time.sleep(0.01)

    with odd_agents.serving(authority, ["late"], part_then_silence) as late:
        began = time.monotonic()
        (report,) = ask(late, odd_agents.identity(authority), Bounds(32, 1.5, 10.0, 0.4))
        assert time.monotonic() - began < 1.0
    assert (report.state, report.late) == (State.TIMEOUT, None)
    assert len(report.answer.findings) == 1, "what came in time is kept"


@pytest.mark.covers("inv:F2")
def test_the_deadline_of_a_host_counts_from_when_its_call_begins(authority: Authority) -> None:
    names = [f"h{number}" for number in range(5)]
    with odd_agents.serving(authority, names, answering(WHOLE, accept=0.25)) as endpoints:
        made = ask(endpoints, odd_agents.identity(authority), Bounds(1, 1.5, 10.0, 0.8))
    assert {report.state for report in made} == {State.OK}
    assert max(report.seconds for report in made) > 1.2, "the last began after the first one's deadline"


@pytest.mark.covers("inv:F2", "inv:F7")
def test_describe_ends_a_host_at_its_deadline_too(authority: Authority) -> None:
    with (
        odd_agents.serving(authority, ["late"], answering(b"", think=SLOW)) as late,
        odd_agents.serving(authority, ["fine"], answering(b"")) as fine,
    ):
        identity = odd_agents.identity(authority)
        made = asyncio.run(describing.describe([*late, *fine], identity, Bounds(32, 1.5, 10.0, 0.5)))
    assert [(item.host, item.state) for item in made] == [("late", State.TIMEOUT), ("fine", State.OK)]
    assert made[0].cause == "no answer within the host's deadline of 0.5s"
    assert made[1].round_trip > 0


@pytest.mark.covers("inv:F7", "inv:F9")
def test_an_interrupt_cancels_those_not_begun_and_waits_for_the_others(authority: Authority) -> None:
    names = [f"h{number}" for number in range(4)]
    told: list[int] = []
    with odd_agents.serving(authority, names, answering(WHOLE, accept=0.4)) as endpoints:
        after(0.2, 1)
        made = ask(endpoints, odd_agents.identity(authority), Bounds(2, 1.5, 10.0), told)
    assert Counter(report.state for report in made) == {State.OK: 2, State.CANCELLED: 2}
    assert {report.cause for report in made if report.state == State.CANCELLED} == {"interrupted before it was asked"}
    assert told == [2]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.covers("inv:F7", "inv:F9")
def test_a_second_interrupt_leaves_those_that_were_asked_as_unknown(authority: Authority) -> None:
    names = [f"h{number}" for number in range(4)]
    told: list[int] = []
    with odd_agents.serving(authority, names, answering(WHOLE, think=SLOW)) as endpoints:
        after(0.5, 2)
        began = time.monotonic()
        made = ask(endpoints, odd_agents.identity(authority), Bounds(4, 1.5, 10.0), told)
        assert time.monotonic() - began < 2.0
    assert Counter(report.state for report in made) == {State.UNKNOWN: 4}
    assert told == [4]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def after(seconds: float, times: int) -> None:
    """Send this process so many interrupts, from another thread."""

    def send() -> None:
        for _ in range(times):
            time.sleep(seconds)
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=send, daemon=True).start()


@dataclass
class Probe:
    """Takes connections and never says a word; knows when each said its first, and when it was gone."""

    port: int = 0
    spans: list[list[float]] = field(default_factory=list)

    def most_younger_than(self, age: float) -> int:
        """How many set-ups of less than this age there were at once."""
        return max(sum(begun <= at < min(end, begun + age) for begun, end in self.spans) for at, _ in self.spans)


@contextlib.contextmanager
def probing() -> Iterator[Probe]:
    made = Probe()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # A connection that says nothing is our own trial of TCP, no set-up.
            if await reader.read(65536):
                span = [time.monotonic(), float("inf")]
                made.spans.append(span)
                with contextlib.suppress(OSError):
                    while await reader.read(65536):
                        pass
                span[1] = time.monotonic()
        finally:
            writer.transport.abort()

    async def serve() -> None:
        server = await asyncio.start_server(hold, "127.0.0.1", 0, backlog=256)
        made.port = server.sockets[0].getsockname()[1]
        async with server:
            await asyncio.to_thread(ended.wait)

    ended = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        until("the probe listens", lambda: made.port)
        yield made
    finally:
        ended.set()
        thread.join(5)


@pytest.mark.covers("inv:F11")
def test_a_probe_never_sees_more_set_ups_within_their_hold_than_forks(authority: Authority) -> None:
    with probing() as probe:
        names = [Endpoint(f"h{number:02d}", "127.0.0.1", probe.port) for number in range(16)]
        made = ask(names, odd_agents.identity(authority), Bounds(4, 1.5, 10.0))
    assert {report.state for report in made} == {State.UNREACHABLE}
    assert len(probe.spans) == 16
    assert probe.most_younger_than(0.9 * SLOT_HOLD) == 4
    assert probe.most_younger_than(10.0) > 4, "an older one gives its slot back, and is still waited for"


@pytest.fixture(scope="module")
def thousand(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Endpoint], Identity]]:
    """Run a thousand emulated agents."""
    folder = lab / tmp_path_factory.mktemp("thousand").name
    folder.mkdir()
    files = credentials.write_credentials(folder, datetime.fromtimestamp(time.time(), UTC))
    identity = Identity(files.operator.read_bytes(), files.operator_key.read_bytes(), files.agent_ca.read_bytes())
    with farm.running_farm(1000, files, ROOT) as running:
        yield [Endpoint(agent.name, agent.address, agent.port) for agent in running.agents], identity


@pytest.mark.covers("inv:F11", "inv:F1")
def test_sixty_silent_hosts_of_a_thousand_delay_no_healthy_one(thousand: tuple[list[Endpoint], Identity]) -> None:
    healthy, identity = thousand
    bounds = Bounds(32, 1.5, 20.0)

    def last_healthy(endpoints: Sequence[Endpoint], silent: int) -> float:
        made = ask(endpoints, identity, bounds)
        states = Counter(report.state for report in made)
        assert states == Counter({State.OK: len(healthy), State.UNREACHABLE: silent})
        return max(report.seconds for report in made if report.state == State.OK)

    with contextlib.ExitStack() as held:
        mixed = list(healthy)
        for number in range(60):
            line = held.enter_context(socket.create_server(("127.0.0.1", 0)))
            mixed.insert(number * 17, Endpoint(f"silent{number:02d}", "127.0.0.1", line.getsockname()[1]))

        def delayed() -> bool:
            # Were no slot given back, 60 of them would hold 32 slots for two rounds of 1.5 s.
            return last_healthy(mixed, 60) > 1.3 * last_healthy(healthy, 0) + 0.5

        # Once may be the noise of other programs.
        assert not (delayed() and delayed())
