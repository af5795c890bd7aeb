"""One choke point before every method, and before its request is awaited: who calls, in which role, for how long."""

import datetime
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError

from agent import boundary, budgets
from agent.front.callers import Denied, Peer, Trusted, identify
from agent.front.noting import Notes, NotRecorded
from agent.front.policy import POLICY, RECORDED_BY_THE_WORKER, short
from agent.front.watching import Watch
from fleetmedic.v1.agent_pb2 import Freeze, Standing
from fleetmedic.v1.local_pb2 import Caller

Utc = Callable[[], datetime.datetime]
T = TypeVar("T")

# gRPC rounds a long deadline up to whole seconds, by a time it may have taken a while ago, and turns it back with two
# clocks: on a machine with three times the work it can do 599 s were seen to arrive as more than 605. What a call may
# take is bounded all the same: agent/front/service.py gives it LONGEST_CALL at most.
CLOCK_ERROR = 60.0
# What gRPC makes of no deadline is longer than this, in seconds.
ENDLESS = 1e9


@dataclass(frozen=True, slots=True)
class Gate:
    """Whom this host lets call at this moment, and the clock."""

    trusted: Callable[[], Trusted]
    utc: Utc

    def peer(self, context: grpc.ServicerContext) -> Peer:
        """Who calls. Denied where it is nobody, or nobody any more."""
        # A list for each key, whatever the stubs say.
        auth = cast("Mapping[str, list[bytes]]", context.auth_context())
        pems = auth.get("x509_pem_cert", [])
        if not pems or auth.get("ssl_tls_version") != [b"TLSv1.3"]:
            raise Denied(grpc.StatusCode.UNAUTHENTICATED, "a client certificate over TLS 1.3 is needed")
        return identify(pems[0], self.trusted(), self.utc())

    def waiting(self, context: grpc.ServicerContext) -> bool:
        """Whether a caller still waits. Denied where it may call no more, though its connection is an older one."""
        self.peer(context)
        return bool(context.is_active())

    def admit(self, method: str, context: grpc.ServicerContext) -> Peer:
        peer = self.peer(context)
        if peer.role < POLICY[method].role:
            needed = POLICY[method].role.name.lower()
            reason = f"{peer.user} is {peer.role.name.lower()}; needs {needed}"
            raise Denied(grpc.StatusCode.PERMISSION_DENIED, reason, peer)
        left = context.time_remaining()
        # No deadline is 9.2e18 s, and None over some transports (security.md F14).
        if not 0 < (left or 0) <= budgets.LONGEST_CALL + CLOCK_ERROR:
            raise Denied(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"a deadline of at most {budgets.LONGEST_CALL:g} s is needed, and not {_said(left)}",
                peer,
            )
        return peer


def _said(left: float | None) -> str:
    return f"{left:.3f} s" if left is not None and left < ENDLESS else "none at all"


@dataclass(frozen=True, slots=True)
class House:
    """What the guard goes by beside the gate; `complete` adds to how the agent stands what the front knows."""

    freeze: Callable[[], Freeze | None]
    notes: Notes
    complete: Callable[[Standing], None]


class Guard(grpc.ServerInterceptor):
    """Puts the gate before every handler, which gets its request as bytes, when it comes: one who is not let in can
    have nothing parsed, and can hold no thread by not sending any.
    """

    def __init__(self, gate: Gate, house: House) -> None:
        self._gate = gate
        self._house = house
        self._watch = Watch(gate.waiting)

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:  # noqa: ANN401 - grpc's own types
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method not in POLICY:
            return None
        if handler.response_streaming:
            behaviour, made = self._stream(method, handler), grpc.stream_stream_rpc_method_handler
        else:
            behaviour, made = self._unary(method, handler), grpc.stream_unary_rpc_method_handler
        return made(behaviour, request_deserializer=None, response_serializer=handler.response_serializer)

    def _unary(self, method: str, handler: Any) -> Callable[[Iterator[bytes], Any], Any]:  # noqa: ANN401
        def call(sent: Iterator[bytes], context: grpc.ServicerContext) -> Any:  # noqa: ANN401
            peer, request = self._admitted(method, handler, sent, context)

            def act() -> Any:  # noqa: ANN401
                return handler.unary_unary(request, context)

            recorded = POLICY[method].changes and method not in RECORDED_BY_THE_WORKER
            made = (
                self._recorded(method, peer.caller(), context, act)
                if recorded
                else self._contained(method, context, act)
            )
            self._watch.until_taken(context, peer.user, made.ByteSize())
            return made

        return call

    def _stream(self, method: str, handler: Any) -> Callable[[Iterator[bytes], Any], Iterator[Any]]:  # noqa: ANN401
        def call(sent: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
            _, request = self._admitted(method, handler, sent, context)
            answers = self._contained(method, context, lambda: iter(handler.unary_stream(request, context)))

            def following() -> Any:  # noqa: ANN401
                made = next(answers, None)
                # While it was made the caller may have been denied.
                self._gate.peer(context)
                return made

            try:
                while (made := self._contained(method, context, following)) is not None:
                    with self._watch.over(context, made.ByteSize()):
                        yield made
            finally:
                # At once, however it ended: what it holds of the worker others wait for.
                if isinstance(answers, Generator):
                    answers.close()

        return call

    def _admitted(
        self, method: str, handler: Any, sent: Iterator[bytes], context: grpc.ServicerContext
    ) -> tuple[Peer, Any]:  # noqa: ANN401
        peer = self._contained(method, context, lambda: self._permitted(method, context))
        if self._watch.crowded(peer.user):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"calls of {peer.user} hang already")
        with self._watch.awaiting(context, peer.user):
            raw = next(sent, None)
        if raw is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call came without a request")
        try:
            return peer, handler.request_deserializer(raw)
        except DecodeError:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request is not what this method takes")

    def _permitted(self, method: str, context: grpc.ServicerContext) -> Peer:
        peer = self._gate.admit(method, context)
        if POLICY[method].frozen and (freeze := self._house.freeze()) is not None:
            raise Denied(grpc.StatusCode.FAILED_PRECONDITION, _frozen(freeze), peer)
        return peer

    def _refuse(self, method: str, context: grpc.ServicerContext, denied: Denied) -> NoReturn:
        caller = denied.peer.caller() if denied.peer else Caller()
        self._house.notes.refused(caller, short(method), f"{denied.code.name}: {denied.reason}")
        context.abort(denied.code, denied.reason)

    def _recorded(self, method: str, caller: Caller, context: grpc.ServicerContext, act: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Carries out what changes something between two records: without the first there is no change.

        What the call's status says is what the second one says.
        """
        notes, name = self._house.notes, short(method)
        try:
            standing = notes.write(caller, name, "begun")
        except NotRecorded as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"no audit, no change: {error}")

        def failed(error: Exception) -> NoReturn:
            with suppress(NotRecorded):
                notes.write(caller, name, "failed", _details(context) or boundary.where(error))
            self._fail(method, context, error)

        made = boundary.contain(act, failed)
        # It is done, whether or not that can be recorded; if not, an alarm is in the answer.
        with suppress(NotRecorded):
            standing = notes.write(caller, name, "done", _details(context))
        self._house.complete(standing)
        made.standing.CopyFrom(standing)
        return made

    def _contained(self, method: str, context: grpc.ServicerContext, act: Callable[[], T]) -> T:
        return boundary.contain(act, lambda error: self._fail(method, context, error))

    def _fail(self, method: str, context: grpc.ServicerContext, error: Exception) -> NoReturn:
        """What a caller learns of a bug: where it is, never the exception's text (security.md F12)."""
        if isinstance(error, Denied):
            self._refuse(method, context, error)
        if isinstance(error, NotImplementedError):
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "this version does not have that method")
        if cast("Any", context).code() is not None and type(error) is Exception and not error.args:
            # abort() was called on purpose, and raises this: the answer is there already.
            raise error
        context.abort(grpc.StatusCode.INTERNAL, f"the agent failed: {boundary.where(error)}")


def _details(context: grpc.ServicerContext) -> str:
    said = cast("Any", context).details()
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said or ""


def _frozen(freeze: Freeze) -> str:
    if not freeze.user:
        return f"frozen: {freeze.reason}"
    since = freeze.since_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"frozen by {freeze.user} since {since}: {freeze.reason}"
