"""The servicer's methods, driven by grpcio-testing, with a worker passed in that answers as the test wants."""

import datetime
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count, repeat
from pathlib import Path
from typing import Any

import grpc
import grpc_testing
import pytest

from agent import frames
from agent.front import worker
from agent.front.alarms import Alarms
from agent.front.callers import Denied, Peer
from agent.front.files import Held
from agent.front.policy import SERVICE, Role
from agent.front.service import IMPLEMENTED, AgentService
from agent.front.slots import MOST_OF_ONE, MOST_STREAMS
from agent.front.unkept import Unkept
from agent.front.worker import WorkerAway
from fleetmedic.v1 import local_pb2
from fleetmedic.v1.agent_pb2 import CheckRequest, CheckResponse, DescribeRequest, DescribeResponse, Identity, RuleTitle
from fleetmedic.v1.local_pb2 import LocalRequest, LocalResponse, Refusal
from tests.agent.front import Ask, installed, organisation

RECEIVED = 1_700_000_000.5
METHODS = SERVICE.methods_by_name
ALICE = repeat("alice")


NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


@cache
def held() -> Held:
    """What a front goes by; of its files these tests change none."""
    config, tls, _ = installed(Path(tempfile.mkdtemp()), organisation(NOW), organisation(NOW, "agents"))
    return Held(config, tls, lambda: NOW, Alarms(lambda _: None))


def service(answers: Ask, users: Iterator[str] = ALICE) -> AgentService:
    return AgentService(
        Identity(name="db01", version="9", boot_id="b"),
        answers,
        lambda _: Peer(next(users), Role.RESPONDER, "1F", "the bastion is down"),
        lambda context: context.is_active(),
        held(),
        Unkept(answers, Alarms(lambda _: None)),
        lambda: RECEIVED,
    )


def server(answers: Ask, users: Iterator[str] = ALICE) -> Any:
    made = service(answers, users)
    return grpc_testing.server_from_dictionary({SERVICE: made}, grpc_testing.strict_real_time())


def describe(answers: Ask) -> DescribeResponse:
    call = server(answers).invoke_unary_unary(METHODS["Describe"], (), DescribeRequest(), 5.0)
    call.initial_metadata()
    response, _, code, _ = call.termination()
    assert code == grpc.StatusCode.OK
    assert isinstance(response, DescribeResponse)
    return response


def check(answers: Ask, request: CheckRequest | None = None, *, timeout: float | None = 5.0) -> Any:
    """The messages of a check, its code and its details."""
    call = server(answers).invoke_unary_stream(METHODS["Check"], (), request or CheckRequest(), timeout)
    call.initial_metadata()
    _, code, details = call.termination()
    return code, details


def silent(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
    del request, patience
    yield from ()


def away(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
    raise WorkerAway("the agent's worker is away: Connection refused")


def test_describe_carries_the_front_s_identity_clock_and_methods_and_the_caller_s_role() -> None:
    asked = []

    def answers(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
        asked.append(request)
        assert patience == 3.0
        inner = DescribeResponse(agent=Identity(name="worker"), role="observer", rules=[RuleTitle(id="PG-UP")])
        yield LocalResponse(describe=inner)

    made = describe(answers)
    assert (made.agent.name, made.agent.version, made.role) == ("db01", "9", "responder")
    assert made.clock.received_time.ToNanoseconds() == int(RECEIVED * 1e9)
    assert [rule.id for rule in made.rules] == ["PG-UP"]
    assert asked[0].caller == local_pb2.Caller(
        role="responder", user="alice", serial="1F", break_glass="the bastion is down"
    )


def test_describe_lists_exactly_the_methods_that_are_implemented() -> None:
    own = {name for name in METHODS if name in vars(AgentService)}
    assert set(describe(silent).methods) == own == set(IMPLEMENTED)


def test_describe_says_why_rules_are_missing_when_the_worker_is_away_or_refuses() -> None:
    assert describe(away).worker_error == "the agent's worker is away: Connection refused"

    def refuses(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
        yield LocalResponse(refusal=Refusal(reason="too many calls at once"))

    made = describe(refuses)
    assert made.worker_error == "too many calls at once"
    assert made.agent.name == "db01"


def test_a_check_streams_the_worker_s_messages_with_the_front_s_identity_and_clock() -> None:
    def answers(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
        first = CheckResponse(request_id=request.check.request_id, sequence=1, agent=Identity(name="worker"))
        yield LocalResponse(check=first)
        yield LocalResponse(check=CheckResponse(sequence=2, last=True))

    call = server(answers).invoke_unary_stream(METHODS["Check"], (), CheckRequest(request_id="r"), 5.0)
    call.initial_metadata()
    first, last = call.take_response(), call.take_response()
    assert call.termination()[1] == grpc.StatusCode.OK
    assert (first.request_id, first.agent.name) == ("r", "db01")
    assert first.clock.received_time.ToNanoseconds() == int(RECEIVED * 1e9)
    assert (last.sequence, last.last, last.HasField("agent")) == (2, True, False)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (local_pb2.REFUSAL_KIND_INVALID, grpc.StatusCode.INVALID_ARGUMENT),
        (local_pb2.REFUSAL_KIND_NOT_FOUND, grpc.StatusCode.NOT_FOUND),
        (local_pb2.REFUSAL_KIND_NOT_PERMITTED, grpc.StatusCode.PERMISSION_DENIED),
        (local_pb2.REFUSAL_KIND_FAILED_PRECONDITION, grpc.StatusCode.FAILED_PRECONDITION),
        (local_pb2.REFUSAL_KIND_BUSY, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (local_pb2.REFUSAL_KIND_INTERNAL, grpc.StatusCode.INTERNAL),
        (local_pb2.REFUSAL_KIND_UNSPECIFIED, grpc.StatusCode.INTERNAL),
    ],
)
def test_a_refusal_becomes_a_status_with_its_reason(
    kind: "local_pb2.RefusalKind.ValueType", code: grpc.StatusCode
) -> None:
    def refuses(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
        yield LocalResponse(refusal=Refusal(kind=kind, reason="no check is named 'X'"))

    assert check(refuses) == (code, "no check is named 'X'")


def test_a_check_without_a_worker_is_unavailable() -> None:
    assert check(away) == (grpc.StatusCode.UNAVAILABLE, "the agent's worker is away: Connection refused")


@pytest.mark.parametrize(
    ("asked", "timeout", "budget"),
    [(None, 4.0, 4.0), (2.0, 4.0, 2.0), (60.0, 4.0, 4.0), (1e11, 4.0, 4.0), (-1e11, 4.0, -1.0)],
)
def test_the_worker_s_budget_is_the_shorter_of_what_was_asked_and_what_is_left(
    asked: float | None, timeout: float, budget: float
) -> None:
    given = []

    def answers(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
        given.append((request.check.budget.ToMilliseconds() / 1000, patience))
        yield LocalResponse(check=CheckResponse(last=True))

    request = CheckRequest()
    if asked is not None:
        request.budget.seconds = int(asked)
    check(answers, request, timeout=timeout)
    assert given[0][0] == pytest.approx(budget, abs=0.2)
    assert given[0][1] == pytest.approx(timeout + 1, abs=0.2)


@pytest.mark.covers("sec:hanging")
@pytest.mark.parametrize(
    ("most", "user", "why"),
    [
        (MOST_STREAMS, "", "8 checks are under way on this host already"),
        (MOST_OF_ONE, "alice", "3 checks of alice are under way on this host already"),
    ],
    ids=["of all", "of one user"],
)
def test_one_check_too_many_at_once_is_refused_and_a_slot_comes_back_when_one_ends(
    most: int, user: str, why: str
) -> None:
    held = threading.Event()
    working = threading.Semaphore(0)

    def answers(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
        working.release()
        held.wait(5.0)
        yield LocalResponse(check=CheckResponse(last=True))

    driven = server(answers, (user or f"user-{number}" for number in count()))
    calls = [driven.invoke_unary_stream(METHODS["Check"], (), CheckRequest(), 5.0) for _ in range(most)]
    for _ in range(most):
        assert working.acquire(timeout=5.0)
    beyond = driven.invoke_unary_stream(METHODS["Check"], (), CheckRequest(), 5.0)
    _, code, details = beyond.termination()
    assert (code, details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, why)
    held.set()
    assert [call.termination()[1] for call in calls] == [grpc.StatusCode.OK] * most
    next_one = driven.invoke_unary_stream(METHODS["Check"], (), CheckRequest(), 5.0)
    assert next_one.termination()[1] == grpc.StatusCode.OK


def worker_that(place: Path, *answers: LocalResponse, raw: bytes = b"") -> threading.Thread:
    """A worker's socket that serves one caller, and closes."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            assert frames.read(connection.fileno(), LocalRequest) is not None
            for answer in answers:
                frames.write(connection.fileno(), answer)
            connection.sendall(raw)

    made = threading.Thread(target=serve)
    made.start()
    return made


ASK = LocalRequest(check=CheckRequest())
FIRST = LocalResponse(check=CheckResponse(sequence=1))
LAST = LocalResponse(check=CheckResponse(sequence=2, last=True))


@pytest.mark.parametrize("answers", [[LAST], [FIRST, LAST], [LocalResponse(refusal=Refusal())]])
def test_a_whole_answer_of_the_worker_is_passed_on(tmp_path: Path, answers: list[LocalResponse]) -> None:
    serving = worker_that(tmp_path / "s", *answers)
    assert list(worker.ask(tmp_path / "s", ASK, 2.0, lambda: True)) == answers
    serving.join()


@pytest.mark.parametrize(
    ("answers", "raw", "why"),
    [
        ([], b"", "ended before its answer was whole"),
        ([FIRST], b"", "ended before its answer was whole"),
        ([FIRST], b"\0\0", "in the middle of a message"),
        ([], b"\xff\xff\xff\xff", "over the"),
        ([], b"\0\0\0\x02\xff\xff", "no message of the expected kind"),
    ],
)
def test_an_answer_that_is_not_whole_is_never_taken_for_one(
    tmp_path: Path, answers: list[LocalResponse], raw: bytes, why: str
) -> None:
    serving = worker_that(tmp_path / "s", *answers, raw=raw)
    with pytest.raises(WorkerAway, match=why):
        list(worker.ask(tmp_path / "s", ASK, 2.0, lambda: True))
    serving.join()


def test_a_worker_that_is_silent_is_given_up_after_the_patience(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    with listener, pytest.raises(WorkerAway, match="no answer in time"):
        list(worker.ask(tmp_path / "s", ASK, 0.1, lambda: True))


@pytest.mark.covers("sec:live-denial")
def test_a_caller_who_may_call_no_more_is_no_longer_waited_for_and_the_worker_sees_it(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    asked = []

    def wanted() -> bool:
        asked.append(time.monotonic())
        if len(asked) > 1:
            raise Denied(grpc.StatusCode.UNAUTHENTICATED, "denied")
        return True

    began = time.monotonic()
    with listener:
        with pytest.raises(Denied):
            list(worker.ask(tmp_path / "s", ASK, 60.0, wanted))
        assert time.monotonic() - began < 5.0
        with listener.accept()[0] as connection:
            assert frames.read(connection.fileno(), LocalRequest) == ASK
            assert connection.recv(1) == b""


def test_a_worker_that_is_not_there_is_away(tmp_path: Path) -> None:
    with pytest.raises(WorkerAway, match="No such file"):
        list(worker.ask(tmp_path / "s", ASK, 0.1, lambda: True))
