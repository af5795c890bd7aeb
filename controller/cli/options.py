"""Options that several commands share, and what they come to."""

import getpass
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from controller import settings
from controller.cli import standings
from controller.inventory import loading
from controller.inventory.graph import Inventory
from controller.inventory.origins import InventoryError
from controller.render.escape import line
from controller.render.paper import Paper, paper
from controller.settings import Setting

F = TypeVar("F", bound=Callable[..., Any])

INVENTORY = (
    click.option(
        "-i",
        "--inventory",
        multiple=True,
        metavar="PATH",
        help="Inventory in Ansible's format: a file, folder or script, or hosts as a,b (again for more).",
    ),
    click.option(
        "--inventory-backend",
        metavar="WHO",
        help="Who reads it: own [default], or ansible, for what only ansible-inventory can (plugins, vaults).",
    ),
)
TRUST = (
    click.option(
        "--certificate", metavar="FILE", help="Our client certificate, which `login` or `pki issue operator` makes."
    ),
    click.option("--key", metavar="FILE", help="The private key of --certificate."),
    click.option("--ca", metavar="FILE", help="The authority of the agents' certificates: agent-ca.crt of `pki init`."),
)
BOUNDS = (
    click.option("-f", "--forks", metavar="N", help="Connections set up at once [default: 32]."),
    click.option("--deadline", metavar="TIME", help="For the whole command, such as 30s or 2m [default: 10s]."),
    click.option(
        "--host-deadline", metavar="TIME", help="For one host, from when its call begins [default: the whole deadline]."
    ),
    click.option("-T", "--connect-timeout", metavar="TIME", help="For TCP and TLS of one host [default: 1.5s]."),
)
SSH = (
    click.option(
        "-u",
        "--user",
        "--ssh-user",
        "ssh_user",
        metavar="NAME",
        help="Who logs in over SSH where the inventory does not say [default: root].",
    ),
    click.option("--private-key", metavar="FILE", help="An SSH key to log in with, besides ssh-agent's and ~/.ssh."),
    click.option(
        "--known-hosts",
        multiple=True,
        metavar="FILE",
        help="The SSH keys of hosts [default: ~/.ssh/known_hosts and the system's]; a host in none is not spoken to.",
    ),
)
STORE = click.option("--store", metavar="FILE", help="The file in which runs are kept (`config show` says which).")
NO_COLOUR = click.option("--no-color", "no_colour", is_flag=True, help="No colours (so does NO_COLOR).")


def several(options: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    """One decorator of many, in the order given."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@dataclass(frozen=True, slots=True)
class Desk:
    """What a command works with: the settings, and the edges of this process."""

    settings: Mapping[str, Setting]
    environment: Mapping[str, str]

    def text(self, name: str) -> str:
        return self.settings[name].value

    def seconds(self, name: str) -> float:
        return settings.duration(self.text(name))

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - the edge

    def actor(self) -> str:
        try:
            return getpass.getuser()
        except (KeyError, OSError):
            return str(os.getuid())

    def paper(self, *, no_colour: bool = False, error: bool = False) -> Paper:
        columns = shutil.get_terminal_size((100, 24)).columns
        # In the C locale Python goes over to UTF-8 by itself; the terminal does not.
        ascii_only = bool(sys.flags.utf8_mode) and "PYTHONUTF8" not in self.environment
        stream = sys.stderr if error else sys.stdout
        return paper(stream, self.environment, columns, no_colour=no_colour, ascii_only=ascii_only)

    def sources(self) -> tuple[str, ...]:
        return tuple(filter(None, self.text("inventory").split("\n")))

    def fleet(self) -> str:
        """The sources as a run keeps them: they mean the same from any folder, and `shlex.split` takes them apart."""
        return shlex.join(one if loading.is_host_list(one) else os.path.abspath(one) for one in self.sources())  # noqa: PTH100 - links stay

    def inventory(self) -> Inventory:
        """What the sources say. InventoryError where they are wrong, or none is given."""
        named = self.sources()
        if not named:
            raise InventoryError("no inventory: give one with -i FILE, FLEETMEDIC_INVENTORY or the config file")
        if self.text("inventory_backend") == "ansible":
            from controller.inventory import ansible  # noqa: PLC0415 - few ask for it

            return ansible.load(named, self.environment)
        return loading.load(named)

    def warn(self, text: str) -> None:
        """A line for people, beside the answer."""
        click.echo(f"fleetmedic: {line(text)}", err=True)


def desk(**flags: str | Sequence[str] | None) -> Desk:
    """The settings with this command's flags on top. SettingError for a bad one."""
    given = {
        name: value if isinstance(value, str) else "\n".join(value)
        for name, value in flags.items()
        if value is not None and value != ()
    }
    environment = dict(os.environ)  # noqa: TID251 - the edge
    made = Desk(settings.resolve(given, environment, os.geteuid()), environment)
    standings.remind(made.text("store"))
    return made
