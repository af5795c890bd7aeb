"""Callers who leave their calls hanging, and who may call no more: nobody else is kept waiting by them."""

import contextlib
import select
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from h2.events import StreamEnded, StreamReset
from h2.exceptions import StreamClosedError
from h2.settings import SettingCodes

from agent.front.policy import SERVICE
from agent.front.watching import MOST_UNTAKEN, PATIENCE
from fleetmedic.v1.agent_pb2 import AuditRequest, AuditResponse, CheckRequest, DescribeRequest
from fleetmedic.v1.agent_pb2_grpc import AgentServiceStub
from fleetmedic.v1.local_pb2 import LocalRequest, LocalResponse
from tests.agent import front
from tests.agent.front import Front, operator
from tests.agent.test_live_denial import Clock, a_session, push
from tests.lab import h2_client
from tests.lab.authority import MINUTE, Issued
from tests.lab.h2_client import Client
from tests.lab.waiting import until

DESCRIBE, CHECK, AUDIT = (f"/{SERVICE.full_name}/{name}" for name in ("Describe", "Check", "Audit"))
THREADS = 12
STEP = 16 * 1024


def headers_alone(client: Client, times: int, deadline: str = "") -> None:
    """Begins calls, and sends no request."""
    fields = {
        ":method": "POST",
        ":scheme": "https",
        ":path": DESCRIBE,
        ":authority": "agent",
        "te": "trailers",
        "content-type": "application/grpc",
    } | ({"grpc-timeout": deadline} if deadline else {})
    with client.lock:
        for _ in range(times):
            client.http.send_headers(client.http.get_next_available_stream_id(), list(fields.items()))
        client.flush()


@contextlib.contextmanager
def connected(running: Front, who: Issued) -> Iterator[Client]:
    """A connection that goes on to be read, so that none is ended for want of a pong."""
    settings = h2_client.context(running.files(who), running.agent)
    with h2_client.connected(running.port, settings, front.NAME) as client, read_on(client):
        yield client


@contextlib.contextmanager
def taking_nothing(running: Front, who: Issued, path: str, times: int) -> Iterator[Client]:
    """Calls whose answers have no room to come."""
    settings = h2_client.context(running.files(who), running.agent)
    with h2_client.connected(running.port, settings, front.NAME) as client:
        client.http.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        client.flush()
        for _ in range(times):
            client.begin(path, b"", timeout="600S")
        with read_on(client):
            yield client


@contextlib.contextmanager
def read_on(client: Client) -> Iterator[None]:
    client.tls.settimeout(0.05)
    ended = threading.Event()
    reader = threading.Thread(target=_read, args=(client, ended), daemon=True)
    reader.start()
    try:
        yield
    finally:
        ended.set()
        reader.join()


def _read(client: Client, ended: threading.Event) -> None:
    with contextlib.suppress(ConnectionError):
        while not ended.is_set():
            if select.select([client.tls], [], [], 0.05)[0]:
                # Readable may mean a ticket alone, and nothing of the call's.
                with client.lock, contextlib.suppress(TimeoutError):
                    client.read()


def open_streams(client: Client) -> int:
    with client.lock:
        return client.http.open_outbound_streams


def describes(running: Front, seconds: float) -> float:
    """How long another caller's Describe takes."""
    with running.channel(operator(running.operators, "observer", "bob")) as channel:
        began = time.monotonic()
        AgentServiceStub(channel).Describe(DescribeRequest(), timeout=seconds)
        return time.monotonic() - began


@pytest.mark.covers("sec:hanging")
@pytest.mark.parametrize("deadline", ["", "600S"])
def test_headers_without_a_request_of_somebody_denied_cost_nobody_a_call(tmp_path: Path, deadline: str) -> None:
    clock = Clock()
    with front.run(tmp_path, clock.now, utc=clock) as running:
        alice = operator(running.operators, "observer")
        push(running, 2, alice)
        with connected(running, alice) as client:
            headers_alone(client, THREADS + 1, deadline)
            time.sleep(0.5)
            assert describes(running, 5.0) < 2.0
            push(running, 3, alice)


@pytest.mark.covers("sec:hanging")
def test_headers_without_a_request_over_a_resumed_session_that_ended_cost_nobody_a_call(tmp_path: Path) -> None:
    clock = Clock()
    with front.run(tmp_path, clock.now, utc=clock) as running:
        session, settings = a_session(running, running.files(operator(running.operators, "observer", ends=MINUTE)))
        clock.now += MINUTE
        with h2_client.connected(running.port, settings, front.NAME, session=session) as client, read_on(client):
            assert client.resumed
            headers_alone(client, THREADS + 1)
            time.sleep(0.5)
            assert describes(running, 5.0) < 2.0


@pytest.mark.covers("sec:hanging")
def test_a_request_that_never_comes_is_awaited_for_five_seconds_or_until_its_caller_is_denied(tmp_path: Path) -> None:
    clock = Clock()
    with front.run(tmp_path, clock.now, utc=clock) as running:
        alice = operator(running.operators, "observer")
        with connected(running, alice) as client:
            headers_alone(client, 30, "600S")
            time.sleep(0.5)
            # All but a few of hers at once, and the others after their time.
            assert describes(running, 20.0) < 3.0
            until("most of hers are over", lambda: open_streams(client) < THREADS, seconds=3.0)
            headers_alone(client, THREADS, "600S")
            push(running, 2, alice)
            assert describes(running, 20.0) < 3.0
        assert not any(thread.name == "hanging calls" for thread in _after(2.0))


def _after(seconds: float) -> list[threading.Thread]:
    time.sleep(seconds)
    return threading.enumerate()


@pytest.mark.covers("sec:hanging")
@pytest.mark.parametrize("path", [CHECK, AUDIT])
@pytest.mark.parametrize("denied", [True, False])
def test_who_takes_no_answer_keeps_no_slot(tmp_path: Path, path: str, denied: bool) -> None:  # noqa: FBT001
    clock = Clock()
    with front.run(tmp_path, clock.now, utc=clock) as running, contextlib.ExitStack() as stack:
        crowd = [operator(running.operators, "admin", f"user-{number}") for number in range(3)]
        for each in crowd:
            stack.enter_context(taking_nothing(running, each, path, 3))
        stub = AgentServiceStub(stack.enter_context(running.channel(operator(running.operators, "observer", "bob"))))
        time.sleep(1.0)
        with pytest.raises(grpc.RpcError, match="8 checks are under way"):
            list(stub.Check(CheckRequest(), timeout=5.0))
        if denied:
            push(running, 2, *crowd)
        time.sleep(2.0 if denied else 6.5)
        assert len(list(stub.Check(CheckRequest(), timeout=5.0))) == 1


@pytest.mark.covers("sec:hanging")
def test_who_takes_answers_slowly_is_not_cut_off(tmp_path: Path) -> None:
    """What makes progress goes on, though it takes longer than one answer may."""

    def slowly(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
        del patience, wanted
        for number in range(1, 5):
            time.sleep(1.8)
            yield LocalResponse(audit=AuditResponse(sequence=number, record=request.audit.SerializeToString()))

    clock = Clock()
    with (
        front.run(tmp_path, clock.now, utc=clock, answers=slowly) as running,
        running.channel(operator(running.operators, "admin")) as channel,
    ):
        assert len(list(AgentServiceStub(channel).Audit(AuditRequest(), timeout=30.0))) == 4


@pytest.mark.covers("sec:hanging")
def test_of_answers_that_nobody_takes_one_user_leaves_few_and_none_for_long(tmp_path: Path) -> None:
    """gRPC would keep each, with all that is its call's, up to its deadline."""
    clock = Clock()
    with front.run(tmp_path, clock.now, utc=clock) as running, contextlib.ExitStack() as stack:
        alice = operator(running.operators, "observer")
        held = [stack.enter_context(taking_nothing(running, alice, DESCRIBE, 20)) for _ in range(2)]
        until("most are ended", lambda: sum(map(open_streams, held)) <= MOST_UNTAKEN, seconds=4.0)
        assert describes(running, 5.0) < 3.0
        until("all are ended", lambda: not sum(map(open_streams, held)), seconds=12.0)


@pytest.mark.covers("sec:hanging")
def test_who_takes_unsent_requests_back_before_they_hang_long_is_refused_for_a_while(tmp_path: Path) -> None:
    clock = Clock()
    with front.run(tmp_path, clock.now, utc=clock) as running:
        alice = operator(running.operators, "observer")
        with running.channel(alice) as channel, connected(running, alice) as client:
            stub = AgentServiceStub(channel)
            until("she is refused", lambda: not _answered(stub, client), seconds=10.0)
            with pytest.raises(grpc.RpcError, match="calls of alice hang already"):
                stub.Describe(DescribeRequest(), timeout=5.0)
            assert describes(running, 5.0) < 3.0
            until("she may call again", lambda: _answered(stub), seconds=8.0, every=0.5)


def take_back(client: Client) -> None:
    with client.lock:
        for number in list(client.http.streams):
            with contextlib.suppress(StreamClosedError):
                client.http.reset_stream(number)
        client.flush()


def _answered(stub: AgentServiceStub, client: Client | None = None) -> bool:
    """Whether she is, after she took back what she had not sent over the client."""
    if client is not None:
        headers_alone(client, THREADS, "600S")
        time.sleep(0.3)
        take_back(client)
    try:
        stub.Describe(DescribeRequest(), timeout=5.0)
    except grpc.RpcError:
        return False
    return True


@pytest.mark.covers("sec:hanging")
def test_a_large_answer_over_a_slow_line_is_not_cut_off(tmp_path: Path) -> None:
    """What makes progress goes on, though one message takes longer than any may lie."""

    def large(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
        del request, patience, wanted
        yield LocalResponse(audit=AuditResponse(sequence=1, record=bytes(STEP * 16)))

    clock = Clock()
    with front.run(tmp_path, clock.now, utc=clock, answers=large) as running:
        settings = h2_client.context(running.files(operator(running.operators, "admin")), running.agent)
        with h2_client.connected(running.port, settings, front.NAME) as client:
            client.http.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: STEP})
            client.flush()
            number = client.begin(AUDIT, b"", timeout="60S")
            began = time.monotonic()
            while not any(isinstance(event, StreamEnded | StreamReset) for event in client.seen):
                time.sleep(0.4)
                client.read()
            answer = client.ended(number)
    assert time.monotonic() - began > PATIENCE + 1
    assert answer.code == grpc.StatusCode.OK
    assert len(answer.body) > STEP * 16
