"""Visits many hosts over SSH, each in a thread of its own: a report for each, exactly one, and endings as for calls."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from controller import ssh
from controller.calling import Bounds, Within
from controller.endings import SILENT, State
from controller.fan_out import Ending, Interrupted, fan_out
from controller.host_report import HostReport, judged
from controller.inventory.connection import Endpoint
from controller.ssh import Destination, Session, SshError, Trust
from controller.transport import ssh_stdio
from controller.transport.ssh_stdio import Late, NoVisit, Parcel, There, Visit
from fleetmedic.v1.agent_pb2 import CheckRequest, CheckResponse
from fleetmedic.v1.finding_pb2 import Finding
from fleetmedic.v1.local_pb2 import REFUSAL_KIND_INVALID, REFUSAL_KIND_NOT_FOUND, Caller, LocalRequest, Refusal

# What the visitor brings to such a host. LocalTrouble where this desk has nothing that fits.
Pack = Callable[[There], Parcel]


@dataclass(frozen=True, slots=True)
class Way:
    """Where one host is visited: by whose login, as root by sudo where it is to `become`, with which Python."""

    to: Destination
    become: bool = False
    python: str = ssh_stdio.PYTHON


@dataclass(frozen=True, slots=True)
class Visits:
    """How the hosts of one command are visited, by their inventory names."""

    ways: Mapping[str, Way]
    trust: Trust
    pack: Pack


async def check(
    asked: Mapping[Endpoint, bytes], visits: Visits, bounds: Bounds, interrupted: Interrupted | None = None
) -> AsyncIterator[HostReport]:
    """As fleet.check, which is asked the same."""
    exchanges = {endpoint: _Seen(request, visits.ways[endpoint.name], visits) for endpoint, request in asked.items()}
    async for ending in fan_out(_Threads(bounds), exchanges, interrupted):
        yield _report(ending)


def _report(ending: "Ending[_Seen]") -> HostReport:
    seen = ending.exchange
    return HostReport(
        ending.host,
        ending.state,
        ending.cause,
        ending.seconds,
        seen.answer,
        seen.clock_offset,
        seen.messages,
        seen.outcome.refused,
        ending.late,
    )


class _Threads(Within):
    """A visit holds its slot to its end: unlike a call, it costs this desk a thread and 10 MB on the line."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds)
        self._slots = asyncio.Semaphore(bounds.forks)

    @asynccontextmanager
    async def channel(self, endpoint: Endpoint) -> AsyncIterator[None]:
        del endpoint
        async with self._slots:
            yield


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a visit ended; `refused` where the question itself was wrong."""

    state: State
    cause: str = ""
    refused: bool = False


class _Seen:
    """A visit of one host: what is asked, and what it has shown so far. Its fields are the event loop's alone."""

    def __init__(self, request: bytes, way: Way, visits: Visits) -> None:
        self.connected = False
        self.messages = 0
        self.clock_offset: float | None = None
        self.answer = CheckResponse()
        self.outcome = _Outcome(State.FAILED, "the visit was broken off")
        self._request = request
        self._way = way
        self._visits = visits
        self._closed = False
        self._whole = False

    async def speak(self, calls: _Threads, _: None) -> None:
        left = calls.left()
        loop = asyncio.get_running_loop()
        told = _Told(loop, loop.create_future(), self._reached, self._met, self._take)
        visitor = _Visitor(self._way, self._visits, self._request, told, time.monotonic() + left)
        # Nobody joins it: where even closing the connection does not end it, the command must.
        threading.Thread(target=visitor.run, daemon=True).start()
        try:
            async with asyncio.timeout(left):
                self.outcome = await told.future
        except TimeoutError:
            self.outcome = _Outcome(State.TIMEOUT if self.connected else State.UNREACHABLE)
        finally:
            visitor.hang_up()
        if self.outcome.state in SILENT and not self.outcome.cause:
            so_far = "reached by SSH, but no whole answer" if self.connected else "no SSH connection"
            self.outcome = _Outcome(self.outcome.state, f"{so_far} within the deadline of {calls.deadline:g}s")

    def close(self) -> None:
        self._closed = True

    def verdict(self) -> tuple[State, str]:
        return self.outcome.state, self.outcome.cause

    def whole(self) -> bool:
        return self._whole

    def _reached(self) -> None:
        self.connected = True

    def _met(self, there: There) -> None:
        if not self._closed:
            self.clock_offset = there.clock_offset

    def _take(self, answer: CheckResponse) -> None:
        self._whole = answer.last
        if self._closed:
            return
        self.messages += 1
        self.answer.MergeFrom(answer)


@dataclass(frozen=True, slots=True)
class _Told:
    """What a visit's thread says to the event loop; nothing where that has ended."""

    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[_Outcome]"
    reached: Callable[[], None]
    met: Callable[[There], None]
    taken: Callable[[CheckResponse], None]

    def say(self, act: Callable[[], None]) -> None:
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(act)

    def end(self, act: Callable[[], None]) -> None:
        self.say(lambda: None if self.future.done() else act())


class _Visitor:
    """What runs in the thread of one visit; it may be left at any time by `hang_up`."""

    def __init__(self, way: Way, visits: Visits, request: bytes, told: _Told, end: float) -> None:
        self._way = way
        self._visits = visits
        self._request = request
        self._told = told
        self._end = end
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._left = False

    def run(self) -> None:
        try:
            outcome = self._visit()
        except BaseException as error:  # noqa: BLE001 - raised again in the event loop, which waits for it
            self._told.end(partial(self._told.future.set_exception, error))
        else:
            self._told.end(partial(self._told.future.set_result, outcome))

    def hang_up(self) -> None:
        """From the event loop, which it does not hold up; the host's side notices, and clears up by itself."""
        with self._lock:
            self._left = True
            session, self._session = self._session, None
        if session is not None:
            threading.Thread(target=session.hang_up, daemon=True).start()

    def _visit(self) -> _Outcome:
        reached = False
        try:
            with ssh.connected(self._way.to, self._visits.trust) as session:
                reached = True
                self._told.say(self._told.reached)
                with self._held(session):
                    return self._ask(session)
        except SshError as error:
            return _Outcome(State.FAILED if reached else State.UNREACHABLE, error.why)
        except Late:
            return _Outcome(State.TIMEOUT)
        except NoVisit as error:
            return _Outcome(State.FAILED, str(error))

    @contextmanager
    def _held(self, session: Session) -> Iterator[None]:
        """While it is held it can be hung up. NoVisit where that was wished for before it was there."""
        with self._lock:
            if self._left:
                raise NoVisit("left before it was asked")
            self._session = session
        try:
            yield
        finally:
            with self._lock:
                self._session = None

    def _ask(self, session: Session) -> _Outcome:
        findings: list[Finding] = []
        with session.start(ssh_stdio.command(self._way.python, become=self._way.become)) as remote:
            visit = Visit(remote, self._end)
            there = visit.begin()
            self._told.say(partial(self._told.met, there))
            for answer in visit.ask(self._visits.pack(there), self._question):
                if answer.HasField("refusal"):
                    return _refused(answer.refusal)
                findings += answer.check.findings
                self._told.say(partial(self._told.taken, answer.check))
            trouble = visit.leave()
        return _Outcome(State.FAILED, trouble) if trouble else _Outcome(judged(findings))

    def _question(self, left: float) -> LocalRequest:
        """For the seconds that are left by now: the upload took some of those that there were at first."""
        made = CheckRequest.FromString(self._request)
        asked = made.budget.seconds + made.budget.nanos / 1e9
        made.budget.FromMilliseconds(int(1000 * min(asked, left)))
        return LocalRequest(caller=Caller(role="observer"), check=made)


def _refused(refusal: Refusal) -> _Outcome:
    skipped = refusal.kind == REFUSAL_KIND_NOT_FOUND
    return _Outcome(
        State.SKIPPED if skipped else State.FAILED, refusal.reason, refused=refusal.kind == REFUSAL_KIND_INVALID
    )
