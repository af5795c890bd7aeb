"""Where a host's agent and its SSH are: addresses, ports and users, from the host's variables."""

import re
from dataclasses import dataclass

from controller.inventory.graph import Host
from controller.inventory.names import address_flaw, is_address
from controller.inventory.origins import InventoryError
from controller.inventory.templates import used
from controller.inventory.variables import Variable

DEFAULT_PORT = 7443
DEFAULT_SSH_PORT = 22
# What is said of a host without one.
AGENTLESS = (
    "no agent by the inventory: ansible_connection is local or docker; "
    "with fleetmedic_address or fleetmedic_port it is asked"
)
# As AGENTLESS, of one that is asked over SSH.
SSHLESS = "no SSH by the inventory: its ansible_connection is of another kind"
_BY_SSH = ("ssh", "smart", "paramiko", "paramiko_ssh", "libssh", "ansible.netcommon.libssh", "ansible.builtin.ssh")
# Of a gateway of SSH: an inventory name, or USER@HOST:PORT. Of Ansible's own options only this one leads another way.
_JUMP = re.compile(r"(?:-J\s*|-o\s*['\"]?ProxyJump[= ]\s*)([^\s'\"]+)")
_COMMAND = re.compile(r"ProxyCommand", re.IGNORECASE)
_TRUE = ("true", "yes", "y", "on", "1", "t")
_LOOKED_FOR = ("auto", "auto_silent", "auto_legacy", "auto_legacy_silent", "python3")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,63}\$?")
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


def listens(host: Host) -> str:
    """What the host's agent is to listen on, as ADDRESS:PORT. Raises InventoryError as `endpoint` does."""
    port = _port(used(host, "fleetmedic_port"))
    variable = used(host, "fleetmedic_listen")
    if variable is None:
        return f"0.0.0.0:{port}"
    address = _checked(variable, "fleetmedic_listen")
    if not is_address(address):
        raise InventoryError.at(
            variable.origin,
            f"fleetmedic_listen is {variable.said()}, not an IP address",
            "write the address itself, such as 10.0.0.11",
        )
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@dataclass(frozen=True, slots=True)
class SshPlace:
    """Where SSH logs in: what Ansible would dial, and as whom. `gateway` is as it is written, empty for none."""

    address: str
    port: int
    user: str
    gateway: str


def ssh_address(host: Host) -> SshPlace:
    """From Ansible's variables. Raises InventoryError where one is wrong, or names a way that SSH alone can't go."""
    address = next(
        (_checked(found, field) for field in _ADDRESSES[1:] if (found := used(host, field)) is not None), host.name
    )
    port = used(host, "ansible_ssh_port") or used(host, "ansible_port")
    user = used(host, "ansible_ssh_user") or used(host, "ansible_user")
    if user is not None and not (isinstance(user.value, str) and _USER.fullmatch(user.value)):
        raise InventoryError.at(user.origin, f"ansible_user is {user.said()}, which is no user", "write a user's name")
    return SshPlace(
        address,
        DEFAULT_SSH_PORT if port is None else _number(port, "ansible_port"),
        "" if user is None else str(user.value),
        _gateway(host),
    )


def _gateway(host: Host) -> str:
    for field in ("ansible_ssh_common_args", "ansible_ssh_extra_args"):
        given = used(host, field)
        text = "" if given is None else str(given.value)
        if given is not None and _COMMAND.search(text):
            raise InventoryError.at(
                given.origin,
                f"{field} has a ProxyCommand, which fleetmedic does not run",
                "name a gateway with -J HOST",
            )
        if (found := _JUMP.search(text)) is not None:
            return found[1]
    return ""


def has_agent(host: Host) -> bool:
    """False where `ansible_connection` is local or docker and no fleetmedic_address or fleetmedic_port is given."""
    connection = used(host, "ansible_connection")
    if connection is None or connection.value not in ("local", "docker"):
        return True
    return "fleetmedic_address" in host.variables or "fleetmedic_port" in host.variables


def has_ssh(host: Host) -> bool:
    """False where `ansible_connection` leads there otherwise."""
    connection = used(host, "ansible_connection")
    return connection is None or connection.value in _BY_SSH


def becomes(host: Host) -> bool:
    """Whether Ansible would become root there. InventoryError where it would become another, or not by sudo."""
    wish = used(host, "ansible_become")
    if wish is None or str(wish.value).lower() not in _TRUE:
        return False
    for field, only in (("ansible_become_method", "sudo"), ("ansible_become_user", "root")):
        given = used(host, field)
        if given is not None and given.value != only:
            raise InventoryError.at(given.origin, f"{field} is {given.said()}", f"only {only} is known to fleetmedic")
    return True


def python(host: Host) -> str:
    """The Python that the inventory names for it; empty where Ansible would look for one itself.

    InventoryError where it is no absolute path.
    """
    given = used(host, "ansible_python_interpreter")
    if given is None or given.value in _LOOKED_FOR:
        return ""
    if not isinstance(given.value, str) or not given.value.startswith("/"):
        raise InventoryError.at(
            given.origin, f"ansible_python_interpreter is {given.said()}", "write the absolute path of a program"
        )
    return given.value


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
    return DEFAULT_PORT if variable is None else _number(variable, "fleetmedic_port")


def _number(variable: Variable, field: str) -> int:
    value = variable.value
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535:
        return value
    raise InventoryError.at(
        variable.origin, f"{field} is {variable.said()}, not a port", "write a number from 1 to 65535, without quotes"
    )
