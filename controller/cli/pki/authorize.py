"""fleetmedic pki authorize: the line by which a bastion signs for somebody's SSH key."""

import sys
from pathlib import Path

import click

from controller.cli.pki import folder as place

# A key has less than one.
LARGEST = 16 * 1024


@click.command("authorize", short_help="Print the authorized_keys line that lets a user log in here.")
@click.argument("user")
@place.OPTION
@click.option("--role", required=True, metavar="ROLE", help="The most they may get: observer, responder or admin.")
@click.option("--key", required=True, metavar="FILE.pub", help="Their public SSH key.")
def command(user: str, folder: str | None, role: str, key: str) -> None:
    """Print the line of authorized_keys that lets a user get certificates on this machine, and do nothing else.

    \b
      fleetmedic pki authorize alice --role responder --key alice.pub

    Here is the bastion: the line calls `fleetmedic pki sign`, which needs operator-ca.crt, operator-ca.key and
    agent-ca.crt in the folder. Give it to a system user of its own, whose home and folder are closed to others.
    """
    from controller.trust import authority, bastion, certificates  # noqa: PLC0415 - 50 ms that others don't need
    from controller.trust.files import TrustError  # noqa: PLC0415

    _, at = place.opened(folder)
    org = authority.organisation(at)
    certificates.operator(org, user, role, certificates.OPERATOR_LIFE, "")
    try:
        with Path(key).open("rb") as file:
            text = file.read(LARGEST).decode("ascii", "replace")
    except OSError as error:
        raise TrustError(f"{key}: can't be read: {error.strerror}") from error
    program = Path(sys.executable).parent / "fleetmedic"
    click.echo(bastion.authorized(program, at.absolute(), user, role, bastion.public_key(text, key)))
