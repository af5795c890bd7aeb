"""One call to many agents: one ending for each host, and a second call that is made of the first one's reply."""

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Iterator, Sequence

import grpc
import pytest

from benchmarks.dead_hosts import dead_hosts
from controller import telling
from controller.calling import Bounds
from controller.endings import State
from controller.inventory.connection import Endpoint
from controller.telling import Following, Told, Unfit
from controller.transport import mtls
from controller.transport.mtls import Identity
from fleetmedic.v1.agent_pb2 import RenewRequest, RenewResponse
from tests.controller import odd_agents
from tests.controller.odd_agents import Answer, Call
from tests.lab.authority import Authority

USUAL = Bounds(32, 1.5, 10.0)
EMPTY = RenewRequest().SerializeToString()
ASKS = RenewResponse(certificate_request=b"a request").SerializeToString()


def renew(
    endpoints: Sequence[Endpoint],
    identity: Identity,
    following: Following[RenewResponse] | None = None,
    bounds: Bounds = USUAL,
) -> list[Told[RenewResponse]]:
    asked = dict.fromkeys(endpoints, EMPTY)
    return asyncio.run(
        telling.tell(mtls.RENEW, asked, RenewResponse, identity, bounds, lambda *_: None, following=following)
    )


def replying(*replies: bytes, heard: list[bytes] | None = None) -> Answer:
    """Give the first to an empty request, and the last to any other; note what came."""

    def answer(request: bytes, call: Call) -> Iterator[bytes]:
        call.send_initial_metadata(())
        if heard is not None:
            heard.append(request)
        yield replies[-1] if request else replies[0]

    return answer


def refusing(code: grpc.StatusCode, *, second: bool = False) -> Answer:
    def answer(request: bytes, call: Call) -> Iterator[bytes]:
        call.send_initial_metadata(())
        if second and not request:
            yield ASKS
        call.abort(code, "not you")
        yield b""

    return answer


def signed(host: str, reply: RenewResponse) -> bytes:
    return RenewRequest(certificate_chain=reply.certificate_request + host.encode()).SerializeToString()


@pytest.mark.covers("sec:telling")
def test_each_host_has_one_ending_with_its_cause_in_the_order_given(authority: Authority) -> None:
    with (
        contextlib.ExitStack() as stack,
        odd_agents.serving(authority, ["fine"], replying(ASKS)) as fine,
        odd_agents.serving(authority, ["strict"], refusing(grpc.StatusCode.PERMISSION_DENIED)) as strict,
        odd_agents.serving(authority, ["junk"], replying(b"\xff\xff\xff")) as junk,
    ):
        dead = [Endpoint(one.kind, one.address, one.port) for one in stack.enter_context(dead_hosts("127.0.0.1", 1))]
        made = renew([*dead, *fine, *strict, *junk], odd_agents.identity(authority))
    assert [told.host for told in made] == [*(endpoint.name for endpoint in dead), "fine", "strict", "junk"]
    states = {told.host: told.state for told in made}
    assert [states.pop(endpoint.name) for endpoint in dead] == [State.UNREACHABLE] * len(dead)
    assert states == {"fine": State.OK, "strict": State.FAILED, "junk": State.FAILED}
    by_name = {told.host: told for told in made}
    assert by_name["strict"].cause == "permission denied: not you"
    assert by_name["fine"].answer == RenewResponse(certificate_request=b"a request")
    assert all((told.answer is None) == bool(told.cause) for told in made)


@pytest.mark.covers("sec:telling")
def test_the_second_call_is_made_of_the_first_ones_reply_on_the_same_connection(authority: Authority) -> None:
    heard: list[bytes] = []
    peers: set[str] = set()

    def answer(request: bytes, call: Call) -> Iterator[bytes]:
        peers.add(call.peer())
        yield from replying(ASKS, b"", heard=heard)(request, call)

    with odd_agents.serving(authority, ["db01"], answer) as db01:
        (told,) = renew(db01, odd_agents.identity(authority), signed)
    assert (told.state, told.answer) == (State.OK, RenewResponse())
    assert [RenewRequest.FromString(request).certificate_chain for request in heard] == [b"", b"a requestdb01"]
    assert len(peers) == 1
    assert time.time() - 60 < told.sent <= told.arrived


@pytest.mark.covers("sec:telling")
def test_a_first_reply_that_nothing_can_follow_fails_its_host_alone_and_nothing_more_is_said_to_it(
    authority: Authority,
) -> None:
    heard: list[bytes] = []

    def following(host: str, reply: RenewResponse) -> bytes:
        if host == "evil":
            raise Unfit("its request can't be signed")
        return signed(host, reply)

    with (
        odd_agents.serving(authority, ["evil"], replying(ASKS, heard=heard)) as evil,
        odd_agents.serving(authority, ["good"], replying(ASKS, b"")) as good,
    ):
        made = renew([*evil, *good], odd_agents.identity(authority), following)
    assert [(told.state, told.cause) for told in made] == [
        (State.FAILED, "its request can't be signed"),
        (State.OK, ""),
    ]
    assert heard == [b""]


@pytest.mark.covers("sec:telling")
def test_what_the_second_call_is_refused_with_is_the_hosts_ending(authority: Authority) -> None:
    with odd_agents.serving(authority, ["db01"], refusing(grpc.StatusCode.FAILED_PRECONDITION, second=True)) as db01:
        (told,) = renew(db01, odd_agents.identity(authority), signed)
    assert (told.state, told.answer, told.cause) == (State.FAILED, None, "failed precondition: not you")


@pytest.mark.covers("sec:telling")
def test_a_second_interrupt_leaves_a_host_as_unknown_since_it_may_have_been_told(authority: Authority) -> None:
    def slow(_: bytes, call: Call) -> Iterator[bytes]:
        call.send_initial_metadata(())
        while call.is_active():
            time.sleep(0.01)
        yield b""

    def interrupt() -> None:
        for _ in range(2):
            time.sleep(0.5)
            signal.raise_signal(signal.SIGINT)

    with odd_agents.serving(authority, ["db01"], slow) as db01:
        threading.Thread(target=interrupt, daemon=True).start()
        (told,) = renew(db01, odd_agents.identity(authority))
    assert told.state == State.UNKNOWN
    assert told.answer is None
