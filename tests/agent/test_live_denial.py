"""Who was let in once and may call no more: a live stream, a warm channel and a resumed TLS session are refused."""

import datetime
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from agent.front.policy import SERVICE
from fleetmedic.v1.agent_pb2 import CheckRequest, DescribeRequest, SetDenylistRequest
from fleetmedic.v1.agent_pb2_grpc import AgentServiceStub
from fleetmedic.v1.local_pb2 import LocalRequest, LocalResponse
from tests.agent import front
from tests.agent.front import Front, operator
from tests.lab import h2_client
from tests.lab.authority import MINUTE, Files, Issued

SECONDS = 10.0
PUSH = 5.0
DESCRIBE = f"/{SERVICE.full_name}/Describe"
VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}


@dataclass
class Clock:
    """A front's clock, which a test moves."""

    now: datetime.datetime = field(
        default_factory=lambda: datetime.datetime.fromtimestamp(int(time.time()), datetime.UTC)
    )

    def __call__(self) -> datetime.datetime:
        return self.now


@dataclass
class Holding:
    """A worker whose checks last until the test lets them go, or nobody waits for them."""

    go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
        if request.HasField("check"):
            while not self.go.wait(0.05):
                if not wanted():
                    return
        yield from front.well(request, patience, wanted)


def describes(channel: grpc.Channel) -> None:
    AgentServiceStub(channel).Describe(DescribeRequest(), timeout=SECONDS)


def push(running: Front, number: int, *denied: Issued) -> None:
    with running.channel(operator(running.operators, "responder", "carol")) as channel:
        request = SetDenylistRequest(signed_list=running.operators.denylist(number, *denied))
        answer = AgentServiceStub(channel).SetDenylist(request, timeout=SECONDS)
    assert answer.standing.denylist_sequence == number


@dataclass
class Calling:
    """Somebody who goes on calling, on one channel, until the block ends; every failure is kept."""

    channel: grpc.Channel
    well: int = 0
    failures: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Calling":
        self.thread = threading.Thread(target=self._call)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.thread.join()

    def _call(self) -> None:
        while not self.stopping.wait(0.01):
            try:
                describes(self.channel)
                self.well += 1
            except grpc.RpcError as error:
                self.failures.append(str(error))


@pytest.mark.covers("sec:live-denial", "sec:A4")
def test_who_is_denied_is_refused_within_5_s_of_the_push_and_who_is_not_sees_no_error(tmp_path: Path) -> None:
    clock, holding = Clock(), Holding()
    with front.run(tmp_path, clock.now, utc=clock, answers=holding) as running:
        alice, bob = operator(running.operators, "admin"), operator(running.operators, "observer", "bob")
        with running.channel(alice) as hers, running.channel(bob) as his, Calling(his) as going_on:
            stream = AgentServiceStub(hers).Check(CheckRequest(), timeout=60.0)
            his_stream = AgentServiceStub(his).Check(CheckRequest(), timeout=60.0)
            describes(hers)
            session, settings = a_session(running, running.files(alice))
            asked = sum(request.caller.user == "alice" for request in running.asked())
            pushed = time.monotonic()
            push(running, 2, alice)
            with pytest.raises(grpc.RpcError, match="is on the denylist") as warm:
                describes(hers)
            with pytest.raises(grpc.RpcError, match="is on the denylist") as live:
                list(stream)
            with h2_client.connected(running.port, settings, front.NAME, session=session) as client:
                resumed = client.call(DESCRIBE)
            took = time.monotonic() - pushed
            holding.go.set()
            assert len(list(his_stream)) == 1
        assert took < PUSH
        assert {warm.value.code(), live.value.code(), resumed.code} == {grpc.StatusCode.UNAUTHENTICATED}
        assert sum(request.caller.user == "alice" for request in running.asked()) == asked
        assert going_on.well > 0
        assert going_on.failures == []


@pytest.mark.covers("sec:live-denial", "sec:A4")
def test_a_live_stream_ends_when_its_caller_s_certificate_does(tmp_path: Path) -> None:
    clock, holding = Clock(), Holding()
    with front.run(tmp_path, clock.now, utc=clock, answers=holding) as running:
        short = operator(running.operators, "observer", ends=10 * MINUTE)
        with running.channel(short) as hers, running.channel(operator(running.operators, "observer", "bob")) as his:
            stream = AgentServiceStub(hers).Check(CheckRequest(), timeout=60.0)
            his_stream = AgentServiceStub(his).Check(CheckRequest(), timeout=60.0)
            describes(hers)
            clock.now += 10 * MINUTE
            with pytest.raises(grpc.RpcError, match="is out of date: get a new one") as ended:
                list(stream)
            assert ended.value.code() == grpc.StatusCode.UNAUTHENTICATED
            holding.go.set()
            assert len(list(his_stream)) == 1


def a_session(
    running: Front, files: Files, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> tuple[ssl.SSLSession, ssl.SSLContext]:
    """A TLS session that can be resumed (the next connection does), and the settings that it goes with."""
    settings = h2_client.context(files, running.agent, version)
    session = None
    for resumed in (False, True):
        with h2_client.connected(running.port, settings, front.NAME, session=session) as client:
            client.call(DESCRIBE)
            assert client.resumed == resumed
            session = client.tls.session
    assert session is not None
    return session, settings


@pytest.mark.covers("sec:A3")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", ["expiry", "denial"])
def test_a_resumed_session_calls_nothing_after(tmp_path: Path, version: str, how: str) -> None:
    clock = Clock()
    with front.run(tmp_path, clock.now, utc=clock) as running:
        alice = operator(running.operators, "admin", ends=10 * MINUTE)
        session, settings = a_session(running, running.files(alice), VERSIONS[version])
        if how == "denial":
            push(running, 2, alice)
        else:
            clock.now += 10 * MINUTE
        before = len(running.asked())
        with h2_client.connected(running.port, settings, front.NAME, session=session) as client:
            # A denial makes every session end that could be resumed; an end of its own gRPC does not look at.
            assert client.resumed == (how == "expiry")
            answers = [client.call(path) for path in (DESCRIBE, f"/{SERVICE.full_name}/Check", DESCRIBE)]
        assert {answer.code for answer in answers} == {grpc.StatusCode.UNAUTHENTICATED}
        assert len(running.asked()) == before
