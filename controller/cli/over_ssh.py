"""Options of commands that log in over SSH, and where they log in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.cli.options import Desk
from controller.inventory.graph import Host, Inventory

if TYPE_CHECKING:
    from controller.ssh import Destination, Trust

OPTIONS = (
    click.option(
        "-u", "--ssh-user", metavar="NAME", help="Who logs in where the inventory does not say [default: root]."
    ),
    click.option(
        "--private-key",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="The key to log in with where the inventory names none; those of ssh-agent and ~/.ssh are tried too.",
    ),
    click.option(
        "--known-hosts",
        multiple=True,
        metavar="FILE",
        help="The SSH keys of hosts [default: ~/.ssh/known_hosts]; a host whose key is not there is not spoken to.",
    ),
)


class _Named(Mapping[str, Host]):
    """The inventory's hosts, each read when it is asked for: a gateway may be one that was not selected."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    def __getitem__(self, name: str) -> Host:
        return self._inventory.host(name)

    def __contains__(self, name: object) -> bool:
        return name in self._inventory.hosts

    def __iter__(self) -> Iterator[str]:
        return iter(self._inventory.hosts)

    def __len__(self) -> int:
        return len(self._inventory.hosts)


def destinations(
    desk: Desk, inventory: Inventory, hosts: Sequence[Host], private_key: Path | None
) -> "Mapping[str, Destination]":
    """Where each host is logged in to, by its name. InventoryError where a variable is wrong: nobody is asked then."""
    from controller import ssh  # noqa: PLC0415 - 150 ms

    found = (ssh.destination(host, _Named(inventory), desk.text("ssh_user")) for host in hosts)
    return {to.name: _with_key(to, private_key) for to in found}


def _with_key(to: "Destination", key: Path | None) -> "Destination":
    if key is None:
        return to
    gateway = to.gateway and _with_key(to.gateway, key)
    return replace(to, key=to.key or key, gateway=gateway)


def trust(desk: Desk) -> "Trust":
    from controller.ssh import Trust  # noqa: PLC0415

    return Trust(tuple(Path(file) for file in desk.text("known_hosts").split("\n")))
