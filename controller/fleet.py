"""Asks many agents to check their hosts: a report for each, exactly one, and no host delays another."""

from collections.abc import AsyncIterator, Mapping
from time import time

import grpc
import grpc.aio

from controller.calling import Bounds, Calls, Line, raise_descriptor_limit
from controller.endings import State
from controller.fan_out import Ending, Interrupted, fan_out
from controller.host_report import HostReport, judged
from controller.inventory.connection import Endpoint
from controller.transport import mtls
from controller.transport.answers import Intake
from fleetmedic.v1.agent_pb2 import CheckResponse

# Of one answer: an agent sends two. A hostile one must not fill our memory until the deadline.
MOST_MESSAGES = 8


async def check(
    asked: Mapping[Endpoint, bytes],
    identity: mtls.Identity,
    bounds: Bounds,
    interrupted: Interrupted | None = None,
) -> AsyncIterator[HostReport]:
    """Reports in the order of their completion. `asked` maps each host to its serialized CheckRequest.

    A host that answers after its own deadline comes once more, with `late`, in place of its first report.
    """
    calls = Calls(identity, bounds, raise_descriptor_limit(2 * len(asked)))
    exchanges = {endpoint: Seen(request) for endpoint, request in asked.items()}
    async for ending in fan_out(calls, exchanges, interrupted):
        yield _report(ending)


def _report(ending: "Ending[Seen]") -> HostReport:
    seen = ending.exchange
    return HostReport(
        ending.host,
        ending.state,
        ending.cause,
        ending.seconds,
        seen.answer,
        seen.clock_offset,
        seen.messages,
        ending.refused,
        ending.late,
    )


class Seen:
    """A check of one host: what is asked, and what the call has shown so far."""

    def __init__(self, request: bytes) -> None:
        self.connected = False
        self.messages = 0
        self.clock_offset: float | None = None
        self.answer = CheckResponse()
        self._request = request
        self._intake = Intake()
        self._closed = False
        self._whole = False

    async def speak(self, calls: Calls, line: Line) -> None:
        # Parsed here: what grpc can't parse it gives as None, with a stack trace in the log.
        method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = line.channel.unary_stream(
            mtls.CHECK, request_serializer=None, response_deserializer=None
        )
        call = method(self._request, timeout=calls.left())
        await calls.set_up(call, line)
        self.connected = True
        accepted = time()
        taken = 0
        async for received in call:
            self.take(received, accepted)
            taken += 1
            if self._whole:
                break
            if taken >= MOST_MESSAGES:
                call.cancel()
                break

    def close(self) -> None:
        self._closed = True

    def verdict(self) -> tuple[State, str]:
        if not self._whole:
            return State.FAILED, "the agent broke its answer off"
        return judged(self.answer.findings), ""

    def whole(self) -> bool:
        return self._whole

    def take(self, received: bytes, accepted: float) -> None:
        """`accepted`: when the agent's acceptance arrived here, which it sent right after it stamped the request."""
        message = self._intake.read(CheckResponse, received)
        self._intake.admit(message)
        self._whole = message.last
        if self._closed:
            return
        self.messages += 1
        if self.clock_offset is None and message.HasField("clock"):
            stamp = message.clock.received_time
            self.clock_offset = stamp.seconds + stamp.nanos / 1e9 - accepted
        if self.messages == 1:
            self.answer = message
        else:
            self.answer.MergeFrom(message)
