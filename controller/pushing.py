"""Gives agents the denylist, and says which have it."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from controller import telling
from controller.calling import Bounds
from controller.endings import State
from controller.fan_out import Interrupted
from controller.inventory.connection import Endpoint
from controller.telling import Told
from controller.transport import mtls
from fleetmedic.v1.agent_pb2 import SetDenylistRequest, SetDenylistResponse


@dataclass(frozen=True, slots=True)
class Pushed:
    """How it ended for a host, in a sentence; CHANGED where it has the denylist now."""

    host: str
    state: State
    said: str


async def push(
    endpoints: Sequence[Endpoint],
    denylist: bytes,
    number: int,
    identity: mtls.Identity,
    bounds: Bounds,
    interrupted: Interrupted | None = None,
) -> list[Pushed]:
    """In the order given. `denylist` is a CRL in PEM with that number, `identity` a responder's or an admin's."""
    request = SetDenylistRequest(signed_list=denylist).SerializeToString()
    told = await telling.tell(
        mtls.SET_DENYLIST, dict.fromkeys(endpoints, request), SetDenylistResponse, identity, bounds, interrupted
    )
    return [_pushed(item, number) for item in told]


def _pushed(told: Told[SetDenylistResponse], number: int) -> Pushed:
    if told.answer is None:
        if told.code == grpc.StatusCode.FAILED_PRECONDITION:
            return Pushed(told.host, State.FAILED, f"it has a newer denylist than ours, or another: {told.cause}")
        return Pushed(told.host, told.state, told.cause)
    has = told.answer.standing.denylist_sequence
    if has > number:
        return Pushed(told.host, State.FAILED, f"it has denylist {has}, which is newer than ours, {number}")
    if has < number:
        return Pushed(told.host, State.FAILED, f"it took denylist {number}, and still goes by {has}")
    return Pushed(told.host, State.CHANGED, f"it has denylist {number}")
