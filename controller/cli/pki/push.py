"""fleetmedic pki push: agents get the denylist."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.cli import options, targeting
from controller.cli.options import Desk
from controller.cli.pki import folder as place
from controller.cli.targeting import Target

if TYPE_CHECKING:
    from controller.cli.calls import Chosen
    from controller.cli.looking import Asked


@click.command("push", short_help="Give agents the denylist.")
@click.argument("pattern", default="all")
@options.several(options.INVENTORY)
@options.several(targeting.OPTIONS)
@options.several(options.BOUNDS)
@click.option("--dir", "pki", metavar="DIR", help="The folder of the authorities [default: ~/.config/fleetmedic/pki].")
@options.NO_COLOUR
@options.several(options.TRUST)
@options.STORE
def command(
    pattern: str,
    no_colour: bool,
    limit: str | None,
    list_hosts: bool,
    expect: int | None,
    allow_unmatched: bool,
    **flags: str | Sequence[str] | None,
) -> int:
    """Give agents the denylist, and say which have it: from then on they refuse who is on it, at the next call.

    \b
      fleetmedic pki push -i production.ini
      fleetmedic pki push web -i production.ini

    Needs the role responder or admin. A host with a newer denylist than ours keeps its own, and is told.

    Exit codes: 0 all have it, 2 some refused it, 4 some did not answer (6: both), 65 no such host, 77 no denylist here
    or our certificate can't be used, 130 interrupted.
    """
    from controller.cli import calls, looking  # noqa: PLC0415 - gRPC, which the rest of the group does not need

    desk = options.desk(**flags)
    if not desk.sources():
        desk.inventory()
    asked = looking.choose(desk, Target(pattern, limit, expect, allow_unmatched))
    if list_hosts:
        targeting.listed(asked.names)
        return 0
    return push(desk, asked, calls.chosen(desk, asked), no_colour=no_colour)


def push(desk: Desk, asked: "Asked", chosen: "Chosen", *, no_colour: bool = False) -> int:
    """The exit code, when all has been said. TrustError where there is no denylist."""
    # gRPC and cryptography, which other commands of the group don't need.
    from controller import exit_codes, fan_out, pushing  # noqa: PLC0415
    from controller.endings import State  # noqa: PLC0415
    from controller.render import endings  # noqa: PLC0415
    from controller.render.next_step import fleet_of  # noqa: PLC0415
    from controller.trust import authority, revocation  # noqa: PLC0415

    folder = Path(desk.text("pki"))
    denylist = authority.denylist(folder, desk.now(), place.beside(desk))
    number = revocation.held(folder) or 0
    done = fan_out.run(
        pushing.push(chosen.endpoints, denylist, number, chosen.identity, asked.bounds, chosen.interrupted)
    )
    items = [*done, *(pushing.Pushed(name, State.SKIPPED, why) for name, why in chosen.agentless)]
    code = chosen.code(exit_codes.of_states(item.state for item in items))
    endings.body(desk.paper(no_colour=no_colour), items, {State.CHANGED: "pushed"}, code)
    lacking = [item.host for item in done if item.state != State.CHANGED]
    if lacking:
        click.echo(f"again: fleetmedic pki push {shlex.quote(','.join(lacking))}{fleet_of(desk.fleet())}{_where(desk)}")
    return code


def _where(desk: Desk) -> str:
    """The folder, where it was given by a flag."""
    setting = desk.settings["pki"]
    return f" --dir {shlex.quote(setting.value)}" if setting.origin.startswith("--") else ""
