"""check --via ssh: how the hosts of one command are visited, from the settings and the inventory."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from controller import ssh
from controller.bootstrap import bundle, packing
from controller.bootstrap.bundle import BundleError, Facts
from controller.calling import Bounds, LocalTrouble
from controller.cli.looking import Asked
from controller.cli.options import Desk
from controller.inventory import connection
from controller.inventory.graph import Host
from controller.inventory.origins import InventoryError
from controller.ssh import Destination, Trust
from controller.transport import ssh_stdio
from controller.transport.ssh_stdio import Parcel, There
from controller.visiting import Visits, Way

# Where none is set: 10 MB are brought to each host first, and logging in takes longer than a TLS handshake.
DEADLINE = 60.0
CONNECT = 10.0


@dataclass(frozen=True, slots=True)
class Login:
    """What the command line says of it, for hosts of which the inventory does not."""

    become: bool = False
    private_key: str | None = None


def visited(desk: Desk, asked: Asked, login: Login) -> Asked:
    """The same hosts, to be asked over SSH. InventoryError where there is no inventory, or SSH can't go its ways."""
    if asked.here:
        raise InventoryError("--via ssh: no inventory says which hosts: give one with -i FILE")
    hosts = [host for host in asked.hosts if connection.has_ssh(host)]
    known = _gateways(desk, hosts)
    key = None if login.private_key is None else Path(login.private_key).expanduser()
    if key is not None and not key.is_file():
        raise InventoryError(f"--private-key {key}: is no file")
    ways = {}
    for host in hosts:
        to = _keyed(ssh.destination(host, known, desk.text("ssh_user")), key)
        become = to.user != "root" and (login.become or connection.becomes(host))
        ways[host.name] = Way(to, become, connection.python(host) or ssh_stdio.PYTHON)
    files = tuple(Path(file) for file in desk.text("known_hosts").split("\n"))
    patience = desk.seconds("connect_timeout") if _is_set(desk, "connect_timeout") else CONNECT
    visits = Visits(ways, Trust(files, patience), _Bundles(Path(desk.text("bundles"))).pack)
    return replace(asked, visits=visits, bounds=_bounds(desk, asked.bounds))


def _is_set(desk: Desk, name: str) -> bool:
    return desk.settings[name].origin != "default"


def _bounds(desk: Desk, given: Bounds) -> Bounds:
    return given if _is_set(desk, "deadline") else replace(given, deadline=DEADLINE)


def _gateways(desk: Desk, hosts: Sequence[Host]) -> Mapping[str, Host]:
    """All hosts that a gateway may be, where any of these goes by one."""
    if not any(connection.ssh_address(host).gateway for host in hosts):
        return {}
    inventory = desk.inventory()
    return {host.name: host for host in inventory.resolved(inventory.members("all"))}


def _keyed(to: Destination, key: Path | None) -> Destination:
    gateway = None if to.gateway is None else _keyed(to.gateway, key)
    return replace(to, key=to.key or key, gateway=gateway)


class _Bundles:
    """What is brought to each kind of host, made once a command; called from many threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._made: dict[Facts, Parcel | str] = {}

    def pack(self, there: There) -> Parcel:
        """LocalTrouble where there is no bundle for it."""
        facts = Facts(there.python, there.machine, there.libc)
        with self._lock:
            if facts not in self._made:
                try:
                    self._made[facts] = packing.pack(bundle.find(self._root, facts))
                except BundleError as error:
                    self._made[facts] = str(error)
            made = self._made[facts]
        if isinstance(made, str):
            raise LocalTrouble(made)
        return made
