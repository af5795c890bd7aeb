"""What a call that failed means, for people: from gRPC's codes and texts to a state and a sentence."""

import re
from collections.abc import Sequence

import grpc
import grpc.aio

from controller.endings import State
from controller.inventory.connection import Endpoint
from controller.transport.mtls import PING_PATIENCE

UNTRUSTED = "the agent's certificate is out of date, or not from the authority given with --ca"
NO_ANSWER = "sent what is no answer: another program, or an agent of another version, listens there"


def _text(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


NO_DESCRIPTORS = _text("too many open files|EMFILE|ENFILE")
# gRPC says UNAVAILABLE of all of these, so its text decides; the first that matches.
CONNECTION_CAUSES: Sequence[tuple[re.Pattern[str], str]] = (
    (_text("connection refused|ECONNREFUSED"), "TCP {port} refused: no agent listens there"),
    (_text("no route to host|network is unreachable|EHOSTUNREACH|ENETUNREACH"), "no route to the host"),
    (
        _text("not in peer certificate|peer name|hostname verification|No match found"),
        "another host answers there: its certificate is not for {name}",
    ),
    (
        _text("certificate verify failed|CERTIFICATE_VERIFY_FAILED|unknown ca|expired"),
        UNTRUSTED,
    ),
    (
        _text("handshake|ssl|tls|certificate|closed"),
        "TLS was refused: is our certificate from the authority that this agent trusts?",
    ),
)
# The same of a call that was taken: what became of its connection. Other texts are the agent's own words.
LOST: Sequence[tuple[re.Pattern[str], tuple[State, str]]] = (
    (
        _text("ping timeout|keepalive"),
        (
            State.TIMEOUT,
            f"connected, then not a sign for {PING_PATIENCE:g}s: host down, network cut, or its agent is stopped",
        ),
    ),
    (
        _text(r"^stream removed|^socket closed|^recvmsg|^connection reset|^broken pipe"),
        (State.FAILED, "the connection was cut in the middle of its answer: agent ended, or network cut"),
    ),
)


def rpc_cause(
    error: grpc.aio.AioRpcError, endpoint: Endpoint, deadline: float, *, connected: bool
) -> tuple[State, str]:
    """The state of a host whose call ended with `error`, and why; `deadline` in seconds."""
    code, details = error.code(), error.details() or ""
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        if not connected:
            return State.UNREACHABLE, f"no connection within the deadline of {deadline:g}s: host down, or overloaded"
        return State.TIMEOUT, f"connected, but no whole answer within the deadline of {deadline:g}s"
    if code == grpc.StatusCode.NOT_FOUND:
        return State.SKIPPED, details
    if code == grpc.StatusCode.INVALID_ARGUMENT:
        return State.FAILED, details
    if code != grpc.StatusCode.UNAVAILABLE:
        return State.FAILED, f"{code.name.lower().replace('_', ' ')}: {details}"
    if NO_DESCRIPTORS.search(details):
        return State.NOT_ATTEMPTED, "this machine ran out of open files: raise ulimit -n"
    if connected:
        return next((ending for pattern, ending in LOST if pattern.search(details)), (State.FAILED, details))
    known = (cause for pattern, cause in CONNECTION_CAUSES if pattern.search(details))
    cause = next(known, details.partition("\n")[0][:200])
    return State.UNREACHABLE, cause.replace("{port}", str(endpoint.port)).replace("{name}", endpoint.name)
