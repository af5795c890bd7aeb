"""The front: gRPC over mutual TLS, unprivileged; passes authorised requests to the worker and streams its answers."""

import os
import select
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import BoundedSemaphore

import grpc
from cryptography import x509
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from agent import access, budgets, frames
from agent.access import Gate, Guard, Peer
from agent.config import Config, TlsFiles
from agent.identity import clock, identity
from agent.rule import seconds
from agent.toml_reader import ConfigError
from fleetmedic.v1 import agent_pb2_grpc
from fleetmedic.v1.agent_pb2 import CheckRequest, CheckResponse, DescribeRequest, DescribeResponse, Identity
from fleetmedic.v1.local_pb2 import (
    REFUSAL_KIND_BUSY,
    REFUSAL_KIND_INVALID,
    REFUSAL_KIND_NOT_FOUND,
    REFUSAL_KIND_NOT_PERMITTED,
    Caller,
    LocalRequest,
    LocalResponse,
)

IMPLEMENTED = ("Describe", "Check")
# Checks at once, and threads kept for Describe and health: open streams must not starve them.
MOST_CHECKS = 8
RESERVED_THREADS = 4
WORKER_CONNECT = 1.0
# How often a waiting call looks whether its caller is still there, in seconds.
LOOK_UP = 0.25
DESCRIBE_WORKER = 3.0
OPTIONS = (
    # Without it a second server binds the same port silently (security.md F13).
    ("grpc.so_reuseport", 0),
    ("grpc.server_handshake_timeout_ms", 5000),
    ("grpc.max_receive_message_length", 64 * 1024),
    # A window that stays small: requests are, and an oversize one is buffered up to the window before it is refused.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_send_message_length", 4 * 1024 * 1024),
    ("grpc.max_concurrent_streams", 32),
    ("grpc.max_connection_age_ms", 15 * 60 * 1000),
    ("grpc.max_connection_age_grace_ms", 60 * 1000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3000),
    ("grpc.http2.ping_timeout_ms", 3000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5000),
    # Callers ping every 5 s, by their own timers: what comes a little early must not end their connection.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 4000),
)
# A request, for how long, and whether the caller still waits.
Ask = Callable[[LocalRequest, float, Callable[[], bool]], Iterator[LocalResponse]]
Whose = Callable[[grpc.ServicerContext], Peer]


class WorkerAway(Exception):
    """The worker can't be reached, or gave no proper answer."""


class AgentService(agent_pb2_grpc.AgentServiceServicer):
    """The methods of this build. `ask` brings a request to the worker; `whose` says who calls."""

    def __init__(self, own: Identity, ask: Ask, whose: Whose, clock: Callable[[], float]) -> None:
        self._identity = own
        self._ask = ask
        self._whose = whose
        self._clock = clock
        self._slots = BoundedSemaphore(MOST_CHECKS)

    def Describe(self, request: DescribeRequest, context: grpc.ServicerContext) -> DescribeResponse:
        received = self._clock()
        context.send_initial_metadata(())
        made = DescribeResponse(kernel=os.uname().release)
        try:
            for answer in self._ask(
                LocalRequest(describe=request, caller=self._caller(context)), DESCRIBE_WORKER, context.is_active
            ):
                made.CopyFrom(answer.describe)
                made.worker_error = answer.refusal.reason
        except WorkerAway as error:
            made.worker_error = str(error)
        made.agent.CopyFrom(self._identity)
        made.methods.extend(IMPLEMENTED)
        made.role = self._caller(context).role
        made.clock.CopyFrom(clock(received))
        return made

    def Check(self, request: CheckRequest, context: grpc.ServicerContext) -> Iterator[CheckResponse]:
        received = self._clock()
        # At once: a caller learns from it that the set-up is over and the looking begins.
        context.send_initial_metadata(())
        if not self._slots.acquire(blocking=False):
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MOST_CHECKS} checks are under way on this host already"
            )
        try:
            yield from self._check(request, context, received)
        finally:
            self._slots.release()

    def _check(self, request: CheckRequest, context: grpc.ServicerContext, received: float) -> Iterator[CheckResponse]:
        left = min(context.time_remaining() or budgets.CHECK, budgets.LONGEST_CALL)
        request.budget.FromNanoseconds(int(1e9 * min(max(seconds(request.budget), -1.0) or left, left)))
        try:
            for answer in self._ask(
                LocalRequest(check=request, caller=self._caller(context)), left + 1, context.is_active
            ):
                if answer.HasField("refusal"):
                    code = CODES.get(answer.refusal.kind, grpc.StatusCode.INTERNAL)
                    context.abort(code, answer.refusal.reason)
                yield self._stamped(answer.check, received)
        except WorkerAway as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    def _stamped(self, answer: CheckResponse, received: float) -> CheckResponse:
        """The front's identity and clock: it is the front that the caller's stamps are about."""
        if answer.HasField("agent"):
            answer.agent.CopyFrom(self._identity)
            answer.clock.CopyFrom(clock(received))
        elif answer.HasField("clock"):
            answer.clock.answered_time.GetCurrentTime()
        return answer

    def _caller(self, context: grpc.ServicerContext) -> Caller:
        peer = self._whose(context)
        return Caller(role=peer.role.name.lower(), user=peer.user)


CODES = {
    REFUSAL_KIND_BUSY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    REFUSAL_KIND_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    REFUSAL_KIND_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    REFUSAL_KIND_NOT_PERMITTED: grpc.StatusCode.PERMISSION_DENIED,
}


def ask_worker(
    place: Path, request: LocalRequest, patience: float, wanted: Callable[[], bool]
) -> Iterator[LocalResponse]:
    """The worker's answers over its socket, while they are wanted. WorkerAway where there are none."""
    deadline = time.monotonic() + patience
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(WORKER_CONNECT)
        try:
            connection.connect(str(place))
            connection.settimeout(None)
            frames.write(connection.fileno(), request)
            whole = False
            while _readable(connection, deadline, wanted) and (
                (answer := frames.read(connection.fileno(), LocalResponse, deadline)) is not None
            ):
                whole = not answer.HasField("check") or answer.check.last
                yield answer
            if not whole:
                raise WorkerAway("the agent's worker ended before its answer was whole")
        except OSError as error:
            raise WorkerAway(f"the agent's worker is away: {error.strerror or type(error).__name__}") from error
        except frames.FrameError as error:
            raise WorkerAway(f"the agent's worker gave no answer: {error}") from error


def _readable(connection: socket.socket, deadline: float, wanted: Callable[[], bool]) -> bool:
    """Whether there is something to read; not, once nobody waits for it. WorkerAway at the deadline."""
    while not select.select([connection], [], [], LOOK_UP)[0]:
        if not wanted():
            return False
        if time.monotonic() > deadline:
            raise WorkerAway("the agent's worker gave no answer in time")
    return True


def serve(config: Config, utc: access.Utc, ready: Callable[[int], None]) -> None:
    """Serves until SIGTERM or SIGINT. `ready` is called with the port once it listens. ConfigError before that."""
    if config.tls is None:
        raise ConfigError(f"{config.file or 'agent.toml'}: [tls] is missing: fleetmedic pki issue makes the files")
    certificate = _certificate(config.tls.certificate, "certificate")
    name = _server_name(config, certificate)
    gate = Gate(_org(_certificate(config.tls.client_ca, "client_ca")), utc)
    place = config.run / "worker.sock"
    # The generated base class answers the other methods.
    service = AgentService(  # type: ignore[abstract]
        identity(name, time.time()),
        lambda request, patience, wanted: ask_worker(place, request, patience, wanted),
        gate.peer,
        time.time,
    )
    # Kept for sigwait(), by this thread and by all that gRPC starts: one that comes early must not be lost.
    endings = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, endings)
    server, port = listening(config, service, gate, _credentials(config.tls))
    server.start()
    ready(port)
    # It idles at 0.08 % of a core, wait_for_termination() at 0.2 %.
    signal.sigwait(endings)
    server.stop(grace=1.0).wait()


def listening(
    config: Config, service: agent_pb2_grpc.AgentServiceServicer, gate: Gate, credentials: grpc.ServerCredentials
) -> tuple[grpc.Server, int]:
    """A server, not yet started, and its port. ValueError: a method has no policy; ConfigError: the port is taken."""
    alive = health.HealthServicer()
    alive.set(access.SERVICE.full_name, health_pb2.HealthCheckResponse.SERVING)
    health_methods = {
        f"/{access.HEALTH}/{row.name}" for row in health_pb2.DESCRIPTOR.services_by_name["Health"].methods
    }
    access.check_policy(access.service_methods() | health_methods)
    server = grpc.server(
        ThreadPoolExecutor(MOST_CHECKS + RESERVED_THREADS, "rpc"),
        interceptors=[Guard(gate)],
        options=OPTIONS,
        maximum_concurrent_rpcs=64,
    )
    agent_pb2_grpc.add_AgentServiceServicer_to_server(service, server)
    health_pb2_grpc.add_HealthServicer_to_server(alive, server)
    try:
        return server, server.add_secure_port(config.listen, credentials)
    except RuntimeError as error:
        raise ConfigError(
            f"{config.file}: listen: {config.listen} can't be bound: is another agent running?"
        ) from error


def _credentials(files: TlsFiles) -> grpc.ServerCredentials:
    pair = (_bytes(files.key, "key"), _bytes(files.certificate, "certificate"))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.certificate, files.key)
    except ssl.SSLError as error:
        raise ConfigError(f"{files.key}: does not belong to {files.certificate}, or is no key") from error
    return grpc.ssl_server_credentials([pair], _bytes(files.client_ca, "client_ca"), require_client_auth=True)


def _bytes(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: tls.{field} can't be read: {error.strerror}") from error


def _certificate(path: Path, field: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_bytes(path, field))
    except ValueError as error:
        raise ConfigError(f"{path}: tls.{field} is no PEM certificate") from error


def _server_name(config: Config, certificate: x509.Certificate) -> str:
    """The DNS name of the certificate, which is the name in the inventory."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = names.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        found = []
    if not found:
        raise ConfigError(
            f"{config.tls and config.tls.certificate}: has no DNS name: issue it with fleetmedic pki issue"
        )
    return found[0]


def _org(authority: x509.Certificate) -> str:
    found = authority.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if not found:
        raise ConfigError("tls.client_ca: names no organisation: make it with fleetmedic pki init")
    return str(found[0].value)
