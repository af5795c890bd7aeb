"""fleetmedic agent install: agents onto hosts over SSH."""

from collections.abc import Sequence
from pathlib import Path

import click

from controller.cli import options, over_ssh, targeting
from controller.cli.pki import folder as place
from controller.cli.targeting import Target


@click.command("install")
@click.argument("pattern")
@options.several(options.INVENTORY)
@options.several(targeting.OPTIONS)
@options.several(over_ssh.OPTIONS)
@click.option("--pki", metavar="DIR", help="The folder of the authorities, which `pki init` makes.")
@click.option("--bundles", metavar="DIR", help="The folder of what is installed; what lacks there is made.")
@click.option(
    "--from-discovery", is_flag=True, help="Write down what the agent finds on the host, not what the inventory says."
)
@click.option("--new-key", is_flag=True, help="Make a new key and certificate there, whatever it has.")
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
    from_discovery: bool,
    new_key: bool,
    no_colour: bool,
    **flags: str | Sequence[str] | None,
) -> int:
    """Put the agent on hosts over SSH, or bring it up to date; where nothing is to be done, nothing is touched.

    \b
      fleetmedic agent install all -i fleet.ini
      fleetmedic agent install 'web:!web03' -i production.ini --private-key ~/.ssh/deploy

    Each host makes a key of its own, and gets a certificate for its inventory name from the authority here. Its
    agent.toml is written from the inventory. When the agent then does not answer, everything is put back as it was.
    The SSH key of a host must be known: one that is not, or is another, is not spoken to.

    Exit codes: 0 every host has its agent, 2 some failed (undone) or were refused, 4 some were not reached (6: both),
    65 no such host, 77 no authority here, 130 interrupted.
    """
    desk = options.desk(**flags)
    inventory = desk.inventory()
    hosts = targeting.hosts(desk, Target(pattern, limit, expect, allow_unmatched))
    if list_hosts:
        targeting.listed(host.name for host in hosts)
        return 0
    # SSH and cryptography cost 250 ms, and a list of hosts needs neither.
    from controller.bootstrap import one_host, rollout, signing  # noqa: PLC0415
    from controller.cli.agent import showing  # noqa: PLC0415

    owner = signing.authorities(Path(desk.text("pki")), desk.actor(), desk.now, place.beside(desk))
    places = over_ssh.destinations(desk, inventory, hosts, private_key)
    shown = showing.Showing(desk, [host.name for host in hosts], no_colour=no_colour)
    wanted = one_host.Wanted(owner, Path(desk.text("bundles")), from_discovery, int(desk.text("forks")), new_key)
    ended = rollout.install_all(
        [one_host.Target(host, places[host.name]) for host in hosts], over_ssh.trust(desk), wanted, shown
    )
    shown.totals(ended.outcomes, ended.seconds)
    return showing.code(ended.outcomes, ended.signal)
