"""fleetmedic agent bundle: what is installed on hosts, made ahead."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.cli import options, over_ssh, targeting
from controller.cli.targeting import Target

if TYPE_CHECKING:
    from controller.bootstrap.bundle import Facts


@click.command("bundle")
@click.option("--python", metavar="VERSION", help="The hosts' full version, such as 3.11.2.")
@click.option("--machine", metavar="NAME", default="x86_64", help="As uname -m says: x86_64 [default] or aarch64.")
@click.option("--libc", metavar="VERSION", help="The version of their glibc, such as 2.36; a newer one is fine there.")
@click.option("--for-host", metavar="PATTERN", help="Ask these hosts over SSH what they are, in place of the above.")
@options.several(options.INVENTORY)
@options.several(over_ssh.OPTIONS)
@click.option("--bundles", metavar="DIR", help="The folder in which it is put (`config show` says which).")
@options.STORE
def command(
    python: str | None,
    machine: str,
    libc: str | None,
    for_host: str | None,
    private_key: Path | None,
    **flags: str | Sequence[str] | None,
) -> int:
    """Make what is installed on hosts of one kind, ahead: the agent's wheels and all they need.

    \b
      fleetmedic agent bundle --python 3.11.2 --libc 2.36
      fleetmedic agent bundle --for-host web -i fleet.ini

    This is the one step that needs a package index, the one that uv and pip are set to use; `agent install` does it by
    itself where a bundle lacks. Copied to another desk's folder of bundles, it serves there. It needs uv and pip here:
    pip install 'fleetmedic[bundle]'.

    Exit codes: 0 made, or there already, 2 some host is of no kind, 65 it can't be made, or no such host.
    """
    from controller.bootstrap import making  # noqa: PLC0415 - only here
    from controller.bootstrap.bundle import Facts  # noqa: PLC0415

    desk = options.desk(**flags)
    code = 0
    if for_host is not None:
        kinds, code = _kinds(desk, for_host, private_key)
    elif python and libc:
        kinds = [Facts(python, machine, f"glibc {libc}")]
    else:
        raise click.UsageError("say for which kind of host: --python VERSION and --libc VERSION, or --for-host PATTERN")
    for facts in kinds:
        click.echo(f"made {making.make(Path(desk.text('bundles')), facts).folder}")
    return code


def _kinds(desk: options.Desk, pattern: str, private_key: Path | None) -> "tuple[Sequence[Facts], int]":
    """What the hosts are, each kind once, and the exit code for those that are of none."""
    from controller.bootstrap import rollout  # noqa: PLC0415 - SSH costs 150 ms
    from controller.cli.agent import showing  # noqa: PLC0415

    inventory = desk.inventory()
    hosts = targeting.hosts(desk, Target(pattern))
    places = over_ssh.destinations(desk, inventory, hosts, private_key)
    shown = showing.Showing(desk, [host.name for host in hosts], no_colour=True)
    targets = [rollout.Target(host, places[host.name]) for host in hosts]
    known, ended = rollout.look_at_all(targets, over_ssh.trust(desk), int(desk.text("forks")), shown)
    return list(dict.fromkeys(it.seen.facts for it in known if it.seen)), showing.code(ended.outcomes, ended.signal)
