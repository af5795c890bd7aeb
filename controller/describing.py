"""Asks many agents who they are: versions, clocks and checks; one answer or cause for each host."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from controller import telling
from controller.calling import Bounds
from controller.endings import State
from controller.fan_out import Interrupted
from controller.inventory.connection import AGENTLESS, Endpoint
from controller.telling import Told
from controller.transport import mtls
from fleetmedic.v1.agent_pb2 import DescribeRequest, DescribeResponse, Standing

if TYPE_CHECKING:
    from grpc import StatusCode

REQUEST = DescribeRequest().SerializeToString()


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
    # What gRPC called it, where a call ended with an error.
    code: "StatusCode | None" = None


def standings(items: Iterable[Described]) -> Iterator[tuple[str, Standing]]:
    """How the agents stand that said so."""
    for item in items:
        if item.answer is not None and item.answer.HasField("standing"):
            yield item.host, item.answer.standing


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

    def seen(told: Told[DescribeResponse]) -> None:
        if watch is not None:
            watch(described(told))

    asked = dict.fromkeys(endpoints, REQUEST)
    made = await telling.tell(
        mtls.DESCRIBE, asked, DescribeResponse, identity, bounds, interrupted, seen, lambda *_: REQUEST
    )
    return [described(item) for item in made]


def described(told: Told[DescribeResponse]) -> Described:
    """With the clock as it follows from the stamps of the last call and its reply."""
    answer = told.answer
    if answer is None:
        return Described(told.host, None, told.cause, state=told.state, late=told.late, code=told.code)
    there = [stamp.seconds + stamp.nanos / 1e9 for stamp in (answer.clock.received_time, answer.clock.answered_time)]
    round_trip = told.arrived - told.sent
    offset = ((there[0] - told.sent) + (there[1] - told.arrived)) / 2
    error = (round_trip - (there[1] - there[0])) / 2
    return Described(told.host, answer, told.cause, offset, error, told.state, round_trip, told.late)
