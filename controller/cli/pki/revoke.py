"""fleetmedic pki revoke: an operator is let in no more."""

import shlex

import click

from controller.cli.pki import folder as place
from controller.render.escape import line

LONGEST_REASON = 200


@click.command("revoke", short_help="Deny an operator's certificates before they end.")
@click.argument("who", metavar="NAME|SERIAL")
@place.OPTION
@click.option("--reason", required=True, metavar="TEXT", help="Why; it stands in the register.")
def command(who: str, folder: str | None, reason: str) -> None:
    """Deny certificates of an operator that have not ended: all of a user, or the one with a serial.

    \b
      fleetmedic pki revoke alice --reason 'laptop lost'
      fleetmedic pki revoke 5A0C11 --reason 'issued with the wrong role'

    It makes a new denylist with a higher number. Agents refuse who is on it once they have it.
    An agent's certificate can't be denied: give the host another name.
    """
    # 50 ms that other commands of the group don't need.
    from controller.render.certificates import counted  # noqa: PLC0415
    from controller.trust import holders, register, revocation  # noqa: PLC0415

    desk, at = place.opened(folder)
    why = " ".join(reason.split())
    if not 0 < len(why) <= LONGEST_REASON:
        raise click.UsageError(f"--reason: say why, in {LONGEST_REASON} characters at most")
    now = desk.now()
    rows = holders.denied(holders.held(register.read(at), now), who, why, now, desk.actor())
    number = revocation.deny(at, rows, now)
    user = rows[0].name
    click.echo(f"denied {counted(len(rows))} of {line(user)}: denylist {number}, {at / revocation.NAME}")
    given = "" if folder is None else f" --dir {shlex.quote(folder)}"
    click.echo(f"Agents let {line(user)} in until they have it: `fleetmedic pki push{given}`")
    click.echo(f"A bastion signs for {line(user)} until the line for that SSH key is out of its authorized_keys.")
