"""Asks many agents at once: a report for each host, exactly one, and no host delays another."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from time import time

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from controller.calling import Bounds, Calls, Line, LocalTrouble, Unreachable, raise_descriptor_limit
from controller.causes import NO_ANSWER, rpc_cause
from controller.host_report import HostReport, State, judged
from controller.inventory.connection import Endpoint
from controller.transport import mtls
from controller.transport.answers import Intake, TooMuch
from fleetmedic.v1.agent_pb2 import CheckResponse

# Of one answer: an agent sends two. A hostile one must not fill our memory until the deadline.
MOST_MESSAGES = 8


async def check(asked: Mapping[Endpoint, bytes], identity: mtls.Identity, bounds: Bounds) -> AsyncIterator[HostReport]:
    """Reports in the order of their completion. `asked` maps each host to its serialized CheckRequest."""
    calls = Calls(identity, bounds, raise_descriptor_limit(2 * len(asked)))
    tasks = [asyncio.create_task(_check(calls, endpoint, request)) for endpoint, request in asked.items()]
    try:
        for done in asyncio.as_completed(tasks):
            yield await done
    finally:
        for task in tasks:
            task.cancel()


async def _check(calls: Calls, endpoint: Endpoint, request: bytes) -> HostReport:
    """The one report of a host, whatever happens to it."""
    seen = Seen()

    def report(state: State, cause: str) -> HostReport:
        return HostReport(endpoint.name, state, cause, calls.passed(), seen.answer, seen.clock_offset, seen.messages)

    try:
        async with calls.channel(endpoint) as line:
            await _exchange(calls, line, request, seen)
    except Unreachable as error:
        return report(State.UNREACHABLE, str(error))
    except LocalTrouble as error:
        return report(State.NOT_ATTEMPTED, str(error))
    except TooMuch as error:
        return report(State.FAILED, str(error))
    except DecodeError:
        return report(State.FAILED, NO_ANSWER)
    except grpc.aio.AioRpcError as error:
        made = report(*rpc_cause(error, endpoint, calls.deadline, connected=seen.connected))
        return replace(made, refused=error.code() == grpc.StatusCode.INVALID_ARGUMENT)
    if not seen.answer.last:
        return report(State.FAILED, "the agent broke its answer off")
    return report(judged(seen.answer.findings), "")


async def _exchange(calls: Calls, line: Line, request: bytes, seen: "Seen") -> None:
    # Parsed here: what grpc can't parse it gives as None, with a stack trace in the log.
    method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = line.channel.unary_stream(
        mtls.CHECK, request_serializer=None, response_deserializer=None
    )
    call = method(request, timeout=calls.left())
    await calls.set_up(call, line)
    seen.connected = True
    accepted = time()
    async for received in call:
        seen.take(received, accepted)
        if seen.answer.last:
            break
        if seen.messages >= MOST_MESSAGES:
            call.cancel()
            break


class Seen:
    """What a call showed besides its findings."""

    def __init__(self) -> None:
        self.connected = False
        self.messages = 0
        self.clock_offset: float | None = None
        self.answer = CheckResponse()
        self._intake = Intake()

    def take(self, received: bytes, accepted: float) -> None:
        """`accepted`: when the agent's acceptance arrived here, which it sent right after it stamped the request."""
        message = self._intake.read(CheckResponse, received)
        self._intake.admit(message)
        self.messages += 1
        if self.clock_offset is None and message.HasField("clock"):
            stamp = message.clock.received_time
            self.clock_offset = stamp.seconds + stamp.nanos / 1e9 - accepted
        if self.messages == 1:
            self.answer = message
        else:
            self.answer.MergeFrom(message)
