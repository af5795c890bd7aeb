"""Calls that change something, over the wire: recorded before they begin, refused while frozen; and refusals."""

import datetime
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from agent.front.policy import SERVICE
from agent.front.worker import WorkerAway
from fleetmedic.v1.agent_pb2 import (
    ApplyRequest,
    AuditRequest,
    AuditResponse,
    CheckRequest,
    DescribeRequest,
    RenewRequest,
    SetDenylistRequest,
    SetFreezeRequest,
)
from fleetmedic.v1.agent_pb2_grpc import AgentServiceStub
from fleetmedic.v1.local_pb2 import REFUSAL_KIND_FAILED_PRECONDITION, LocalRequest, LocalResponse, Refusal
from tests.agent import front
from tests.agent.front import Front, operator
from tests.agent.test_live_denial import Calling, Clock
from tests.agent.test_own_certificate import public, signed
from tests.lab.authority import CLIENT
from tests.lab.waiting import until

SECONDS = 5.0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Front]:
    """Run a front of the test's own."""
    clock = Clock()
    with front.run(tmp_path, clock.now, utc=clock) as started:
        yield started


@pytest.fixture
def admin(running: Front) -> Iterator[AgentServiceStub]:
    """Call as an administrator."""
    with running.channel(operator(running.operators, "admin")) as channel:
        yield AgentServiceStub(channel)


def status(act: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        act()
    return caught.value.code(), str(caught.value.details())


def renewed(stub: AgentServiceStub, chain: bytes = b"") -> bytes:
    return stub.Renew(RenewRequest(certificate_chain=chain), timeout=SECONDS).certificate_request


@pytest.mark.covers("sec:renew")
def test_two_calls_bring_a_new_key_and_certificate_and_old_connections_go_on(
    running: Front, admin: AgentServiceStub
) -> None:
    with running.channel(operator(running.operators, "observer", "bob")) as his, Calling(his) as going_on:
        before = running.tls.key.read_bytes()
        chain = signed(renewed(admin), running.agents)
        assert running.tls.key.read_bytes() == before
        answer = admin.Renew(RenewRequest(certificate_chain=chain), timeout=SECONDS)
        assert running.tls.certificate.read_bytes() == chain
        with running.channel(operator(running.operators, "observer", "new")) as fresh:
            new = AgentServiceStub(fresh).Describe(DescribeRequest(), timeout=SECONDS)
    ends = x509.load_pem_x509_certificate(chain).not_valid_after_utc
    assert answer.standing.certificate_expire_time.ToDatetime(datetime.UTC) == ends
    assert new.standing.certificate_expire_time.ToDatetime(datetime.UTC) == ends
    assert (answer.standing.audit_sequence, answer.standing.audit_head) == (7, b"head")
    assert going_on.failures == []
    assert going_on.well > 1
    assert running.noted() == [
        ("alice", "Renew", "begun", ""),
        ("alice", "Renew", "done", "a new key waits for its certificate"),
        ("alice", "Renew", "begun", ""),
        ("alice", "Renew", "done", "a new certificate is in place"),
    ]


@pytest.mark.covers("sec:renew")
def test_a_certificate_that_is_not_this_agent_s_is_refused_and_recorded_as_failed(
    running: Front, admin: AgentServiceStub
) -> None:
    first = running.tls.certificate.read_bytes()
    assert status(lambda: renewed(admin, first)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "no key waits for a certificate: ask for a request first",
    )
    request = renewed(admin)
    for chain, why in (
        (signed(request, running.agents, dns=["db02"]), "the certificate is not for db01, and for it alone"),
        (signed(request, running.agents, usages=(CLIENT,)), "the certificate is not one for servers alone"),
        (
            signed(request, running.operators),
            "the authority that issued the current certificate is not kept, nor did it come along",
        ),
        (first, "the certificate is for another key than the one that was asked for last"),
    ):
        assert status(lambda: renewed(admin, chain)) == (grpc.StatusCode.INVALID_ARGUMENT, why)  # noqa: B023
        assert running.noted()[-2:] == [("alice", "Renew", "begun", ""), ("alice", "Renew", "failed", why)]
    assert running.tls.certificate.read_bytes() == first


def test_a_folder_that_can_not_be_written_is_named(running: Front, admin: AgentServiceStub) -> None:
    waiting = running.tls.key.with_name(f"{running.tls.key.name}.new")
    (waiting / "in the way").mkdir(parents=True)
    code, said = status(lambda: renewed(admin))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert said == f"{waiting}: Is a directory"


def away(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:

    raise WorkerAway("the agent's worker is away: Connection refused")


def full(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
    reason = "the audit log can't be written: No space left on device"
    yield LocalResponse(refusal=Refusal(kind=REFUSAL_KIND_FAILED_PRECONDITION, reason=reason))


@pytest.mark.covers("sec:audit")
@pytest.mark.parametrize(("answers", "why"), [(away, "Connection refused"), (full, "No space left on device")])
def test_without_an_audit_log_nothing_is_changed_and_that_is_an_alarm(
    tmp_path: Path, answers: front.Ask, why: str
) -> None:
    with front.run(tmp_path, Clock().now, answers=answers) as running:
        with running.channel(operator(running.operators, "admin")) as channel:
            code, said = status(lambda: renewed(AgentServiceStub(channel)))
            described = AgentServiceStub(channel).Describe(DescribeRequest(), timeout=SECONDS)
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert said.startswith("no audit, no change: ")
        assert why in said
        assert [path.name for path in running.tls.key.parent.glob("*.new")] == []
        assert why in described.standing.alarms[0]


def test_a_change_that_was_made_stands_though_its_end_can_not_be_recorded(tmp_path: Path) -> None:
    def once(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
        return (full if request.noted.outcome == "done" else front.well)(request, patience, wanted)

    with front.run(tmp_path, Clock().now, answers=once) as running:
        with running.channel(operator(running.operators, "admin")) as channel:
            answer = AgentServiceStub(channel).Renew(RenewRequest(), timeout=SECONDS)
        assert public(answer.certificate_request) is not None
        assert "No space left on device" in answer.standing.alarms[0]


def frozen(running: Front, text: str) -> None:
    (running.trust / "freeze.json").write_text(text)


@pytest.mark.covers("sec:freeze")
def test_while_the_agent_is_frozen_apply_is_refused_with_who_and_why_and_looking_goes_on(
    running: Front, admin: AgentServiceStub
) -> None:
    frozen(running, json.dumps({"reason": "the disk array is being moved", "user": "carol", "since": 1_700_000_000}))
    assert status(lambda: admin.Apply(ApplyRequest(), timeout=SECONDS)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "frozen by carol since 2023-11-14 22:13:20 UTC: the disk array is being moved",
    )
    admin.Describe(DescribeRequest(), timeout=SECONDS)
    list(admin.Check(CheckRequest(), timeout=SECONDS))
    admin.SetFreeze(SetFreezeRequest(frozen=False, reason="moved"), timeout=SECONDS)
    with running.channel(operator(running.operators, "observer", "bob")) as channel:
        code, said = status(lambda: AgentServiceStub(channel).Apply(ApplyRequest(), timeout=SECONDS))
    assert (code, said) == (grpc.StatusCode.PERMISSION_DENIED, "bob is observer; needs responder")
    (running.trust / "freeze.json").unlink()
    admin.Apply(ApplyRequest(), timeout=SECONDS)


@pytest.mark.covers("sec:freeze")
@pytest.mark.parametrize("text", ["", "junk", "[]", "null", '{"reason": 1}', '{"reason":"x","user":"y","since":"z"}'])
def test_a_freeze_that_can_not_be_read_is_a_freeze(running: Front, admin: AgentServiceStub, text: str) -> None:
    frozen(running, text)
    code, said = status(lambda: admin.Apply(ApplyRequest(), timeout=SECONDS))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert said.startswith("frozen: ")
    assert str(running.trust) in said


def test_a_freeze_and_a_list_go_to_the_worker_with_who_asks(running: Front, admin: AgentServiceStub) -> None:
    frozen_by = admin.SetFreeze(SetFreezeRequest(frozen=True, reason="why"), timeout=SECONDS)
    pem_list = running.operators.denylist(9)
    denied = admin.SetDenylist(SetDenylistRequest(signed_list=pem_list), timeout=SECONDS)
    first, second = running.asked()
    assert first.set_freeze == SetFreezeRequest(frozen=True, reason="why")
    assert second.set_denylist.signed_list == pem_list
    for request, answer, sequence in ((first, frozen_by, 1), (second, denied, 9)):
        assert (request.caller.user, request.caller.role) == ("alice", "admin")
        assert int(request.caller.serial, 16) > 0
        assert (answer.standing.audit_sequence, answer.standing.denylist_sequence) == (7, sequence)
    # The worker records these itself.
    assert running.noted() == []


def test_the_audit_log_is_streamed_and_may_hold_nothing_new(tmp_path: Path) -> None:
    def log(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
        for sequence in range(request.audit.after_sequence + 1, 4):
            yield LocalResponse(audit=AuditResponse(sequence=sequence))

    with front.run(tmp_path, Clock().now, answers=log) as running:
        with running.channel(operator(running.operators, "responder")) as channel:
            stub = AgentServiceStub(channel)
            whole, none = (
                [answer.sequence for answer in stub.Audit(AuditRequest(after_sequence=after), timeout=SECONDS)]
                for after in (1, 3)
            )
        with running.channel(operator(running.operators, "observer")) as channel:
            code, _ = status(lambda: list(AgentServiceStub(channel).Audit(AuditRequest(), timeout=SECONDS)))
    assert (whole, none, code) == ([2, 3], [], grpc.StatusCode.PERMISSION_DENIED)


@pytest.mark.covers("sec:audit")
def test_refused_calls_are_recorded_with_who_and_why(running: Front) -> None:
    with running.channel(operator(running.operators, "observer", "bob")) as channel:
        stub = AgentServiceStub(channel)
        status(lambda: renewed(stub))
        until("bob's refusal", lambda: len(running.noted()) == 1)
        status(lambda: stub.Describe(DescribeRequest()))
        until("the one without a deadline", lambda: len(running.noted()) == 2)
    odd = operator(running.operators, "admin", uris=["spiffe://lab/role/admin/user/Alice"])
    with running.channel(odd) as channel:
        status(lambda: renewed(AgentServiceStub(channel)))
        until("nobody's", lambda: len(running.noted()) == 3)
    bob, endless, nobody = running.noted()
    assert bob == ("bob", "Renew", "refused", "PERMISSION_DENIED: bob is observer; needs admin")
    assert endless[:3] == ("bob", "Describe", "refused")
    assert endless[3].startswith("INVALID_ARGUMENT: a deadline of at most 600 s is needed")
    assert nobody == ("", "Renew", "refused", "UNAUTHENTICATED: the client certificate is no operator's")


@pytest.mark.covers("sec:audit")
def test_a_flood_of_refusals_is_few_records_with_their_count_and_none_waits(tmp_path: Path) -> None:
    def slow(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
        time.sleep(0.3)
        yield from front.well(request, patience, wanted)

    with front.run(tmp_path, Clock().now, answers=slow) as running:
        with running.channel(operator(running.operators, "observer", "bob")) as channel:
            stub = AgentServiceStub(channel)
            began = time.monotonic()
            for _ in range(200):
                status(lambda: renewed(stub))
            took = time.monotonic() - began
            # A record takes 0.35 s here; what is left is one more.
            time.sleep(1.0)
        told = [detail for *_, detail in running.noted()]
    refused = sum(1 + int(detail.partition("(and ")[2].partition(" more")[0] or 0) for detail in told)
    assert refused == 200
    assert len(told) <= took / 0.35 + 3


def test_a_path_that_the_agent_does_not_have_leaves_no_record(running: Front) -> None:
    with running.channel(operator(running.operators, "admin")) as channel:
        odd = channel.unary_unary(f"/{SERVICE.full_name}/Other", request_serializer=bytes, response_deserializer=bytes)
        assert status(lambda: odd(b"", timeout=SECONDS))[0] == grpc.StatusCode.UNIMPLEMENTED
    time.sleep(0.1)
    assert running.noted() == []


def test_the_host_s_own_configuration_lowers_a_role(tmp_path: Path) -> None:
    with front.run(tmp_path, Clock().now, roles={"alice": "observer"}) as running:
        with running.channel(operator(running.operators, "admin")) as channel:
            stub = AgentServiceStub(channel)
            code, said = status(lambda: renewed(stub))
            role = stub.Describe(DescribeRequest(), timeout=SECONDS).role
        assert (code, said, role) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "alice is observer; needs admin",
            "observer",
        )
        assert {request.caller.role for request in running.asked()} == {"observer"}


def test_the_first_message_of_a_check_says_how_the_agent_stands(running: Front, admin: AgentServiceStub) -> None:
    (only,) = admin.Check(CheckRequest(), timeout=SECONDS)
    assert (only.standing.audit_sequence, only.standing.denylist_sequence) == (7, 1)
    assert only.standing.HasField("certificate_expire_time")
