"""Agents that answer as a test says: late, broken off, hostile; over real mutual TLS, under as many names as wanted."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
from cryptography.hazmat.primitives import serialization

from controller.inventory.connection import Endpoint
from controller.transport.mtls import AUDIT, CHECK, DESCRIBE, RENEW, SET_DENYLIST, SET_FREEZE, Identity
from tests.lab.authority import CLIENT, Authority, Issued, pem

Call = grpc.ServicerContext
Answer = Callable[[bytes, Call], Iterator[bytes]]
MOST_CALLS = 64
UNARY = (DESCRIBE, RENEW, SET_DENYLIST, SET_FREEZE)
OPERATOR = "spiffe://lab/role/observer/user/alice"


@dataclass
class Crowd:
    """Counts how many are inside at once."""

    inside: int = 0
    most: int = 0
    seen: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        with self._lock:
            self.seen += 1
            self.inside += 1
            self.most = max(self.most, self.inside)
        try:
            yield
        finally:
            with self._lock:
                self.inside -= 1


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, answer: Answer, audit: Answer) -> None:
        self._answer = answer
        self._audit = audit

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        if handler_call_details.method == CHECK:
            return grpc.unary_stream_rpc_method_handler(self._answer)
        if handler_call_details.method == AUDIT:
            return grpc.unary_stream_rpc_method_handler(self._audit)
        if handler_call_details.method in UNARY:
            return grpc.unary_unary_rpc_method_handler(lambda request, call: next(self._answer(request, call)))
        return None


@contextlib.contextmanager
def serving(
    authority: Authority, names: Sequence[str], answer: Answer, audit: Answer | None = None
) -> Iterator[list[Endpoint]]:
    """Serve one answer under these names, on one port of loopback; `audit` to those who ask for the log, if another."""
    issued = authority.issue(names[0], dns=names)
    server = grpc.server(
        ThreadPoolExecutor(MOST_CALLS),
        handlers=[_Handler(answer, audit or answer)],
        options=(("grpc.so_reuseport", 0),),
    )
    port = server.add_secure_port(
        "127.0.0.1:0", grpc.ssl_server_credentials([(key(issued), pem(issued.certificate))], pem(issued.root), True)
    )
    server.start()
    try:
        yield [Endpoint(name, "127.0.0.1", port) for name in names]
    finally:
        server.stop(None).wait(10)


def identity(authority: Authority) -> Identity:
    """Make what an operator calls with."""
    issued = authority.issue("alice", uris=[OPERATOR], usages=[CLIENT])
    return Identity(pem(issued.certificate), key(issued), pem(issued.root))


def key(issued: Issued) -> bytes:
    return issued.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
