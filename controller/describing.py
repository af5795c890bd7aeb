"""Asks many agents who they are: versions, clocks and checks; one answer or cause for each host."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import time

import grpc
import grpc.aio

from controller.calling import Bounds, Calls, Line, raise_descriptor_limit
from controller.endings import State
from controller.fan_out import Ending, Interrupted, fan_out
from controller.inventory.connection import AGENTLESS, Endpoint
from controller.transport import mtls
from controller.transport.answers import Intake
from fleetmedic.v1.agent_pb2 import DescribeRequest, DescribeResponse


@dataclass(frozen=True, slots=True)
class Described:
    """What a host says of itself, or why it does not; `clock_offset` in seconds, its error at most `clock_error`.

    `round_trip`: seconds of one question and its answer on a line that is set up. `late` as in a HostReport.
    """

    host: str
    answer: DescribeResponse | None
    cause: str
    clock_offset: float = 0.0
    clock_error: float = 0.0
    state: State = State.OK
    round_trip: float = 0.0
    late: float | None = None


def without_agent(host: str) -> Described:
    """A host that is not asked."""
    return Described(host, None, AGENTLESS, state=State.SKIPPED)


async def describe(
    endpoints: Sequence[Endpoint],
    identity: mtls.Identity,
    bounds: Bounds,
    interrupted: Interrupted | None = None,
    watch: Callable[[Described], None] | None = None,
) -> list[Described]:
    """In the order given; `watch` sees each as it comes in, and once more where it comes late.

    Each host is asked twice on one channel: the second call tells the time without a set-up.
    """
    calls = Calls(identity, bounds, raise_descriptor_limit(2 * len(endpoints)))
    exchanges = {endpoint: _Description() for endpoint in endpoints}
    made: dict[str, Described] = {}
    async for ending in fan_out(calls, exchanges, interrupted):
        made[ending.host] = item = _described(ending)
        if watch is not None:
            watch(item)
    return [made[endpoint.name] for endpoint in endpoints]


def _described(ending: "Ending[_Description]") -> Described:
    said = ending.exchange
    answer = said.answer if ending.state == State.OK else None
    offset, error = said.clock if answer is not None else (0.0, 0.0)
    return Described(ending.host, answer, ending.cause, offset, error, ending.state, said.round_trip, ending.late)


class _Description:
    """The two questions to one host, and the answer to the second."""

    def __init__(self) -> None:
        self.connected = False
        self.answer: DescribeResponse | None = None
        self.clock = (0.0, 0.0)
        self.round_trip = 0.0

    async def speak(self, calls: Calls, line: Line) -> None:
        method: grpc.aio.UnaryUnaryMultiCallable[DescribeRequest, bytes] = line.channel.unary_unary(
            mtls.DESCRIBE, request_serializer=DescribeRequest.SerializeToString, response_deserializer=None
        )
        first = method(DescribeRequest(), timeout=calls.left())
        await calls.set_up(first, line)
        self.connected = True
        await first
        sent = time()
        received = await method(DescribeRequest(), timeout=calls.left())
        arrived = time()
        answer = Intake().read(DescribeResponse, received)
        there = [
            stamp.seconds + stamp.nanos / 1e9 for stamp in (answer.clock.received_time, answer.clock.answered_time)
        ]
        self.round_trip = arrived - sent
        self.clock = ((there[0] - sent) + (there[1] - arrived)) / 2, (self.round_trip - (there[1] - there[0])) / 2
        self.answer = answer

    def close(self) -> None:
        """Nothing to do: an answer that comes later is not read by anybody."""

    def verdict(self) -> tuple[State, str]:
        return State.OK, ""

    def whole(self) -> bool:
        return self.answer is not None
