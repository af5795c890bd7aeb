"""fleetmedic agent uninstall: agents off hosts again."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from controller.cli import options, over_ssh, targeting
from controller.cli.targeting import Target


@click.command("uninstall")
@click.argument("pattern")
@options.several(options.INVENTORY)
@options.several(targeting.OPTIONS)
@options.several(over_ssh.OPTIONS)
@click.option("--purge", is_flag=True, help="The audit log too, which stays otherwise.")
@click.option(
    "-y", "--yes", is_flag=True, help="Do not ask; needed for more than one host, and where nobody can be asked."
)
@click.option("-f", "--forks", metavar="N", help="Hosts at once [default: 32].")
@options.NO_COLOUR
@options.STORE
def command(
    pattern: str,
    limit: str | None,
    list_hosts: bool,
    expect: int | None,
    allow_unmatched: bool,
    private_key: Path | None,
    purge: bool,
    yes: bool,
    no_colour: bool,
    **flags: str | Sequence[str] | None,
) -> int:
    """Take the agent off hosts: units, program, configuration, keys, state and user; the audit log stays.

    \b
      fleetmedic agent uninstall web01 -i fleet.ini
      fleetmedic agent uninstall all -i fleet.ini --yes --purge

    Files that others have put into its folders stay, and are named. Where there is no agent nothing is done. Its
    certificate stays valid until it ends: the key is gone with the host's folder.

    Exit codes: 0 no host has an agent any more, 2 some failed, 4 some were not reached (6: both), 64 --yes is needed,
    65 no such host, 130 interrupted.
    """
    desk = options.desk(**flags)
    inventory = desk.inventory()
    hosts = targeting.hosts(desk, Target(pattern, limit, expect, allow_unmatched))
    if list_hosts:
        targeting.listed(host.name for host in hosts)
        return 0
    if not yes:
        _asked([host.name for host in hosts])
    from controller.bootstrap import rollout  # noqa: PLC0415 - SSH costs 150 ms
    from controller.cli.agent import showing  # noqa: PLC0415

    places = over_ssh.destinations(desk, inventory, hosts, private_key)
    shown = showing.Showing(desk, [host.name for host in hosts], no_colour=no_colour)
    targets = [rollout.Target(host, places[host.name]) for host in hosts]
    ended = rollout.uninstall_all(targets, over_ssh.trust(desk), int(desk.text("forks")), shown, purge=purge)
    shown.totals(ended.outcomes, ended.seconds)
    return showing.code(ended.outcomes, ended.signal)


def _asked(names: Sequence[str]) -> None:
    """UsageError where nobody can be asked, or there is more than one host; Abort where the answer is no."""
    if len(names) > 1 or not sys.stdin.isatty():
        hosts = "1 host" if len(names) == 1 else f"{len(names)} hosts"
        raise click.UsageError(f"this takes the agent off {hosts}: say --yes; --list-hosts shows which")
    click.confirm(f"Take the agent off {names[0]}?", abort=True, err=True)
