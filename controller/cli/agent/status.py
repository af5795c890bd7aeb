"""fleetmedic agent status: how the agents of a fleet stand."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from controller.cli import options, targeting
from controller.cli.targeting import Target


@click.command("status")
@click.argument("pattern", default="all")
@options.several(options.INVENTORY)
@options.several(targeting.OPTIONS)
@options.several(options.BOUNDS)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people, or JSON.")
@click.option("--pki", metavar="DIR", help="The folder of the authorities, whose denylist agents' are held against.")
@options.NO_COLOUR
@options.several(options.TRUST)
@options.STORE
def command(
    pattern: str,
    form: str,
    no_colour: bool,
    limit: str | None,
    list_hosts: bool,
    expect: int | None,
    allow_unmatched: bool,
    **flags: str | Sequence[str] | None,
) -> int:
    """How the agents stand: version, end of the certificate, denylist, freeze, alarms, worker and clock, bad first.

    \b
      fleetmedic agent status -i production.ini
      fleetmedic agent status web -i production.ini --format json

    An older or newer version than this fleetmedic's is told, and a denylist that is not the one of our own pki folder,
    where there is one.

    Exit codes: 0 all well, 2 something should be mended, 4 some did not answer (6: both), 65 no such host, 69 none
    answered, 130 interrupted.
    """
    # gRPC and cryptography, which a list of hosts does not need.
    from controller import exit_codes  # noqa: PLC0415
    from controller.cli import describe, looking  # noqa: PLC0415
    from controller.doctor.standing import stands  # noqa: PLC0415
    from controller.render import standing  # noqa: PLC0415
    from controller.render.next_step import fleet_of  # noqa: PLC0415
    from controller.trust import revocation  # noqa: PLC0415

    desk = options.desk(**flags)
    if not desk.sources():
        desk.inventory()
    asked = looking.choose(desk, Target(pattern, limit, expect, allow_unmatched))
    if list_hosts:
        targeting.listed(asked.names)
        return 0
    ours = revocation.held(Path(desk.text("pki")))
    told = describe.ask(desk, asked)
    now = desk.now()
    items = [stands(item, ours, now) for item in told.items]
    code = told.code()
    if code in (0, exit_codes.UNREACHABLE) and any(item.troubles for item in items):
        code |= exit_codes.FAILED
    made = standing.Standings(items, ours, now, code, fleet_of(desk.fleet()))
    if form == "json":
        click.echo(json.dumps(standing.document(made), indent=2))
    else:
        standing.body(desk.paper(no_colour=no_colour), made)
    return code
