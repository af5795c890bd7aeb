"""fleetmedic pki sign: what a bastion's authorized_keys forces upon a login."""

import click

from controller.cli.pki import folder as place

STANDARD_INPUT = 0
ORIGINAL = "SSH_ORIGINAL_COMMAND"


@click.command("sign", short_help="On a bastion: sign the request of a login (authorized_keys calls it).")
@place.OPTION
@click.option("--user", required=True, metavar="NAME", help="Whose SSH key it is.")
@click.option("--role", required=True, metavar="ROLE", help="The most they may get; the login may ask for less.")
def command(folder: str | None, user: str, role: str) -> None:
    """Sign the request for a certificate on standard input, and answer with all that a desk needs, as JSON.

    \b
      fleetmedic pki sign --dir /srv/fleetmedic/pki --user alice --role responder

    Not for typing: `fleetmedic pki authorize` prints the line of authorized_keys that calls it. What the login asked
    for (SSH_ORIGINAL_COMMAND) may narrow the role and nothing else; of the request only the key is taken.
    """
    from controller.trust import authority, bastion, certificates  # noqa: PLC0415 - 50 ms that others don't need

    desk, at = place.opened(folder)
    # Refused before anything is read: both were written by whoever made the line.
    certificates.operator(authority.organisation(at), user, role, certificates.OPERATOR_LIFE, "")
    given = bastion.allowed(desk.environment.get(ORIGINAL, ""), user, role)
    request = bastion.received(STANDARD_INPUT)
    now = desk.now()
    click.echo(bastion.written(bastion.signed(at, request, user, given, now)))
