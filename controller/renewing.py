"""Gives agents new certificates over the connections that their old ones secure.

Who is there and until when, then two calls on one channel (it asks for a certificate, and is given it), and then a new
connection: what that is served alone says whether the new one is in place.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from controller import describing, telling
from controller.calling import Bounds
from controller.causes import UNTRUSTED
from controller.describing import Described
from controller.doctor.standing import ending, past_half
from controller.endings import State
from controller.fan_out import Interrupted
from controller.inventory.connection import Endpoint
from controller.telling import Unfit
from controller.transport import mtls
from controller.trust import parsing
from controller.trust.files import TrustError
from fleetmedic.v1.agent_pb2 import RenewRequest, RenewResponse

# Signs what a host asks for: its name and its request in PEM, to a certificate in PEM. TrustError where it can't.
Sign = Callable[[str, bytes], bytes]
FIRST = RenewRequest().SerializeToString()


@dataclass(frozen=True, slots=True)
class Renewed:
    """How it ended for a host, in a sentence; OK where nothing was due, CHANGED where a new certificate is served."""

    host: str
    state: State
    said: str


@dataclass(frozen=True, slots=True)
class Renewing:
    """`identity` is an admin's; `force` renews what is not due; `stopped` says whether nothing more is to begin."""

    identity: mtls.Identity
    bounds: Bounds
    sign: Sign
    now: datetime
    force: bool = False
    interrupted: Interrupted | None = None
    stopped: Callable[[], bool] = lambda: False


async def renew(endpoints: Sequence[Endpoint], how: Renewing) -> list[Renewed]:
    """In the order given. Each of the three rounds has the deadline of its own that the bounds give."""
    said = await describing.describe(endpoints, how.identity, how.bounds, how.interrupted)
    before = {item.host: item for item in said}
    made = {item.host: found for item in said if (found := _undue(item, how)) is not None}
    due = [endpoint for endpoint in endpoints if endpoint.name not in made]
    if how.stopped():
        made |= {
            endpoint.name: Renewed(endpoint.name, State.CANCELLED, "interrupted before it began") for endpoint in due
        }
    elif due:
        made |= await _given(due, before, how)
    return [made[endpoint.name] for endpoint in endpoints]


def _undue(said: Described, how: Renewing) -> Renewed | None:
    """Hosts that are not to be renewed, or can't be."""
    if said.answer is None:
        ended = "; one that has ended can't be renewed: install the agent anew" if said.cause == UNTRUSTED else ""
        return Renewed(said.host, said.state, f"{said.cause}{ended}")
    ends = ending(said.answer)
    if ends is None:
        return Renewed(said.host, State.FAILED, "does not say when its certificate ends: an agent of another version")
    if how.force or past_half(ends, how.now):
        return None
    left = (ends - how.now).days
    return Renewed(said.host, State.OK, f"its certificate holds until {ends:%Y-%m-%d}, for {left} days")


async def _given(due: Sequence[Endpoint], before: Mapping[str, Described], how: Renewing) -> dict[str, Renewed]:
    signed: dict[str, datetime] = {}

    def following(host: str, reply: RenewResponse) -> bytes:
        try:
            chain = how.sign(host, reply.certificate_request)
        except TrustError as error:
            raise Unfit(f"what it asked for can't be signed: {error}") from error
        signed[host] = parsing.pem(chain).not_valid_after_utc
        return RenewRequest(certificate_chain=chain).SerializeToString()

    told = await telling.tell(
        mtls.RENEW,
        dict.fromkeys(due, FIRST),
        RenewResponse,
        how.identity,
        how.bounds,
        how.interrupted,
        following=following,
    )
    # Those whose last word was lost too: they may have it.
    again = [endpoint for endpoint in due if endpoint.name in signed]
    after = {item.host: item for item in await describing.describe(again, how.identity, how.bounds, how.interrupted)}
    made = {}
    for item in told:
        if item.host not in after:
            made[item.host] = Renewed(item.host, item.state, item.cause)
        else:
            made[item.host] = _shown(before[item.host], after[item.host], signed[item.host], item.cause)
    return made


def _shown(before: Described, after: Described, signed: datetime, cause: str) -> Renewed:
    """By what a new connection is served."""
    host = after.host
    old = ending(before.answer) if before.answer else None
    until = "?" if old is None else f"{old:%Y-%m-%d}"
    if after.answer is None:
        why = f"it was given a new certificate, and gives no answer since: {after.cause}"
        return Renewed(host, State.FAILED if after.state == State.FAILED else after.state, why)
    ends = ending(after.answer)
    if ends == signed:
        return Renewed(
            host, State.CHANGED, f"its new certificate holds until {ends:%Y-%m-%d}; the old one, until {until}, is gone"
        )
    why = cause or "it took the new certificate"
    return Renewed(host, State.FAILED, f"{why}; a new connection is still served the one until {until}")
