"""Sets up the call to one agent among many: a slot, a name, a connection, each within its bound.

A slot bounds how many connections are being set up. It is given back when the agent takes the call, and at the latest
after SLOT_HOLD: hosts that are silent must not starve the healthy ones. Only a host that is that late gets a TCP
connect beside the call, which tells a host that drops packets from one that accepts and says nothing; the healthy
never pay for it.
"""

import asyncio
import resource
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, TypeAlias

import grpc
import grpc.aio

from controller.inventory.connection import Endpoint
from controller.transport import mtls

SLOT_HOLD = 0.5
# What a command keeps of its deadline for saying how it ended.
MARGIN = 0.1
LOOKUPS_AT_ONCE = 128
DESCRIPTORS_KEPT = 64


@dataclass(frozen=True, slots=True)
class Bounds:
    """`forks` set-ups at once; `connect` seconds for TCP and TLS of one host; `deadline` seconds for the whole.

    `host_deadline`: seconds for one host, from when its call begins; None where it has all that is left of the whole.
    """

    forks: int
    connect: float
    deadline: float
    host_deadline: float | None = None

    @property
    def for_one(self) -> float:
        """Seconds that a host whose call begins at once may take."""
        return self.deadline if self.host_deadline is None else min(self.deadline, self.host_deadline)


Call: TypeAlias = "grpc.aio.UnaryStreamCall[Any, Any] | grpc.aio.UnaryUnaryCall[Any, Any]"


class Unreachable(Exception):
    """No connection came about; the message is the cause, for people."""


class LocalTrouble(Exception):
    """This machine's own limits ended a call: it says nothing about the host."""


def raise_descriptor_limit(wanted: int) -> int:
    """Raises the soft limit on descriptors to what is needed or allowed; gives how many connections that leaves."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = wanted + DESCRIPTORS_KEPT
    if soft < target:
        soft = min(target, hard) if hard != resource.RLIM_INFINITY else target
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, soft - DESCRIPTORS_KEPT)


class Within:
    """The bounds that all of one command share, and its clock."""

    def __init__(self, bounds: Bounds) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._bounds = bounds

    @property
    def deadline(self) -> float:
        return self._bounds.deadline

    @property
    def host_deadline(self) -> float | None:
        return self._bounds.host_deadline

    def passed(self) -> float:
        """Seconds since the command began."""
        return self._loop.time() - self._began

    def left(self) -> float:
        """Seconds that a call may still take. LocalTrouble where there are none."""
        left = self._bounds.deadline - MARGIN - self.passed()
        if left <= 0:
            raise LocalTrouble(f"not begun within the deadline of {self._bounds.deadline:g}s")
        return left


class Calls(Within):
    """The calls of one command; `connections` may be open at once."""

    def __init__(self, identity: mtls.Identity, bounds: Bounds, connections: int) -> None:
        super().__init__(bounds)
        self._credentials = identity.credentials()
        self._slots = asyncio.Semaphore(bounds.forks)
        self._open = asyncio.Semaphore(connections)
        self._lookups = asyncio.Semaphore(LOOKUPS_AT_ONCE)

    @asynccontextmanager
    async def channel(self, endpoint: Endpoint) -> "AsyncIterator[Line]":
        """A line to an agent, not dialled yet, in a slot of its own. Unreachable where its name does not resolve."""
        address = await self._resolve(endpoint)
        async with self._open:
            slot = _Slot(self._slots)
            await slot.take()
            channel = mtls.channel(endpoint, address, self._credentials)
            try:
                yield Line(endpoint, address, channel, slot)
            finally:
                slot.give_back()
                await channel.close()

    async def set_up(self, call: Call, line: "Line") -> None:
        """Until the agent takes the call. Unreachable where it does not within the limit for a connection.

        Timers instead of tasks: a host that answers, which most do, must cost nothing for those that don't.
        """
        late = _Late(call, line.slot, line.address, line.endpoint.port)
        timers = (
            self._loop.call_later(min(SLOT_HOLD, self._bounds.connect), late.probe),
            self._loop.call_later(self._bounds.connect, late.give_up),
        )
        try:
            await call.initial_metadata()
        except asyncio.CancelledError:
            # By Ctrl-C, not by ourselves.
            if not late.given_up:
                raise
        finally:
            for timer in timers:
                timer.cancel()
            connected = late.end()
            line.slot.give_back()
        if late.given_up:
            raise Unreachable(self._silent(line, connected=connected))
        if call.done():
            code = await call.code()
            if code != grpc.StatusCode.OK:
                raise grpc.aio.AioRpcError(
                    code, await call.initial_metadata(), await call.trailing_metadata(), await call.details()
                )

    def _silent(self, line: "Line", *, connected: bool) -> str:
        limit, port = f"{self._bounds.connect:g}s", line.endpoint.port
        if connected:
            return f"TCP {port} accepts, but no TLS answer in {limit}: agent stopped, or host overloaded (try -T)"
        return f"no TCP answer from {line.address} port {port} in {limit}: host down, or packets dropped"

    async def _resolve(self, endpoint: Endpoint) -> str:
        """The address to dial. Resolved here, not by gRPC: 200 names that fail take it 14 s (performance.md B7)."""
        try:
            return str(ip_address(endpoint.address))
        except ValueError:
            pass
        slot = _Slot(self._lookups)
        await slot.take()
        # As with connections: names that nobody answers for must not starve the others.
        late = self._loop.call_later(SLOT_HOLD, slot.give_back)
        try:
            return await resolve(endpoint.address, min(self._bounds.connect, self.left()))
        finally:
            late.cancel()
            slot.give_back()


async def resolve(name: str, patience: float) -> str:
    """The first address of a name, within so many seconds. Unreachable where it has none."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[str] = loop.create_future()
    # A thread that nobody waits for: getaddrinfo can't be told to stop, and an executor is joined at exit.
    threading.Thread(target=_look_up, args=(name, loop, found), daemon=True).start()
    try:
        return await asyncio.wait_for(found, patience)
    except TimeoutError as error:
        raise Unreachable(f"the name {name} was not resolved in {patience:g}s") from error


class _Slot:
    """One permit of a semaphore, given back once, however often that is said."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self._held = False

    async def take(self) -> None:
        await self._slots.acquire()
        self._held = True

    def give_back(self) -> None:
        if self._held:
            self._held = False
            self._slots.release()


@dataclass(frozen=True, slots=True)
class Line:
    """A channel to an agent at an address, and the slot its set-up holds."""

    endpoint: Endpoint
    address: str
    channel: grpc.aio.Channel
    slot: _Slot


class _Late:
    """A call that its agent has not taken yet: first the slot goes to others and TCP is tried, then it is ended."""

    def __init__(self, call: Call, slot: _Slot, address: str, port: int) -> None:
        self._call = call
        self._slot = slot
        self._place = (address, port)
        self._trial: asyncio.Task[None] | None = None
        self.given_up = False

    def probe(self) -> None:
        self._slot.give_back()
        self._trial = asyncio.ensure_future(_tcp(*self._place))

    def give_up(self) -> None:
        self.given_up = True
        self._call.cancel()

    def end(self) -> bool:
        """Whether TCP was seen to connect."""
        trial = self._trial
        if trial is None or not trial.done():
            if trial is not None:
                trial.cancel()
            return False
        return trial.exception() is None


def _look_up(name: str, loop: asyncio.AbstractEventLoop, found: "asyncio.Future[str]") -> None:
    def settle(act: Callable[[], None]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(lambda: None if found.done() else act())

    try:
        rows = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        said = Unreachable(f"the name {name} does not resolve: {getattr(error, 'strerror', None) or 'no such name'}")
        settle(lambda: found.set_exception(said))
    else:
        settle(lambda: found.set_result(str(rows[0][4][0])))


async def _tcp(address: str, port: int) -> None:
    _, writer = await asyncio.open_connection(address, port)
    writer.close()
