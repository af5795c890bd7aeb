"""Puts a question to many hosts at once and gives each exactly one ending, whatever happens to it.

An ending comes when the host has answered or failed, when its own deadline is past, or when Ctrl-C says so: the first
lets nobody begin any more and waits for those that were asked, the second leaves them. SIGTERM and SIGHUP are both at
once.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from controller.calling import LocalTrouble, Unreachable
from controller.causes import NO_ANSWER, rpc_cause
from controller.endings import State
from controller.inventory.connection import Endpoint
from controller.transport.answers import TooMuch

# Told at the first signal: which, and how many hosts are waited for.
Interrupted = Callable[[signal.Signals, int], None]

NOT_ASKED = "interrupted before it was asked"
LEFT = "asked, and left by a second interrupt before it had answered"
FINAL = (signal.SIGTERM, signal.SIGHUP)


class Ways(Protocol):
    """How hosts are reached, and the bounds that one command has: calls to agents, or visits over SSH."""

    @property
    def deadline(self) -> float: ...

    @property
    def host_deadline(self) -> float | None: ...

    def passed(self) -> float:
        """Seconds since the command began."""

    def channel(self, endpoint: Endpoint) -> AbstractAsyncContextManager[Any]:
        """A line to a host, as its exchange speaks on it; the host's call begins when it is there."""


class Exchange(Protocol):
    """What is said to one host, and what it has answered so far."""

    connected: bool

    async def speak(self, calls: Any, line: Any) -> None:
        """Asks, and takes the answer to its end. `calls` is the Ways, `line` one of its lines."""

    def close(self) -> None:
        """The host has its ending: what comes from now on is read, but not used."""

    def verdict(self) -> tuple[State, str]:
        """After `speak`: the state, and a cause where the answer is none."""

    def whole(self) -> bool:
        """Whether the answer came to its end."""


E = TypeVar("E", bound=Exchange)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ending(Generic[E]):
    """How it ended for a host. `seconds` since the fan-out began; `late` those past the host's own deadline.

    A host has one without `late`; one more, with it, where its answer came after that deadline.
    """

    host: str
    exchange: E
    state: State
    cause: str
    seconds: float
    # The host found the request itself wrong; `cause` says how.
    refused: bool = False
    late: float | None = None
    # What gRPC called it, where a call ended with an error.
    code: grpc.StatusCode | None = None


async def fan_out(
    calls: Ways, exchanges: Mapping[Endpoint, E], interrupted: Interrupted | None = None
) -> AsyncIterator[Ending[E]]:
    """Endings in the order in which they come. Ctrl-C is heeded where `interrupted` is given, until the loop ends."""
    asking = _Asking(calls, exchanges)
    if interrupted is not None:
        # Taken off by the loop when it is closed: one that comes while all this ends has nothing to break off.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, *FINAL):
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, asking.interrupt, number, interrupted)
    try:
        async for ending in asking.endings():
            yield ending
    finally:
        asking.leave()


def run(asking: Coroutine[object, object, T]) -> T:
    """asyncio.run for what fans out: afterwards signals do again what they did before."""
    before = {number: signal.getsignal(number) for number in FINAL}
    try:
        return asyncio.run(asking)
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)


class _Host(Generic[E]):
    """One host: whether its call has begun, and whether it has its ending."""

    __slots__ = ("begun", "ended", "endpoint", "exchange", "over", "task")

    def __init__(self, endpoint: Endpoint, exchange: E) -> None:
        self.endpoint = endpoint
        self.exchange = exchange
        self.begun = False
        self.ended = False
        # Where its own deadline ended it: when, by the loop's clock, and as what.
        self.over: tuple[float, Ending[E]] | None = None
        self.task: asyncio.Task[Ending[E] | None] | None = None


class _Asking(Generic[E]):
    """All hosts of one question; what ends comes through one queue."""

    def __init__(self, calls: Ways, exchanges: Mapping[Endpoint, E]) -> None:
        self._calls = calls
        self._loop = asyncio.get_running_loop()
        self._came: asyncio.Queue[asyncio.Task[Ending[E] | None] | Ending[E]] = asyncio.Queue()
        self._hosts = [_Host(endpoint, exchange) for endpoint, exchange in exchanges.items()]
        self._interrupts = 0

    async def endings(self) -> AsyncIterator[Ending[E]]:
        for host in self._hosts:
            host.task = asyncio.create_task(self._host(host))
            host.task.add_done_callback(partial(self._done, host))
        awaited = len(self._hosts)
        while awaited:
            came = await self._came.get()
            # An exception that nobody foresaw is raised here: a bug of ours must not look like a host's silence.
            ending = came if isinstance(came, Ending) else came.result()
            if ending is not None:
                awaited -= ending.late is None
                yield ending

    def _done(self, host: _Host[E], task: "asyncio.Task[Ending[E] | None]") -> None:
        if not task.cancelled():
            self._came.put_nowait(task)
        elif not host.ended:
            # By whomever: nobody is to wait for it for ever.
            self._came.put_nowait(self._ended(host, State.FAILED, "the call was broken off"))

    def leave(self) -> None:
        for host in self._hosts:
            if host.task is not None:
                host.task.cancel()

    def interrupt(self, number: signal.Signals, tell: Interrupted) -> None:
        final = number in FINAL
        self._interrupts += 1
        if self._interrupts == 1:
            for host in self._hosts:
                if not host.begun and not host.ended:
                    self._end_early(
                        host, State.CANCELLED, f"{number.name} came before it was asked" if final else NOT_ASKED
                    )
            tell(number, 0 if final else sum(not host.ended for host in self._hosts))
        if self._interrupts > 1 or final:
            for host in self._hosts:
                if not host.ended:
                    cause = f"asked, and left by {number.name} before it had answered" if final else LEFT
                    self._end_early(host, State.UNKNOWN, cause)

    async def _host(self, host: _Host[E]) -> Ending[E] | None:
        """None where the host had its ending before, and nothing came late."""
        timer: asyncio.TimerHandle | None = None
        code: grpc.StatusCode | None = None
        try:
            async with self._calls.channel(host.endpoint) as line:
                host.begun = True
                patience = self._calls.host_deadline
                if patience is not None:
                    timer = self._loop.call_later(patience, self._past_deadline, host)
                await host.exchange.speak(self._calls, line)
        except Unreachable as error:
            state, cause = State.UNREACHABLE, str(error)
        except LocalTrouble as error:
            state, cause = State.NOT_ATTEMPTED, str(error)
        except TooMuch as error:
            state, cause = State.FAILED, str(error)
        except DecodeError:
            state, cause = State.FAILED, NO_ANSWER
        except grpc.aio.AioRpcError as error:
            state, cause = rpc_cause(error, host.endpoint, self._calls.deadline, connected=host.exchange.connected)
            code = error.code()
        else:
            state, cause = host.exchange.verdict()
        finally:
            if timer is not None:
                timer.cancel()
        if host.ended:
            return self._late(host)
        return self._ended(host, state, cause, code)

    def _ended(self, host: _Host[E], state: State, cause: str, code: grpc.StatusCode | None = None) -> Ending[E]:
        host.ended = True
        refused = code == grpc.StatusCode.INVALID_ARGUMENT
        return Ending(host.endpoint.name, host.exchange, state, cause, self._calls.passed(), refused, code=code)

    def _end_early(self, host: _Host[E], state: State, cause: str) -> Ending[E]:
        host.exchange.close()
        ending = self._ended(host, state, cause)
        self._came.put_nowait(ending)
        if state != State.TIMEOUT and host.task is not None:
            host.task.cancel()
        return ending

    def _past_deadline(self, host: _Host[E]) -> None:
        """Its ending is told at once; the call goes on while others are awaited."""
        if host.ended:
            return
        limit = f"the host's deadline of {self._calls.host_deadline:g}s"
        so_far = "connected, but no whole answer" if host.exchange.connected else "no answer"
        host.over = self._loop.time(), self._end_early(host, State.TIMEOUT, f"{so_far} within {limit}")

    def _late(self, host: _Host[E]) -> Ending[E] | None:
        if host.over is None or not host.exchange.whole():
            return None
        when, ending = host.over
        late = self._loop.time() - when
        cause = f"{ending.cause}; its answer came {late:.1f}s late and is not used"
        return Ending(ending.host, ending.exchange, ending.state, cause, ending.seconds, late=late)
