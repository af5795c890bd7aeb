"""One question about plans or operations to many agents, each of which is first seen to be there and to know it.

Agents take long to plan; that a connection stands is therefore learnt from a call that is answered at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from controller.calling import Bounds, Calls, Line, raise_descriptor_limit
from controller.endings import State
from controller.fan_out import Ending, Interrupted, fan_out
from controller.inventory.connection import Endpoint
from controller.transport import mtls
from controller.transport.answers import Intake
from fleetmedic.v1.agent_pb2 import DescribeRequest, DescribeResponse

M = TypeVar("M", bound=Message)
# Said of the request itself, before anything is changed; whatever else goes wrong leaves that open.
REFUSALS = frozenset(
    {
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


@dataclass(frozen=True, slots=True)
class Answer(Generic[M]):
    """What a host answered, or why it did not; `refused` where it would not."""

    host: str
    answer: M | None
    state: State
    cause: str
    refused: bool = False


async def ask(
    path: str,
    asked: Mapping[Endpoint, bytes],
    kind: type[M],
    identity: mtls.Identity,
    bounds: Bounds,
    interrupted: Interrupted | None = None,
) -> list[Answer[M]]:
    """In the order given; `asked` maps each host to its serialized request."""
    calls = Calls(identity, bounds, raise_descriptor_limit(2 * len(asked)))
    exchanges = {endpoint: _Question(path, request, kind) for endpoint, request in asked.items()}
    made: dict[str, Answer[M]] = {}
    async for ending in fan_out(calls, exchanges, interrupted):
        if ending.late is None:
            made[ending.host] = _answer(ending)
    return [made[endpoint.name] for endpoint in asked]


def _answer(ending: "Ending[_Question[M]]") -> Answer[M]:
    refused = ending.code in REFUSALS
    cause = said(ending.cause, ending.code)
    return Answer(
        ending.host, ending.exchange.answer if ending.state == State.OK else None, ending.state, cause, refused
    )


def said(cause: str, code: grpc.StatusCode | None) -> str:
    """The agent's own words, where it refused."""
    return cause.removeprefix(f"{code.name.lower().replace('_', ' ')}: ") if code is not None else cause


async def introduced(calls: Calls, line: Line, path: str) -> str:
    """Until the agent answers; why it can't be asked for that method, "" where it can."""
    describe: grpc.aio.UnaryUnaryMultiCallable[DescribeRequest, bytes] = line.channel.unary_unary(
        mtls.DESCRIBE, request_serializer=DescribeRequest.SerializeToString, response_deserializer=None
    )
    call = describe(DescribeRequest(), timeout=calls.left())
    await calls.set_up(call, line)
    described = Intake().read(DescribeResponse, await call)
    method = path.rpartition("/")[2]
    return "" if method in described.methods else f"its agent knows no {method}: it is of an older version"


class _Question(Generic[M]):
    """The call to one host."""

    def __init__(self, path: str, request: bytes, kind: type[M]) -> None:
        self.connected = False
        self.answer: M | None = None
        self._path = path
        self._request = request
        self._kind = kind
        self._unfit = ""

    async def speak(self, calls: Calls, line: Line) -> None:
        self._unfit = await introduced(calls, line, self._path)
        self.connected = True
        if self._unfit:
            return
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = line.channel.unary_unary(
            self._path, request_serializer=None, response_deserializer=None
        )
        self.answer = Intake().read(self._kind, await method(self._request, timeout=calls.left()))

    def close(self) -> None:
        """Nothing to do: an answer that comes later is not read by anybody."""

    def verdict(self) -> tuple[State, str]:
        return (State.FAILED, self._unfit) if self._unfit else (State.OK, "")

    def whole(self) -> bool:
        return self.answer is not None
