"""Applies plans on many hosts at once and follows each operation to its end, through connections that break.

An operation has its id before it is asked for. What is lost is asked again under the same id, which an agent carries
out once; its steps are taken up after the last one that came.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import grpc
import grpc.aio

from controller.calling import Bounds, Calls, Line, raise_descriptor_limit
from controller.change import talking
from controller.endings import State
from controller.fan_out import Ending, Interrupted, fan_out
from controller.inventory.connection import Endpoint
from controller.transport import mtls
from controller.transport.answers import Intake, TooMuch
from fleetmedic.v1.action_pb2 import (
    OPERATION_STATE_DONE,
    OPERATION_STATE_FAILED,
    OPERATION_STATE_INTERRUPTED,
    OPERATION_STATE_RUNNING,
    Operation,
)
from fleetmedic.v1.agent_pb2 import ApplyRequest, ApplyResponse, WatchRequest, WatchResponse

# After these the same is asked again, while there is time.
PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    }
)
PAUSES = (0.1, 0.3, 1.0, 2.0)
MOST_STEPS = 10_000
TELLS = "`fleetmedic mitigate operations` tells its end"
ENDS = {
    OPERATION_STATE_DONE: State.CHANGED,
    OPERATION_STATE_FAILED: State.FAILED,
    OPERATION_STATE_INTERRUPTED: State.FAILED,
}
# A host and what it says it does.
Told = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Order:
    """One plan of one host, to be applied under an id of ours."""

    operation_id: str
    plan_id: str
    digest: bytes
    reason: str

    def request(self) -> bytes:
        made = ApplyRequest(
            operation_id=self.operation_id, plan_id=self.plan_id, digest=self.digest, reason=self.reason
        )
        return made.SerializeToString()


@dataclass(frozen=True, slots=True)
class Applied:
    """How it ended on one host; `operation` where the agent has told its end."""

    host: str
    state: State
    said: str
    operation: Operation | None = None
    refused: bool = False
    # Whether the host may have been changed, for all that is known.
    sent: bool = False


async def apply(
    orders: Mapping[Endpoint, Order],
    identity: mtls.Identity,
    bounds: Bounds,
    interrupted: Interrupted | None,
    step: Told,
) -> AsyncIterator[Applied]:
    """As they end, exactly one for each host."""
    calls = Calls(identity, bounds, raise_descriptor_limit(2 * len(orders)))
    exchanges = {endpoint: _Work(endpoint.name, order, step) for endpoint, order in orders.items()}
    async for ending in fan_out(calls, exchanges, interrupted):
        if ending.late is None:
            yield _applied(ending)


def _applied(ending: "Ending[_Work]") -> Applied:
    work = ending.exchange
    if work.refusal:
        return Applied(ending.host, State.FAILED, work.refusal, refused=True)
    if not work.sent or ending.state in (State.CHANGED, State.CANCELLED):
        return Applied(ending.host, ending.state, ending.cause, work.operation, sent=work.sent)
    if work.operation is not None:
        state = ENDS.get(work.operation.state, State.UNKNOWN)
        return Applied(ending.host, state, work.operation.result, work.operation, sent=True)
    late = work.begun and ending.state in (State.TIMEOUT, State.NOT_ATTEMPTED)
    what = "begun, and not heard of to its end" if work.begun else "sent, and may have been begun"
    cause = f"{what}: {ending.cause}; {TELLS}"
    return Applied(ending.host, State.TIMEOUT if late else State.UNKNOWN, cause, sent=True)


class _Work:
    """One operation on one host: begun once, followed to its end."""

    def __init__(self, host: str, order: Order, step: Told) -> None:
        self.connected = False
        self.sent = False
        self.begun = False
        self.refusal = ""
        self.operation: Operation | None = None
        self._host = host
        self._order = order
        self._step: Told | None = step
        self._after = 0
        self._steps = 0
        self._intake = Intake()
        self._unfit = ""

    async def speak(self, calls: Calls, line: Line) -> None:
        self._unfit = await talking.introduced(calls, line, mtls.APPLY)
        self.connected = True
        failed = 0
        while not self._unfit and self.operation is None:
            before = self._after
            try:
                if not self.begun:
                    await self._begin(calls, line)
                await self._follow(calls, line)
            except grpc.aio.AioRpcError as error:
                if error.code() not in PASSING:
                    raise
                failed = 1 if self._after > before else failed + 1
                if failed > len(PAUSES) and error.code() != grpc.StatusCode.DEADLINE_EXCEEDED:
                    # Then the call's own time is what is waited for: an agent may be restarting.
                    failed = len(PAUSES)
            if self.operation is None:
                await asyncio.sleep(PAUSES[max(0, failed - 1)])

    async def _begin(self, calls: Calls, line: Line) -> None:
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = line.channel.unary_unary(
            mtls.APPLY, request_serializer=None, response_deserializer=None
        )
        left = calls.left()
        first, self.sent = not self.sent, True
        try:
            received = await method(self._order.request(), timeout=left)
        except grpc.aio.AioRpcError as error:
            # After a try that was lost a refusal may be of this one alone: the other may have been carried out.
            if first and error.code() in talking.REFUSALS:
                self.refusal = error.details() or "refused without a reason"
            raise
        self._admit(self._intake.read(ApplyResponse, received).operation)
        self.begun = True

    async def _follow(self, calls: Calls, line: Line) -> None:
        method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = line.channel.unary_stream(
            mtls.WATCH, request_serializer=None, response_deserializer=None
        )
        asked = WatchRequest(operation_id=self._order.operation_id, after_sequence=self._after)
        call = method(asked.SerializeToString(), timeout=calls.left())
        try:
            async for received in call:
                message = self._intake.read(WatchResponse, received)
                self._tell(message)
                if message.last:
                    self._admit(message.operation)
                    if message.operation.state == OPERATION_STATE_RUNNING:
                        raise TooMuch("said that its last word was spoken, and that it still runs")
                    self.operation = message.operation
                    return
        finally:
            call.cancel()

    def _admit(self, operation: Operation) -> None:
        if operation.operation_id != self._order.operation_id or operation.plan.digest != self._order.digest:
            raise TooMuch("answered of another operation than was asked")

    def _tell(self, message: WatchResponse) -> None:
        for step in message.steps:
            self._steps += 1
            if self._steps > MOST_STEPS:
                raise TooMuch(f"told more than {MOST_STEPS} steps, which no operation has")
            if step.sequence > self._after:
                self._after = step.sequence
                if self._step is not None:
                    self._step(self._host, step.text)

    def close(self) -> None:
        self._step = None

    def verdict(self) -> tuple[State, str]:
        if self.operation is None:
            return State.FAILED, self._unfit
        return ENDS.get(self.operation.state, State.UNKNOWN), self.operation.result

    def whole(self) -> bool:
        return self.operation is not None
