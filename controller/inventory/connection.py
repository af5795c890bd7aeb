"""Where a host's agent is: the address to dial and the agent's port, from the host's variables."""

from dataclasses import dataclass

from controller.inventory.graph import Host
from controller.inventory.names import address_flaw
from controller.inventory.origins import InventoryError
from controller.inventory.templates import used
from controller.inventory.variables import Variable

DEFAULT_PORT = 7443
# What is said of a host without one.
AGENTLESS = (
    "no agent by the inventory: ansible_connection is local or docker; "
    "with fleetmedic_address or fleetmedic_port it is asked"
)
_ADDRESSES = ("fleetmedic_address", "ansible_ssh_host", "ansible_host")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One agent: the name its certificate bears, and the address and TCP port to dial."""

    name: str
    address: str
    port: int


def endpoint(host: Host) -> Endpoint:
    """Where the host's agent listens. Raises InventoryError where a variable is no address or no port.

    `ansible_port` is the SSH port and is not looked at.
    """
    return Endpoint(host.name, _address(host), _port(used(host, "fleetmedic_port")))


def has_agent(host: Host) -> bool:
    """False where `ansible_connection` is local or docker and no fleetmedic_address or fleetmedic_port is given."""
    connection = used(host, "ansible_connection")
    if connection is None or connection.value not in ("local", "docker"):
        return True
    return "fleetmedic_address" in host.variables or "fleetmedic_port" in host.variables


def _address(host: Host) -> str:
    for field in _ADDRESSES:
        variable = used(host, field)
        if variable is not None:
            return _checked(variable, field)
    return host.name


def _checked(variable: Variable, field: str) -> str:
    value = variable.value
    if not isinstance(value, str):
        raise InventoryError.at(
            variable.origin, f"{field} is {variable.said()}, not a text", "write an address or a host name, in quotes"
        )
    flaw = address_flaw(value)
    if flaw is not None:
        raise InventoryError.at(
            variable.origin, f"{field} {variable.said()} is no address: {flaw}", "write an address or a host name"
        )
    return value


def _port(variable: Variable | None) -> int:
    if variable is None:
        return DEFAULT_PORT
    value = variable.value
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535:
        return value
    raise InventoryError.at(
        variable.origin,
        f"fleetmedic_port is {variable.said()}, not a port",
        "write a number from 1 to 65535, without quotes",
    )
