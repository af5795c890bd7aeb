"""The front: gRPC over mutual TLS, unprivileged; passes authorised requests to the worker and streams its answers."""

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from agent import boundary, freezing, own_certificate
from agent.config import Config
from agent.front import policy, worker
from agent.front.access import Gate, Guard, House, Utc
from agent.front.alarms import Alarms, Say
from agent.front.files import Held
from agent.front.noting import Notes
from agent.front.service import AgentService
from agent.front.slots import MOST_STREAMS
from agent.front.unkept import Unkept
from agent.identity import identity
from agent.toml_reader import ConfigError
from fleetmedic.v1 import agent_pb2_grpc

# Threads kept for Describe, health and the short calls: open streams must not starve them.
RESERVED_THREADS = 4
# How often the files are looked at, in seconds. One look costs 20 us.
LOOK = 1.0
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
    # Of what callers send, who ping every 5 s by timers of their own: one a little early must not end its connection.
    ("grpc.http2.min_ping_interval_without_data_ms", 4000),
)


def serve(config: Config, utc: Utc, ready: Callable[[int], None], say: Say) -> None:
    """Serves until SIGTERM or SIGINT. `ready` is called with the port once it listens. ConfigError before that.

    Certificate, key, authorities and denylist are taken anew when their files change, and at SIGHUP.
    """
    if config.tls is None:
        raise ConfigError(f"{config.file or 'agent.toml'}: [tls] is missing: fleetmedic pki issue makes the files")
    own_certificate.recover(config.tls)
    alarms = Alarms(say)
    held = Held(config, config.tls, utc, alarms)
    ask = partial(worker.ask, config.run / "worker.sock")
    gate = Gate(held.trusted, utc)
    house = House(lambda: freezing.read(config.trust), Notes(ask, alarms), held.complete)
    service = AgentService(
        identity(held.name, time.time()), ask, gate.peer, gate.waiting, held, Unkept(ask, alarms), time.time
    )
    # Kept for sigtimedwait(), by this thread and by all that gRPC starts: one that comes early must not be lost.
    endings = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, endings | {signal.SIGHUP})
    server, port = listening(config, service, Guard(gate, house), held.credentials())
    server.start()
    ready(port)
    # It idles at 0.08 % of a core, wait_for_termination() at 0.2 %.
    while (came := signal.sigtimedwait(endings | {signal.SIGHUP}, LOOK)) is None or came.si_signo not in endings:
        asked = came is not None
        boundary.contain(
            lambda: held.look(anew=asked),  # noqa: B023 - called at once
            lambda error: say(f"a bug of ours: {boundary.where(error)}; please report this line"),
        )
    server.stop(grace=1.0).wait()


def listening(
    config: Config, service: agent_pb2_grpc.AgentServiceServicer, guard: Guard, credentials: grpc.ServerCredentials
) -> tuple[grpc.Server, int]:
    """A server, not yet started, and its port. ValueError: a method has no policy; ConfigError: the port is taken."""
    alive = health.HealthServicer()
    alive.set(policy.SERVICE.full_name, health_pb2.HealthCheckResponse.SERVING)
    policy.check_policy(policy.methods() | policy.methods(health_pb2.DESCRIPTOR.services_by_name["Health"]))
    server = grpc.server(
        ThreadPoolExecutor(MOST_STREAMS + RESERVED_THREADS, "rpc"),
        interceptors=[guard],
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
