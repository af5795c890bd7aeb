"""fleetmedic pki: authorities and certificates."""

import click

from controller.cli.pki import authorize, init, issue, listed, push, renew, revoke, show, sign


@click.group("pki")
def command() -> None:
    """Authorities and certificates for mutual TLS.

    \b
      fleetmedic pki init --org example
      fleetmedic pki issue operator alice --role responder
      fleetmedic pki issue agent db01 --out db01-tls
      fleetmedic pki list
      fleetmedic pki revoke alice --reason 'laptop lost'
      fleetmedic pki push -i production.ini

    A root, which belongs offline, and below it one authority for agents and one for operators, in the folder that the
    setting pki names (~/.config/fleetmedic/pki) or --dir. For more than one person: `fleetmedic pki authorize`.
    """


for part in (init, issue, renew, revoke, push, listed, show, authorize, sign):
    command.add_command(part.command)
