"""fleetmedic pki init: the root and the two authorities below it."""

import click

from controller.cli.pki import folder as place


@click.command("init", short_help="Make the root, and below it the authorities of agents and of operators.")
@place.OPTION
@click.option(
    "--org",
    required=True,
    metavar="NAME",
    help="The organisation, in small letters; it stands in every operator's name.",
)
def command(folder: str | None, org: str) -> None:
    """Make the root, and below it two authorities: one for agents, one for operators.

    \b
      fleetmedic pki init --org example
      fleetmedic pki init --dir /secure/pki --org example
    """
    from controller.trust import authority  # noqa: PLC0415 - 50 ms that other commands of the group don't need

    desk, at = place.opened(folder)
    made = authority.initialise(at, org, desk.now(), desk.actor())
    for pair in made:
        click.echo(f"made {pair.certificate.absolute()} and {pair.key.name} (keep it secret)")
    root = made[0].key
    click.echo(f"Move {root.name} to a medium that lies offline, and keep a second copy: it is needed for")
    click.echo(
        "`fleetmedic pki renew agent-ca` and `fleetmedic pki renew operator-ca` alone, before ten years are over."
    )
