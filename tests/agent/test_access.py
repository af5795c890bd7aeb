"""Identity from certificates, and the guard before each handler, without a network."""

import base64
import datetime
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent import denylist
from agent.front import policy
from agent.front.access import Gate, Guard, House
from agent.front.alarms import Alarms
from agent.front.callers import BREAK_GLASS, Denied, Peer, Trusted, identify
from agent.front.noting import Notes
from agent.front.policy import SERVICE, Role
from fleetmedic.v1 import agent_pb2, policy_pb2
from tests.agent.front import operator, organisation, well
from tests.lab.authority import CLIENT, DAY, SERVER, Authority, Issued, pem

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
LAB: Authority = organisation(NOW)
TRUSTED = Trusted("lab", (LAB.own.certificate,))
FIXED = operator(LAB, "admin").certificate
GOOD = "spiffe://lab/role/responder/user/alice"


def peer(issued: Issued, now: datetime.datetime = NOW) -> Peer:
    return identify(pem(issued.certificate), TRUSTED, now)


def with_uris(*uris: str) -> Issued:
    return operator(LAB, "admin", uris=uris)


def test_an_operator_s_certificate_gives_user_and_role() -> None:
    issued = with_uris(GOOD)
    assert peer(issued) == Peer("alice", Role.RESPONDER, f"{issued.certificate.serial_number:X}")


def denying(*issued: Issued) -> Trusted:
    return replace(TRUSTED, denylists=denylist.read_kept(LAB.denylist(2, *issued), TRUSTED.authorities)[0])


@pytest.mark.covers("sec:choke")
def test_a_certificate_on_the_denylist_is_nobody_and_any_other_goes_on_to_count() -> None:
    alice, again = operator(LAB, "admin"), operator(LAB, "admin")
    with pytest.raises(Denied, match="on the denylist") as caught:
        identify(pem(alice.certificate), denying(alice), NOW)
    assert caught.value.code == grpc.StatusCode.UNAUTHENTICATED
    assert caught.value.peer == peer(alice)
    assert identify(pem(again.certificate), denying(alice), NOW) == peer(again)


@pytest.mark.covers("sec:choke")
def test_what_an_authority_below_the_operators_issued_is_nobody_s() -> None:
    for issued in (operator(LAB.subordinate("below"), "admin"), operator(organisation(NOW), "admin")):
        with pytest.raises(Denied, match="not issued by the operators' authority itself"):
            peer(issued)


def test_while_one_authority_takes_over_from_another_the_operators_of_both_may_call() -> None:
    new = organisation(NOW)
    both = replace(TRUSTED, authorities=(LAB.own.certificate, new.own.certificate))
    for authority in (LAB, new):
        assert identify(pem(operator(authority, "observer").certificate), both, NOW).user == "alice"
    with pytest.raises(Denied):
        identify(pem(operator(LAB, "observer").certificate), replace(both, authorities=both.authorities[1:]), NOW)


@pytest.mark.covers("sec:choke")
def test_a_host_can_lower_a_role_and_never_raise_it() -> None:
    lowering = replace(TRUSTED, lowered={"alice": Role.RESPONDER})
    found = {role: identify(pem(operator(LAB, role).certificate), lowering, NOW).role for role in ("observer", "admin")}
    assert found == {"observer": Role.OBSERVER, "admin": Role.RESPONDER}
    assert identify(pem(operator(LAB, "admin", "bob").certificate), lowering, NOW).role == Role.ADMIN


def with_reason(value: bytes) -> Issued:
    return operator(LAB, "admin", more=[x509.UnrecognizedExtension(BREAK_GLASS, value)])


@pytest.mark.covers("sec:choke")
def test_the_reason_of_a_broken_glass_is_the_caller_s() -> None:
    said = peer(with_reason("die Bastion ist weg \u2014 alles".encode()))
    assert said.caller().break_glass == said.break_glass == "die Bastion ist weg \u2014 alles"
    assert peer(with_reason(b"x" * 200)).break_glass == "x" * 200
    for bad in (b"", b"x" * 201, b"\xff\xfe"):
        with pytest.raises(Denied, match="can't be read"):
            peer(with_reason(bad))


@pytest.mark.covers("sec:A1")
def test_a_method_without_an_option_has_no_row_and_stops_the_start() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="odd.proto", package="odd", syntax="proto3")
    file.message_type.add(name="Empty")
    service = file.service.add(name="Service")
    for name in ("Told", "Untold", "RoleOfNone"):
        service.method.add(name=name, input_type=".odd.Empty", output_type=".odd.Empty")
    service.method[0].options.Extensions[policy_pb2.policy].least_role = policy_pb2.ROLE_ADMIN
    service.method[2].options.Extensions[policy_pb2.policy].changes = True
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    found = pool.FindServiceByName("odd.Service")
    rows = policy.policy(found)
    assert rows == {"/odd.Service/Told": policy.Rule(Role.ADMIN)}
    with pytest.raises(ValueError, match="methods without a policy: .*RoleOfNone.*Untold"):
        policy.check_policy(policy.methods(found), rows)
    policy.check_policy({"/odd.Service/Told"}, rows)


ODD = {
    "two URIs": [GOOD, "spiffe://lab/role/admin/user/bob"],
    "the same URI twice": [GOOD, GOOD],
    "NUL": ["spiffe://lab/role/observer/user/a\0/role/admin/user/alice"],
    "newline at the end": [GOOD + "\n"],
    "newline in it": ["spiffe://lab/role/admin\n/user/alice"],
    "two dots": ["spiffe://lab/role/observer/../admin/user/alice"],
    "upper-case scheme": ["SPIFFE://lab/role/admin/user/alice"],
    "upper-case role": ["spiffe://lab/role/ADMIN/user/alice"],
    "upper-case user": ["spiffe://lab/role/admin/user/Alice"],
    "none": [],
    "300 characters": [f"spiffe://lab/role/admin/user/{'a' * 300}"],
    "64 characters of user": [f"spiffe://lab/role/admin/user/{'a' * 64}"],
    "empty user": ["spiffe://lab/role/admin/user/"],
    "more path": [GOOD + "/x"],
    "query": [GOOD + "?role=admin"],
    "escaped": ["spiffe://lab/role/admin/user/al%69ce"],
    "another organisation": ["spiffe://evil/role/admin/user/alice"],
    "organisation as a prefix": ["spiffe://lab.evil/role/admin/user/alice"],
    "port": ["spiffe://lab:443/role/admin/user/alice"],
    "unknown role": ["spiffe://lab/role/root/user/alice"],
}


@pytest.mark.covers("sec:A5")
@pytest.mark.parametrize("kind", ODD)
def test_an_odd_name_in_the_certificate_is_nobody(kind: str) -> None:
    with pytest.raises(Denied) as caught:
        peer(with_uris(*ODD[kind]))
    assert caught.value.code == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.covers("sec:A5")
@given(
    parts=st.lists(
        st.one_of(
            st.sampled_from(
                ["spiffe:", "lab", "role", "admin", "observer", "user", "alice", "..", "", "\0", "\n", "//"]
            ),
            st.text(st.characters(max_codepoint=127), max_size=8),
        ),
        max_size=9,
    )
)
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_name_but_the_exact_form_is_let_in(parts: list[str]) -> None:
    uri = "/".join(parts)
    words = uri.split("/")
    exact = (
        words[:4] == ["spiffe:", "", "lab", "role"]
        and len(words) == 7
        and words[4] in ("admin", "observer", "responder")
        and words[5] == "user"
        and 0 < len(words[6]) <= 63
        and set(words[6]) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
        and words[6][0].isalnum()
    )
    try:
        found = peer(with_uris(uri))
    except Denied:
        assert not exact
    else:
        assert exact
        assert (found.user, found.role) == (words[6], Role[words[4].upper()])


@pytest.mark.covers("sec:A5")
@pytest.mark.parametrize(
    "more",
    [
        {"usages": (SERVER,)},
        {"usages": (CLIENT, SERVER)},
        {"usages": ()},
        {"dns": ["alice.lab"]},
        {"addresses": ["10.0.0.1"]},
        {"uris": [], "dns": [GOOD.removeprefix("spiffe://")]},
    ],
    ids=str,
)
def test_another_use_or_another_kind_of_name_is_nobody(more: dict[str, Any]) -> None:
    with pytest.raises(Denied):
        peer(operator(LAB, "admin", **more))


def test_a_certificate_holds_from_its_first_to_before_its_last_second() -> None:
    issued = operator(LAB, "admin", begins=datetime.timedelta(0), ends=DAY)
    second = datetime.timedelta(seconds=1)
    assert peer(issued, NOW).role == Role.ADMIN
    assert peer(issued, NOW + DAY - second).role == Role.ADMIN
    for outside in (NOW - second, NOW + DAY):
        with pytest.raises(Denied, match="out of date"):
            peer(issued, outside)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_certificate_are_nobody(raw: bytes) -> None:
    with pytest.raises(Denied):
        identify(raw, TRUSTED, NOW)


@pytest.mark.covers("sec:choke")
@pytest.mark.filterwarnings("ignore:Attribute's length", "ignore:Parsed a serial number")
@given(st.integers(0, 10_000), st.integers(1, 255))
# A serial number that is none: cryptography warns of it.
@example(15, 128)
def test_a_certificate_with_one_byte_changed_is_nobody_or_who_it_was(place: int, change: int) -> None:
    """Of a signature's own encoding a few bits do not count."""
    raw = bytearray(FIXED.public_bytes(Encoding.DER))
    raw[place % len(raw)] ^= change
    text = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(bytes(raw)) + b"-----END CERTIFICATE-----\n"
    try:
        found = identify(text, TRUSTED, NOW)
    except Denied:
        return
    assert found == identify(pem(FIXED), TRUSTED, NOW)


class Aborted(Exception):
    """What a fake context raises, as grpc's own does."""


@dataclass
class Context:
    """A call's context: who is at the other end, how long is left, and what it was ended with."""

    pem: bytes = field(default_factory=lambda: pem(operator(LAB, "admin").certificate))
    version: bytes = b"TLSv1.3"
    left: float | None = 5.0
    said: grpc.StatusCode | None = None
    why: str = ""

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"x509_pem_cert": [self.pem] if self.pem else [], "ssl_tls_version": [self.version]}

    def time_remaining(self) -> float | None:
        return self.left

    def code(self) -> grpc.StatusCode | None:
        return self.said

    def details(self) -> bytes:
        return self.why.encode()

    def add_callback(self, ended: Callable[[], None]) -> bool:
        """As of a call that is over already: its answer was taken."""
        del ended
        return False

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        self.said, self.why = code, details
        raise Aborted


ALARMS = Alarms(lambda _: None)
GUARD = Guard(
    Gate(lambda: TRUSTED, lambda: NOW), House(lambda: None, Notes(well, ALARMS, pause=0.01), lambda standing: None)
)


def guarded(method: str, parse: Callable[[bytes], object], act: Callable[..., object]) -> Any:
    """The handler that the guard makes of one."""
    streams = SERVICE.methods_by_name[method].server_streaming
    made = grpc.unary_stream_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler
    handler: Any = made(act, request_deserializer=parse)
    details = type("Details", (), {"method": f"/{SERVICE.full_name}/{method}"})()
    return GUARD.intercept_service(lambda _: handler, details)


def call(handler: Any, raw: bytes, context: Context) -> None:
    if handler.response_streaming:
        list(handler.stream_stream(iter([raw]), context))
    else:
        handler.stream_unary(iter([raw]), context)


@pytest.mark.covers("sec:B1")
@pytest.mark.parametrize("method", [method.name for method in SERVICE.methods])
def test_ten_thousand_random_requests_are_parsed_or_refused_and_nothing_else(method: str) -> None:
    kind = getattr(agent_pb2, f"{method}Request")
    dice = random.Random(f"{method} 1")
    ran: list[object] = []

    def act(request: object, context: object) -> object:
        ran.append(request)
        streams = SERVICE.methods_by_name[method].server_streaming
        return iter(()) if streams else getattr(agent_pb2, f"{method}Response")()

    handler = guarded(method, kind.FromString, act)
    context = Context()
    for _ in range(10_000):
        raw, context.said, before = dice.randbytes(dice.randrange(1, 200)), None, len(ran)
        try:
            call(handler, raw, context)
        except Aborted:
            assert context.said == grpc.StatusCode.INVALID_ARGUMENT
            assert len(ran) == before
            with pytest.raises(DecodeError):
                kind.FromString(raw)
        else:
            assert len(ran) == before + 1


REFUSED = {
    "no certificate": (Context(pem=b""), grpc.StatusCode.UNAUTHENTICATED),
    "TLS 1.2": (Context(version=b"TLSv1.2"), grpc.StatusCode.UNAUTHENTICATED),
    "too low a role": (
        Context(pem=pem(operator(LAB, "observer").certificate)),
        grpc.StatusCode.PERMISSION_DENIED,
    ),
    "no deadline": (Context(left=None), grpc.StatusCode.INVALID_ARGUMENT),
    "the deadline that stands for none": (Context(left=9.2e18), grpc.StatusCode.INVALID_ARGUMENT),
    "a deadline that is over": (Context(left=-0.1), grpc.StatusCode.INVALID_ARGUMENT),
}


@pytest.mark.covers("sec:A1", "sec:F14")
@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("method", ["Plan", "Audit"])
def test_a_refused_call_is_not_even_parsed(kind: str, method: str) -> None:
    context, code = REFUSED[kind]

    def never(*_: object) -> object:
        raise AssertionError("parsed or run")

    with pytest.raises(Aborted):
        call(guarded(method, never, never), b"x", context)
    assert context.said == code


@pytest.mark.covers("sec:F12")
def test_only_type_and_place_of_an_exception_are_told() -> None:
    context = Context()

    def broken(*_: object) -> object:
        raise KeyError("password=hunter2")

    with pytest.raises(Aborted):
        call(guarded("Describe", bytes, broken), b"", context)
    assert context.said == grpc.StatusCode.INTERNAL
    assert context.why.startswith("the agent failed: KeyError at test_access.py:")
    assert "hunter2" not in context.why


def test_a_path_without_a_policy_gets_no_handler_even_where_one_is_registered() -> None:
    handler: Any = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    details = type("Details", (), {"method": "/fleetmedic.v1.AgentService/Other"})()
    assert GUARD.intercept_service(lambda _: handler, details) is None
