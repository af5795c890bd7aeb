"""Who may call which method: the table that the methods' own options in the .proto are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

from google.protobuf.descriptor import ServiceDescriptor

from fleetmedic.v1 import agent_pb2, policy_pb2

SERVICE = agent_pb2.DESCRIPTOR.services_by_name["AgentService"]
HEALTH = "grpc.health.v1.Health"
# A stream that never ends would hold a thread for each of its callers; health is asked, not watched.
UNSERVED = frozenset({f"/{HEALTH}/Watch"})


class Role(IntEnum):
    """Each role may do what the ones below it may."""

    OBSERVER = 1
    RESPONDER = 2
    ADMIN = 3


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
# The worker carries these out, and records them itself; the front records every other one that changes something.
RECORDED_BY_THE_WORKER = frozenset(
    f"/{SERVICE.full_name}/{name}" for name in ("Apply", "Approve", "SetDenylist", "SetFreeze")
)


def check_policy(methods: Iterable[str], rules: Mapping[str, Rule] = POLICY) -> None:
    """Refuses to start with a method that no policy names, or a policy that names none."""
    # Health's methods differ between its releases; ours must fit exactly.
    missing = set(methods) - rules.keys() - UNSERVED
    unknown = {name for name in rules.keys() - set(methods) if not name.startswith(f"/{HEALTH}/")}
    if missing or unknown:
        raise ValueError(f"methods without a policy: {sorted(missing)}; policies without a method: {sorted(unknown)}")


def methods(service: ServiceDescriptor = SERVICE) -> frozenset[str]:
    """The paths of a service's methods."""
    return frozenset(f"/{service.full_name}/{method.name}" for method in service.methods)


def short(method: str) -> str:
    """A method's name as the audit log has it: ours by the last word, others whole."""
    return method.removeprefix(f"/{SERVICE.full_name}/")
