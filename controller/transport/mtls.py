"""Calls over mutual TLS: the server's name is always the inventory name, whatever the address."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import grpc.aio

from controller.inventory.connection import Endpoint
from controller.transport import answers
from fleetmedic.v1 import agent_pb2

SERVICE = agent_pb2.DESCRIPTOR.services_by_name["AgentService"].full_name
CHECK = f"/{SERVICE}/Check"
DESCRIBE = f"/{SERVICE}/Describe"
RENEW = f"/{SERVICE}/Renew"
SET_DENYLIST = f"/{SERVICE}/SetDenylist"
SET_FREEZE = f"/{SERVICE}/SetFreeze"
AUDIT = f"/{SERVICE}/Audit"
PLAN = f"/{SERVICE}/Plan"
APPLY = f"/{SERVICE}/Apply"
WATCH = f"/{SERVICE}/Watch"
LIST_OPERATIONS = f"/{SERVICE}/ListOperations"
APPROVE = f"/{SERVICE}/Approve"

# A peer that is gone without a word is found within both on a call that waits. Pings go out during calls alone, and
# not more often than the agent allows (agent/front/server.py): it would end the connection.
PING_EVERY = 5.0
PING_PATIENCE = 2.0
KEEPALIVE = (
    ("grpc.keepalive_time_ms", int(1000 * PING_EVERY)),
    ("grpc.keepalive_timeout_ms", int(1000 * PING_PATIENCE)),
    # Without it a peer that is stopped, whose kernel still acknowledges, is waited for a minute (security.md F18).
    ("grpc.http2.ping_timeout_ms", int(1000 * PING_PATIENCE)),
    # We say nothing while we wait for an answer; without it the third ping would be a minute late.
    ("grpc.http2.max_pings_without_data", 0),
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls: PEM bytes of the certificate chain, its key, and the authority the agents' certificates come from."""

    certificate: bytes
    key: bytes
    agent_authority: bytes

    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.agent_authority, self.key, self.certificate)


def channel(endpoint: Endpoint, address: str, credentials: grpc.ChannelCredentials) -> grpc.aio.Channel:
    """A channel to an agent at an address already resolved. Nothing is dialled before the first call."""
    return grpc.aio.secure_channel(target(address, endpoint.port), credentials, options=_options(endpoint.name))


def _options(name: str) -> Sequence[tuple[str, str | int]]:
    return (
        ("grpc.ssl_target_name_override", name),
        ("grpc.default_authority", name),
        ("grpc.max_receive_message_length", answers.LARGEST),
        # A check is asked once; what fails is reported, not tried again behind the caller's back.
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),
        *KEEPALIVE,
    )


def target(address: str, port: int) -> str:
    return f"ipv6:[{address}]:{port}" if ":" in address else f"ipv4:{address}:{port}"
