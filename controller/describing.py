"""Asks many agents who they are: versions, clocks and checks; one answer or cause for each host."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import time

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from controller.calling import Bounds, Calls, Line, LocalTrouble, Unreachable, raise_descriptor_limit
from controller.causes import NO_ANSWER, rpc_cause
from controller.inventory.connection import Endpoint
from controller.transport import mtls
from controller.transport.answers import Intake, TooMuch
from fleetmedic.v1.agent_pb2 import DescribeRequest, DescribeResponse


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
    calls = Calls(identity, bounds, raise_descriptor_limit(2 * len(endpoints)))
    return list(await asyncio.gather(*(_describe(calls, endpoint) for endpoint in endpoints)))


async def _describe(calls: Calls, endpoint: Endpoint) -> Described:
    try:
        async with calls.channel(endpoint) as line:
            return await _ask(calls, line)
    except (Unreachable, LocalTrouble, TooMuch) as error:
        return Described(endpoint.name, None, str(error))
    except DecodeError:
        return Described(endpoint.name, None, NO_ANSWER)
    except grpc.aio.AioRpcError as error:
        return Described(endpoint.name, None, rpc_cause(error, endpoint, calls.deadline, connected=False)[1])


async def _ask(calls: Calls, line: Line) -> Described:
    method: grpc.aio.UnaryUnaryMultiCallable[DescribeRequest, bytes] = line.channel.unary_unary(
        mtls.DESCRIBE, request_serializer=DescribeRequest.SerializeToString, response_deserializer=None
    )
    first = method(DescribeRequest(), timeout=calls.left())
    await calls.set_up(first, line)
    await first
    sent = time()
    received = await method(DescribeRequest(), timeout=calls.left())
    arrived = time()
    answer = Intake().read(DescribeResponse, received)
    there = [stamp.seconds + stamp.nanos / 1e9 for stamp in (answer.clock.received_time, answer.clock.answered_time)]
    offset = ((there[0] - sent) + (there[1] - arrived)) / 2
    return Described(line.endpoint.name, answer, "", offset, ((arrived - sent) - (there[1] - there[0])) / 2)
