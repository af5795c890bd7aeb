"""Who may call what: one choke point before every method, and before its request is parsed.

Identity comes from the client's certificate alone, read anew at every call: a live or resumed connection outlives the
certificate it was opened with (security.md F1, F3).
"""

import datetime
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NoReturn, cast

import grpc
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError

from agent import boundary, budgets
from fleetmedic.v1 import agent_pb2, policy_pb2

Utc = Callable[[], datetime.datetime]

SERVICE = agent_pb2.DESCRIPTOR.services_by_name["AgentService"]
HEALTH = "grpc.health.v1.Health"


class Role(IntEnum):
    """Each role may do what the ones below it may."""

    OBSERVER = 1
    RESPONDER = 2
    ADMIN = 3


# A stream that never ends would hold a thread for each of its callers; health is asked, not watched.
UNSERVED = frozenset({f"/{HEALTH}/Watch"})
# gRPC rounds a long deadline up to whole seconds, by a time it may have taken a while ago, and turns it back with two
# clocks: on a machine with three times the work it can do 599 s were seen to arrive as more than 605. What a call may
# take is bounded all the same: agent/server.py gives it LONGEST_CALL at most.
CLOCK_ERROR = 60.0
# What gRPC makes of no deadline is longer than this, in seconds.
ENDLESS = 1e9


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call a method; whether it changes anything, and whether it is refused while the agent is frozen."""

    role: Role
    changes: bool = False
    frozen: bool = False


def policy(service: ServiceDescriptor) -> Mapping[str, Rule]:
    """The table that the methods' own options are. A method without a role has no row, and stops the agent's start."""
    options = {
        f"/{service.full_name}/{row.name}": row.GetOptions().Extensions[policy_pb2.policy] for row in service.methods
    }
    return {
        name: Rule(Role(said.least_role), said.changes, said.frozen)
        for name, said in options.items()
        if said.least_role
    }


# Every method there is. Health's service is not ours to write options into.
POLICY: Mapping[str, Rule] = MappingProxyType(
    {**policy(SERVICE), f"/{HEALTH}/Check": Rule(Role.OBSERVER), f"/{HEALTH}/List": Rule(Role.OBSERVER)}
)
URI = re.compile(
    r"spiffe://([a-z0-9][a-z0-9.-]{0,127})/role/(observer|responder|admin)/user/([a-z0-9][a-z0-9._-]{0,62})"
)


@dataclass(frozen=True, slots=True)
class Peer:
    """Who calls, by the certificate."""

    user: str
    role: Role


class Denied(Exception):
    """The call is refused; `code` is what the caller sees."""

    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def check_policy(methods: frozenset[str]) -> None:
    """Refuses to start with a method that no policy names, or a policy that names none."""
    # Health's methods differ between its releases; ours must fit exactly.
    missing = methods - POLICY.keys() - UNSERVED
    unknown = {name for name in POLICY.keys() - methods if not name.startswith(f"/{HEALTH}/")}
    if missing or unknown:
        raise ValueError(f"methods without a policy: {sorted(missing)}; policies without a method: {sorted(unknown)}")


def service_methods() -> frozenset[str]:
    return frozenset(f"/{SERVICE.full_name}/{method.name}" for method in SERVICE.methods)


@lru_cache(maxsize=256)
def _parsed(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def identify(pem: bytes, org: str, now: datetime.datetime) -> Peer:
    """The peer a client certificate stands for. Denied where it is out of date, or is no operator's."""
    try:
        return _identify(_parsed(pem), org, now)
    except (ValueError, x509.DuplicateExtension) as error:
        # What OpenSSL lets pass and a strict parser does not: its message would quote the certificate.
        raise Denied(grpc.StatusCode.UNAUTHENTICATED, "the client certificate can't be read") from error


def _identify(certificate: x509.Certificate, org: str, now: datetime.datetime) -> Peer:
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        raise Denied(grpc.StatusCode.UNAUTHENTICATED, "the client certificate is out of date: get a new one")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise Denied(grpc.StatusCode.UNAUTHENTICATED, "the client certificate is no operator's") from error
    uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    found = URI.fullmatch(uris[0]) if len(uris) == 1 and len(names) == 1 else None
    if list(usage) != [ExtendedKeyUsageOID.CLIENT_AUTH] or found is None or found[1] != org:
        raise Denied(grpc.StatusCode.UNAUTHENTICATED, "the client certificate is no operator's")
    return Peer(found[3], Role[found[2].upper()])


@dataclass(frozen=True, slots=True)
class Gate:
    """The choke point: the organisation whose operators may call, and the clock."""

    org: str
    utc: Utc

    def peer(self, context: grpc.ServicerContext) -> Peer:
        # A list for each key, whatever the stubs say.
        auth = cast("Mapping[str, list[bytes]]", context.auth_context())
        pems = auth.get("x509_pem_cert", [])
        if not pems or auth.get("ssl_tls_version") != [b"TLSv1.3"]:
            raise Denied(grpc.StatusCode.UNAUTHENTICATED, "a client certificate over TLS 1.3 is needed")
        return identify(pems[0], self.org, self.utc())

    def admit(self, method: str, context: grpc.ServicerContext) -> Peer:
        peer = self.peer(context)
        if peer.role < POLICY[method].role:
            needed = POLICY[method].role.name.lower()
            raise Denied(grpc.StatusCode.PERMISSION_DENIED, f"{peer.user} is {peer.role.name.lower()}; needs {needed}")
        left = context.time_remaining()
        # No deadline is 9.2e18 s, and None over some transports (security.md F14).
        if not 0 < (left or 0) <= budgets.LONGEST_CALL + CLOCK_ERROR:
            raise Denied(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"a deadline of at most {budgets.LONGEST_CALL:g} s is needed, and not {_said(left)}",
            )
        return peer


def _said(left: float | None) -> str:
    return f"{left:.3f} s" if left is not None and left < ENDLESS else "none at all"


class Guard(grpc.ServerInterceptor):
    """Puts the gate before every handler. The handler gets bytes, so nothing is parsed for a caller not let in."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:  # noqa: ANN401 - grpc's own types
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method not in POLICY:
            return None
        if handler.response_streaming:
            behaviour, made = self._stream(method, handler), grpc.unary_stream_rpc_method_handler
        else:
            behaviour, made = self._unary(method, handler), grpc.unary_unary_rpc_method_handler
        return made(behaviour, request_deserializer=None, response_serializer=handler.response_serializer)

    def _unary(self, method: str, handler: Any) -> Callable[[bytes, Any], Any]:  # noqa: ANN401
        def call(raw: bytes, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
            request = self._admitted(method, handler, raw, context)
            return boundary.contain(lambda: handler.unary_unary(request, context), lambda error: fail(context, error))

        return call

    def _stream(self, method: str, handler: Any) -> Callable[[bytes, Any], Iterator[Any]]:  # noqa: ANN401
        def call(raw: bytes, context: grpc.ServicerContext) -> Iterator[Any]:
            request = self._admitted(method, handler, raw, context)
            answers = boundary.contain(
                lambda: iter(handler.unary_stream(request, context)), lambda error: fail(context, error)
            )
            while (
                made := boundary.contain(lambda: next(answers, None), lambda error: fail(context, error))
            ) is not None:
                yield made

        return call

    def _admitted(self, method: str, handler: Any, raw: bytes, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        try:
            self._gate.admit(method, context)
        except Denied as denied:
            context.abort(denied.code, denied.reason)
        try:
            return handler.request_deserializer(raw)
        except DecodeError:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request is not what this method takes")


def fail(context: grpc.ServicerContext, error: Exception) -> NoReturn:
    """What a caller learns of a bug: where it is, never the exception's text (security.md F12)."""
    if isinstance(error, NotImplementedError):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "this version does not have that method")
    if cast("Any", context).code() is not None and type(error) is Exception and not error.args:
        # abort() was called on purpose, and raises this: the answer is there already.
        raise error
    context.abort(grpc.StatusCode.INTERNAL, f"the agent failed: {boundary.where(error)}")
