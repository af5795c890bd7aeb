"""Examines many hosts at once: each is reached step by step, and those that can be are asked who they are."""

import asyncio
from collections.abc import Sequence

from controller import describing, telling
from controller.calling import Bounds, raise_descriptor_limit
from controller.doctor import answering, reaching
from controller.doctor.ours import Ours
from controller.doctor.reaching import Reached, Utc
from controller.doctor.steps import Diagnosis
from controller.inventory.connection import Endpoint
from controller.transport import mtls
from fleetmedic.v1.agent_pb2 import DescribeResponse

# Connections that are tried at once: those that nobody answers cost nothing but their time.
TRIED_AT_ONCE = 256
# Seconds for the answer of one host: a worker that hangs costs three of them. And how many are surely asked a second.
ANSWER_PATIENCE = 4.0
ASKED_A_SECOND = 50


async def examine(endpoints: Sequence[Endpoint], ours: Ours, needed: str, forks: int, utc: Utc) -> list[Diagnosis]:
    """In the order given; `needed` is the role that the caller needs there. At most ten seconds for a host."""
    slots, tried = asyncio.Semaphore(forks), asyncio.Semaphore(TRIED_AT_ONCE)
    raise_descriptor_limit(2 * TRIED_AT_ONCE)

    async def one(endpoint: Endpoint) -> Reached:
        async with tried:
            return await reaching.reach(endpoint, ours, utc, slots)

    reached = await asyncio.gather(*map(one, endpoints))
    made = {item.diagnosis.host: item.diagnosis for item in reached}
    whole = zip(endpoints, reached, strict=True)
    asked = [
        Endpoint(endpoint.name, item.address, endpoint.port) for endpoint, item in whole if item.diagnosis.fault is None
    ]
    bounds = Bounds(forks, ANSWER_PATIENCE, ANSWER_PATIENCE + len(asked) / ASKED_A_SECOND, ANSWER_PATIENCE)
    told = await telling.tell(
        mtls.DESCRIBE, dict.fromkeys(asked, describing.REQUEST), DescribeResponse, ours.identity, bounds
    )
    for endpoint, item in zip(asked, told, strict=True):
        said = describing.described(item)
        made[endpoint.name] = answering.judged(made[endpoint.name], said, endpoint, ours, needed)
    return [made[endpoint.name] for endpoint in endpoints]
