"""check --via ssh: how the hosts of one command are visited, from the settings and the inventory."""

import threading
from dataclasses import dataclass, replace
from pathlib import Path

from controller.bootstrap import packing
from controller.bootstrap.bundle import BundleError, Facts
from controller.calling import LocalTrouble
from controller.cli import over_ssh
from controller.cli.looking import Asked
from controller.cli.options import Desk
from controller.inventory import connection
from controller.inventory.graph import Host
from controller.inventory.origins import InventoryError
from controller.ssh import Destination
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
    private_key: Path | None = None


def visited(desk: Desk, asked: Asked, login: Login) -> Asked:
    """The same hosts, to be asked over SSH. InventoryError where there is no inventory, or SSH can't go its ways."""
    if asked.here:
        raise InventoryError("--via ssh: no inventory says which hosts: give one with -i FILE")
    hosts = [host for host in asked.hosts if connection.has_ssh(host)]
    places = over_ssh.destinations(desk, None, hosts, login.private_key)
    ways = {host.name: _way(host, places[host.name], login) for host in hosts}
    patience = desk.seconds("connect_timeout") if _set(desk, "connect_timeout") else CONNECT
    trust = replace(over_ssh.trust(desk), patience=patience)
    visits = Visits(ways, trust, _Bundles(Path(desk.text("bundles"))).pack)
    bounds = asked.bounds if _set(desk, "deadline") else replace(asked.bounds, deadline=DEADLINE)
    return replace(asked, visits=visits, bounds=bounds)


def _way(host: Host, to: Destination, login: Login) -> Way:
    become = to.user != "root" and (login.become or connection.becomes(host))
    return Way(to, become, connection.python(host) or ssh_stdio.PYTHON)


def _set(desk: Desk, name: str) -> bool:
    return desk.settings[name].origin != "default"


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
                    self._made[facts] = packing.pack(packing.fitting(self._root, facts))
                except BundleError as error:
                    self._made[facts] = str(error)
            made = self._made[facts]
        if isinstance(made, str):
            raise LocalTrouble(made)
        return made
