"""fleetmedic pki: authorities and certificates."""

from pathlib import Path

import click

from controller.cli import options

FOLDER = click.option(
    "--dir",
    "folder",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="The folder of the authorities, which `pki init` makes.",
)


@click.group("pki")
def command() -> None:
    """Authorities and certificates for mutual TLS.

    \b
      fleetmedic pki init --dir pki --org example
      fleetmedic pki issue agent db01 --dir pki --out db01-tls
      fleetmedic pki issue operator alice --role observer --dir pki --out ~/.fleetmedic
    """


@command.command(short_help="Make the two authorities, one for agents and one for operators.")
@FOLDER
@click.option(
    "--org",
    required=True,
    metavar="NAME",
    help="The organisation, in small letters; it stands in every operator's name.",
)
def init(folder: Path, org: str) -> None:
    """Make the two authorities: one for agents, one for operators. Keep their keys off every host.

    \b
      fleetmedic pki init --dir pki --org example
    """
    from controller.trust import authority  # noqa: PLC0415 - 50 ms that other commands of the group don't need

    for pair in authority.initialise(folder, org, options.desk().now()):
        click.echo(f"made {pair.certificate.absolute()} and {pair.key.name} (keep it secret)")


@command.command(short_help="Make the key and certificate of an agent or an operator.")
@click.argument("kind", type=click.Choice(["agent", "operator"]))
@click.argument("name")
@FOLDER
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="The folder in which NAME.crt and NAME.key are put.",
)
@click.option(
    "--role", default="observer", metavar="ROLE", help="Of an operator: observer [default], responder or admin."
)
def issue(kind: str, name: str, folder: Path, out: Path, role: str) -> None:
    """Make a key and a certificate: for an agent (NAME as in the inventory) or an operator (NAME of a person).

    An agent's lives 90 days, an operator's 8 hours; issue it again when it has ended.

    \b
      fleetmedic pki issue agent db01 --dir pki --out db01-tls
      fleetmedic pki issue operator alice --role responder --dir pki --out alice
    """
    from controller.trust import authority  # noqa: PLC0415

    now = options.desk().now()
    if kind == "agent":
        pair = authority.issue_agent(folder, out, name, now)
    else:
        pair = authority.issue_operator(folder, out, name, role, now)
    click.echo(f"made {pair.certificate.absolute()} and {pair.key.name}")
