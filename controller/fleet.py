"""Asks many agents at once: a report for each host, exactly one, and no host delays another.

A slot bounds how many connections are being set up. It is given back when the agent takes the call, and at the latest
after SLOT_HOLD: hosts that are silent must not starve the healthy ones. Only a host that is that late gets a TCP
connect beside the call, which tells a host that drops packets from one that accepts and says nothing; the healthy
never pay for it.
"""

import asyncio
import re
import resource
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from time import time
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from controller.inventory.connection import Endpoint
from controller.report import HostReport, State, judged
from controller.transport import mtls
from fleetmedic.v1.agent_pb2 import CheckResponse, DescribeRequest, DescribeResponse

SLOT_HOLD = 0.5
# What a command keeps of its deadline for saying how it ended.
MARGIN = 0.1
LOOKUPS_AT_ONCE = 32
DESCRIPTORS_KEPT = 64
# Of one answer: an agent sends two. A hostile one must not fill our memory until the deadline.
MOST_MESSAGES = 8
NO_ANSWER = "sent what is no answer: another program, or an agent of another version, listens there"


@dataclass(frozen=True, slots=True)
class Bounds:
    """`forks` set-ups at once; `connect` seconds for TCP and TLS of one host; `deadline` seconds for the whole."""

    forks: int
    connect: float
    deadline: float


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


async def check(asked: Mapping[Endpoint, bytes], identity: mtls.Identity, bounds: Bounds) -> AsyncIterator[HostReport]:
    """Reports in the order of their completion. `asked` maps each host to its serialized CheckRequest."""
    fan_out = _FanOut(identity, bounds, raise_descriptor_limit(2 * len(asked)))
    tasks = [asyncio.create_task(fan_out.check(endpoint, request)) for endpoint, request in asked.items()]
    try:
        for done in asyncio.as_completed(tasks):
            yield await done
    finally:
        for task in tasks:
            task.cancel()


class _FanOut:
    def __init__(self, identity: mtls.Identity, bounds: Bounds, connections: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._credentials = identity.credentials()
        self._bounds = bounds
        self._slots = asyncio.Semaphore(bounds.forks)
        self._open = asyncio.Semaphore(connections)
        self._lookups = asyncio.Semaphore(LOOKUPS_AT_ONCE)

    def _left(self) -> float:
        return self._bounds.deadline - MARGIN - (self._loop.time() - self._began)

    async def check(self, endpoint: Endpoint, request: bytes) -> HostReport:
        """The one report of a host, whatever happens to it."""
        seen = _Seen()
        try:
            address = await self._resolve(endpoint)
            async with self._open:
                await self._exchange(endpoint, address, request, seen)
        except Unreachable as error:
            return self._report(endpoint, State.UNREACHABLE, str(error), seen)
        except LocalTrouble as error:
            return self._report(endpoint, State.NOT_ATTEMPTED, str(error), seen)
        except DecodeError:
            return self._report(endpoint, State.FAILED, NO_ANSWER, seen)
        except grpc.aio.AioRpcError as error:
            state, cause = _rpc_cause(error, endpoint, self._bounds.deadline, connected=seen.connected)
            report = self._report(endpoint, state, cause, seen)
            return replace(report, refused=error.code() == grpc.StatusCode.INVALID_ARGUMENT)
        if not seen.answer.last:
            return self._report(endpoint, State.FAILED, "the agent broke its answer off", seen)
        return self._report(endpoint, judged(seen.answer.findings), "", seen)

    def _report(self, endpoint: Endpoint, state: State, cause: str, seen: "_Seen") -> HostReport:
        seconds = self._loop.time() - self._began
        return HostReport(endpoint.name, state, cause, seconds, seen.answer, seen.clock_offset, seen.messages)

    async def _exchange(self, endpoint: Endpoint, address: str, request: bytes, seen: "_Seen") -> None:
        slot = _Slot(self._slots)
        await slot.take()
        channel = mtls.channel(endpoint, address, self._credentials)
        try:
            # Parsed here: what grpc can't parse it gives as None, with a stack trace in the log.
            method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
                mtls.CHECK, request_serializer=None, response_deserializer=None
            )
            if self._left() <= 0:
                raise LocalTrouble(f"not begun within the deadline of {self._bounds.deadline:g}s")
            call = method(request, timeout=self._left())
            await self._set_up(call, endpoint, address, slot)
            seen.connected = True
            accepted = time()
            async for received in call:
                message = CheckResponse.FromString(received)
                seen.take(message, accepted)
                if seen.messages > MOST_MESSAGES:
                    call.cancel()
                    break
                seen.add(message)
                if message.last:
                    break
        finally:
            slot.give_back()
            await channel.close()

    async def _set_up(
        self,
        call: "Call",
        endpoint: Endpoint,
        address: str,
        slot: "_Slot",
    ) -> None:
        """Until the agent takes the call. Unreachable where it does not within the limit for a connection.

        Timers instead of tasks: a host that answers, which most do, must cost nothing for those that don't.
        """
        late = _Late(call, slot, address, endpoint.port)
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
            slot.give_back()
        if late.given_up:
            raise Unreachable(self._silent(endpoint, address, connected=connected))
        if call.done():
            code = await call.code()
            if code != grpc.StatusCode.OK:
                raise grpc.aio.AioRpcError(
                    code, await call.initial_metadata(), await call.trailing_metadata(), await call.details()
                )

    def _silent(self, endpoint: Endpoint, address: str, *, connected: bool) -> str:
        limit = f"{self._bounds.connect:g}s"
        if connected:
            return (
                f"TCP {endpoint.port} accepts, but no TLS answer in {limit}: agent stopped, or host overloaded (try -T)"
            )
        return f"no TCP answer from {address} port {endpoint.port} in {limit}: host down, or packets dropped"

    async def _resolve(self, endpoint: Endpoint) -> str:
        """The address to dial. Resolved here, not by gRPC: 200 names that fail take it 14 s (performance.md B7)."""
        try:
            return str(ip_address(endpoint.address))
        except ValueError:
            pass
        async with self._lookups:
            if self._left() <= 0:
                raise LocalTrouble(f"not begun within the deadline of {self._bounds.deadline:g}s")
            found: asyncio.Future[str] = self._loop.create_future()
            # A thread that nobody waits for: getaddrinfo can't be told to stop, and an executor is joined at exit.
            threading.Thread(target=_look_up, args=(endpoint.address, self._loop, found), daemon=True).start()
            try:
                return await asyncio.wait_for(found, min(self._bounds.connect, self._left()))
            except TimeoutError as error:
                raise Unreachable(
                    f"the name {endpoint.address} was not resolved in {self._bounds.connect:g}s"
                ) from error


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


class _Late:
    """A call that its agent has not taken yet: first the slot goes to others and TCP is tried, then it is ended."""

    def __init__(self, call: "Call", slot: _Slot, address: str, port: int) -> None:
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


class _Seen:
    """What a call showed besides its findings."""

    def __init__(self) -> None:
        self.connected = False
        self.messages = 0
        self.clock_offset: float | None = None
        self.answer = CheckResponse()

    def add(self, message: CheckResponse) -> None:
        if self.messages == 1:
            self.answer = message
        else:
            self.answer.MergeFrom(message)

    def take(self, message: CheckResponse, accepted: float) -> None:
        """`accepted`: when the agent's acceptance arrived here, which it sent right after it stamped the request."""
        self.messages += 1
        if self.clock_offset is None and message.HasField("clock"):
            received = message.clock.received_time
            self.clock_offset = received.seconds + received.nanos / 1e9 - accepted


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


def _text(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


NO_DESCRIPTORS = _text("too many open files|EMFILE|ENFILE")
# gRPC says UNAVAILABLE of all of these, so its text decides; the first that matches.
CONNECTION_CAUSES: Sequence[tuple[re.Pattern[str], str]] = (
    (_text("connection refused|ECONNREFUSED"), "TCP {port} refused: no agent listens there"),
    (_text("no route to host|network is unreachable|EHOSTUNREACH|ENETUNREACH"), "no route to the host"),
    (
        _text("not in peer certificate|peer name|hostname verification|No match found"),
        "another host answers there: its certificate is not for {name}",
    ),
    (
        _text("certificate verify failed|CERTIFICATE_VERIFY_FAILED|unknown ca|expired"),
        "the agent's certificate is out of date, or not from the authority given with --ca",
    ),
    (
        _text("handshake|ssl|tls|certificate|closed"),
        "TLS was refused: is our certificate from the authority that this agent trusts?",
    ),
)


def _rpc_cause(
    error: grpc.aio.AioRpcError, endpoint: Endpoint, deadline: float, *, connected: bool
) -> tuple[State, str]:
    """What a failed call means."""
    code, details = error.code(), error.details() or ""
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        if not connected:
            return State.UNREACHABLE, f"no connection within the deadline of {deadline:g}s: host down, or overloaded"
        return State.TIMEOUT, f"connected, but no whole answer within the deadline of {deadline:g}s"
    if code == grpc.StatusCode.NOT_FOUND:
        return State.SKIPPED, details
    if code == grpc.StatusCode.INVALID_ARGUMENT:
        return State.FAILED, details
    if code != grpc.StatusCode.UNAVAILABLE:
        return State.FAILED, f"{code.name.lower().replace('_', ' ')}: {details}"
    if NO_DESCRIPTORS.search(details):
        return State.NOT_ATTEMPTED, "this machine ran out of open files: raise ulimit -n"
    if connected:
        return State.FAILED, details
    known = (cause for pattern, cause in CONNECTION_CAUSES if pattern.search(details))
    cause = next(known, details.partition("\n")[0][:200])
    return State.UNREACHABLE, cause.replace("{port}", str(endpoint.port)).replace("{name}", endpoint.name)


@dataclass(frozen=True, slots=True)
class Described:
    """What a host says of itself, or why it does not; `clock_offset` in seconds, its error at most `clock_error`."""

    host: str
    answer: DescribeResponse | None
    cause: str
    clock_offset: float = 0.0
    clock_error: float = 0.0


async def describe(endpoints: Sequence[Endpoint], identity: mtls.Identity, bounds: Bounds) -> list[Described]:
    """In the order given. Each host is asked twice on one channel: the second call tells the time without a set-up."""
    fan_out = _Describing(identity, bounds, raise_descriptor_limit(2 * len(endpoints)))
    return list(await asyncio.gather(*(fan_out.ask(endpoint) for endpoint in endpoints)))


class _Describing(_FanOut):
    async def ask(self, endpoint: Endpoint) -> Described:
        try:
            address = await self._resolve(endpoint)
            async with self._open:
                slot = _Slot(self._slots)
                await slot.take()
                channel = mtls.channel(endpoint, address, self._credentials)
                try:
                    return await self._ask(endpoint, address, channel, slot)
                finally:
                    slot.give_back()
                    await channel.close()
        except (Unreachable, LocalTrouble) as error:
            return Described(endpoint.name, None, str(error))
        except DecodeError:
            return Described(endpoint.name, None, NO_ANSWER)
        except grpc.aio.AioRpcError as error:
            return Described(
                endpoint.name, None, _rpc_cause(error, endpoint, self._bounds.deadline, connected=False)[1]
            )

    async def _ask(self, endpoint: Endpoint, address: str, channel: grpc.aio.Channel, slot: "_Slot") -> Described:
        method: grpc.aio.UnaryUnaryMultiCallable[DescribeRequest, bytes] = channel.unary_unary(
            mtls.DESCRIBE, request_serializer=DescribeRequest.SerializeToString, response_deserializer=None
        )
        first = method(DescribeRequest(), timeout=self._left())
        await self._set_up(first, endpoint, address, slot)
        await first
        sent = time()
        answer = DescribeResponse.FromString(await method(DescribeRequest(), timeout=self._left()))
        arrived = time()
        there = [
            stamp.seconds + stamp.nanos / 1e9 for stamp in (answer.clock.received_time, answer.clock.answered_time)
        ]
        offset = ((there[0] - sent) + (there[1] - arrived)) / 2
        return Described(endpoint.name, answer, "", offset, ((arrived - sent) - (there[1] - there[0])) / 2)
