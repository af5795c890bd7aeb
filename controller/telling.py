"""Makes one unary call to many agents, or two in a row where the second is made of the first's reply.

Each host gets exactly one ending, with its state and a cause where the answer is none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import time
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

M = TypeVar("M", bound=Message)
# The request of the second call, serialized, from the host's name and its first reply. Unfit where there is none.
Following = Callable[[str, M], bytes]


class Unfit(Exception):
    """A first reply that nothing can follow: the host failed, and the message is the cause."""


@dataclass(frozen=True, slots=True)
class Told(Generic[M]):
    """What a host answered, the last call's reply, or why it did not. `seconds` since all this began.

    `sent` and `arrived` are our clock's (Unix, seconds) at the last call's request and its reply; 0 without an answer.
    `late` as in a HostReport: seconds past the host's own deadline, in a second telling of the same host.
    """

    host: str
    answer: M | None
    cause: str
    state: State = State.OK
    seconds: float = 0.0
    sent: float = 0.0
    arrived: float = 0.0
    late: float | None = None
    # What gRPC called it, where a call ended with an error.
    code: grpc.StatusCode | None = None


async def tell(
    path: str,
    asked: Mapping[Endpoint, bytes],
    kind: type[M],
    identity: mtls.Identity,
    bounds: Bounds,
    interrupted: Interrupted | None = None,
    watch: Callable[[Told[M]], None] | None = None,
    following: Following[M] | None = None,
) -> list[Told[M]]:
    """In the order given; `watch` sees each as it comes in, and once more where it comes late.

    `path` is the method's, as in controller/transport/mtls.py; `asked` maps each host to its serialized request; `kind`
    is the reply's message. With `following` each host is called once more, on the same channel.
    """
    calls = Calls(identity, bounds, raise_descriptor_limit(2 * len(asked)))
    exchanges = {endpoint: _Talk(path, request, kind, following) for endpoint, request in asked.items()}
    made: dict[str, Told[M]] = {}
    async for ending in fan_out(calls, exchanges, interrupted):
        made[ending.host] = item = _told(ending)
        if watch is not None:
            watch(item)
    return [made[endpoint.name] for endpoint in asked]


def _told(ending: "Ending[_Talk[M]]") -> Told[M]:
    talk = ending.exchange
    if ending.state != State.OK:
        return Told(ending.host, None, ending.cause, ending.state, ending.seconds, late=ending.late, code=ending.code)
    return Told(
        ending.host, talk.answer, ending.cause, ending.state, ending.seconds, talk.sent, talk.arrived, ending.late
    )


class _Talk(Generic[M]):
    """The call or calls to one host, and the last one's reply."""

    def __init__(self, path: str, request: bytes, kind: type[M], following: Following[M] | None) -> None:
        self.connected = False
        self.answer: M | None = None
        self.sent = self.arrived = 0.0
        self._path = path
        self._request = request
        self._kind = kind
        self._following = following
        self._intake = Intake()
        self._unfit = ""

    async def speak(self, calls: Calls, line: Line) -> None:
        # Parsed here: what grpc can't parse it gives as None, with a stack trace in the log.
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = line.channel.unary_unary(
            self._path, request_serializer=None, response_deserializer=None
        )
        sent = time()
        first = method(self._request, timeout=calls.left())
        await calls.set_up(first, line)
        self.connected = True
        received = await first
        arrived = time()
        reply = self._intake.read(self._kind, received)
        if self._following is not None:
            try:
                request = self._following(line.endpoint.name, reply)
            except Unfit as error:
                self._unfit = str(error)
                return
            sent = time()
            received = await method(request, timeout=calls.left())
            arrived = time()
            reply = self._intake.read(self._kind, received)
        self.answer, self.sent, self.arrived = reply, sent, arrived

    def close(self) -> None:
        """Nothing to do: an answer that comes later is not read by anybody."""

    def verdict(self) -> tuple[State, str]:
        return (State.FAILED, self._unfit) if self._unfit else (State.OK, "")

    def whole(self) -> bool:
        return self.answer is not None
