"""Reads the audit logs of many agents at once; of each no more than a log can hold, and nothing is kept here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import grpc
import grpc.aio

from controller.calling import Bounds, Calls, Line, raise_descriptor_limit
from controller.endings import State
from controller.fan_out import Ending, Interrupted, fan_out
from controller.inventory.connection import Endpoint
from controller.transport import mtls
from controller.transport.answers import Intake, TooMuch
from fleetmedic.v1.agent_pb2 import AuditRequest, AuditResponse, DescribeRequest, DescribeResponse, Standing

# An agent keeps eight files of 8 MiB; a file may end some records later.
MOST_BYTES = 80 * 1024 * 1024
MOST_RECORDS = 1_000_000
# A record is a few hundred bytes, and a line of the log is read in pieces of this size.
LARGEST_RECORD = 66 * 1024
NO_LOG = "this agent keeps no audit log: it is of an older version"
# Called with each record as it comes.
Take = Callable[[AuditResponse], None]


@dataclass(frozen=True, slots=True)
class Read:
    """How reading one host's log ended; `standing` is the agent's own word of it, from before it was read."""

    host: str
    state: State
    cause: str
    standing: Standing
    records: int


async def read(
    asked: Mapping[Endpoint, Take],
    newest: int | None,
    identity: mtls.Identity,
    bounds: Bounds,
    interrupted: Interrupted | None = None,
    watch: Callable[[Read], None] | None = None,
) -> list[Read]:
    """In the order given. The newest so many records of each host, all of them where None, go to its `Take`."""
    calls = Calls(identity, bounds, raise_descriptor_limit(2 * len(asked)))
    exchanges = {endpoint: _Log(take, newest) for endpoint, take in asked.items()}
    made: dict[str, Read] = {}
    async for ending in fan_out(calls, exchanges, interrupted):
        made[ending.host] = item = _read(ending)
        if watch is not None:
            watch(item)
    return [made[endpoint.name] for endpoint in asked]


def _read(ending: "Ending[_Log]") -> Read:
    log = ending.exchange
    return Read(ending.host, ending.state, ending.cause, log.standing, log.records)


class _Log:
    """One host's log: who is there, and then its records, on one channel."""

    def __init__(self, take: Take, newest: int | None) -> None:
        self.connected = False
        self.standing = Standing()
        self.records = 0
        self._bytes = 0
        self._take: Take | None = take
        self._newest = newest
        self._unfit = ""
        self._whole = False

    async def speak(self, calls: Calls, line: Line) -> None:
        describe: grpc.aio.UnaryUnaryMultiCallable[DescribeRequest, bytes] = line.channel.unary_unary(
            mtls.DESCRIBE, request_serializer=DescribeRequest.SerializeToString, response_deserializer=None
        )
        first = describe(DescribeRequest(), timeout=calls.left())
        await calls.set_up(first, line)
        self.connected = True
        described = Intake().read(DescribeResponse, await first)
        self.standing = described.standing
        if "Audit" not in described.methods:
            self._unfit = NO_LOG
            return
        after = 0 if self._newest is None else max(0, self.standing.audit_sequence - self._newest)
        method: grpc.aio.UnaryStreamMultiCallable[AuditRequest, bytes] = line.channel.unary_stream(
            mtls.AUDIT, request_serializer=AuditRequest.SerializeToString, response_deserializer=None
        )
        call = method(AuditRequest(after_sequence=min(after, (1 << 64) - 1)), timeout=calls.left())
        try:
            async for received in call:
                self._admit(received)
        finally:
            call.cancel()
        self._whole = True

    def _admit(self, received: bytes) -> None:
        self.records += 1
        self._bytes += len(received)
        if len(received) > LARGEST_RECORD:
            raise TooMuch(f"sent a record of {len(received)} bytes, which no log has: not read to its end")
        if self.records > MOST_RECORDS or self._bytes > MOST_BYTES:
            raise TooMuch(f"sent more than {MOST_BYTES >> 20} MiB of records, which no log has: not read to its end")
        if self._take is not None:
            self._take(AuditResponse.FromString(received))

    def close(self) -> None:
        self._take = None

    def verdict(self) -> tuple[State, str]:
        return (State.FAILED, self._unfit) if self._unfit else (State.OK, "")

    def whole(self) -> bool:
        return self._whole
