"""fleetmedic pki revoke: an operator is let in no more."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from controller.cli import options
from controller.cli.options import Desk
from controller.cli.pki import folder as place
from controller.cli.pki import push as pushing
from controller.cli.targeting import Target
from controller.render.escape import line

if TYPE_CHECKING:
    from controller.cli.calls import Chosen
    from controller.cli.looking import Asked

LONGEST_REASON = 200


@click.command("revoke", short_help="Deny an operator's certificates before they end.")
@click.argument("who", metavar="NAME|SERIAL")
@place.OPTION
@click.option("--reason", required=True, metavar="TEXT", help="Why; it stands in the register.")
@click.option("--push", is_flag=True, help="And give the denylist to all agents of the inventory.")
@options.several(options.INVENTORY)
@options.several(options.BOUNDS)
@options.several(options.TRUST)
def command(who: str, folder: str | None, reason: str, push: bool, **flags: str | Sequence[str] | None) -> int:
    """Deny certificates of an operator that have not ended: all of a user, or the one with a serial.

    \b
      fleetmedic pki revoke alice --reason 'laptop lost'
      fleetmedic pki revoke 5A0C11 --reason 'issued with the wrong role'
      fleetmedic pki revoke alice --reason 'laptop lost' --push -i production.ini

    It makes a new denylist with a higher number. Agents refuse who is on it once they have it. What a bastion signed is
    in the bastion's register, and is denied there. An agent's certificate can't be denied: give the host another name.

    Exit codes: 0 denied; with --push as of `fleetmedic pki push`.
    """
    # 50 ms that other commands of the group don't need.
    from controller.render.certificates import counted  # noqa: PLC0415
    from controller.trust import holders, register, revocation  # noqa: PLC0415

    desk, at = place.opened(folder, **flags)
    why = " ".join(reason.split())
    if not 0 < len(why) <= LONGEST_REASON:
        raise click.UsageError(f"--reason: say why, in {LONGEST_REASON} characters at most")
    # All that may be wrong with them is told before anything is denied.
    agents = _agents(desk) if push else None
    now = desk.now()
    rows = holders.denied(holders.held(register.read(at), now), who, why, now, desk.actor())
    number = revocation.deny(at, rows, now, place.beside(desk))
    user = rows[0].name
    click.echo(f"denied {counted(len(rows))} of {line(user)}: denylist {number}, {at / revocation.NAME}")
    if agents is None:
        given = "" if folder is None else f" --dir {shlex.quote(folder)}"
        click.echo(f"Agents let {line(user)} in until they have it: `fleetmedic pki push{given}`")
    click.echo(
        f"Where a bastion signs for {line(user)}: take the line for that SSH key out of its authorized_keys, "
        "and deny there what it signed."
    )
    return 0 if agents is None else pushing.push(desk, *agents)


def _agents(desk: Desk) -> "tuple[Asked, Chosen]":
    from controller.cli import calls, looking  # noqa: PLC0415 - gRPC, which the rest of the group does not need

    if not desk.sources():
        desk.inventory()
    asked = looking.choose(desk, Target("all"))
    return asked, calls.chosen(desk, asked)
