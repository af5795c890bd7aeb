"""fleetmedic inventory ping: which agents answer over mutual TLS under their names, and how fast."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from controller.cli import options, targeting
from controller.cli.targeting import Target

if TYPE_CHECKING:
    from controller.describing import Described


@click.command("ping", short_help="Which agents answer, and how fast.")
@click.argument("pattern", default="all")
@options.several(options.INVENTORY)
@options.several(targeting.OPTIONS)
@options.several(options.BOUNDS)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "jsonl"]),
    default="text",
    help="For people (text), or for programs: one document (json), or a line for each host as it answers (jsonl).",
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
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
    """Which agents answer over mutual TLS under their inventory names, and how fast; nothing on a host is looked at.

    \b
      fleetmedic inventory ping -i production.ini
      fleetmedic inventory ping 'web:!web03' -i production.ini
      fleetmedic inventory ping -i production.ini --format jsonl

    Each is asked who it is (Describe), twice on one connection: a health check would be answered by the front alone,
    and would tell neither the version nor a worker that is away. The round trip is the second one's, without set-up.

    Exit codes: 0 every agent answered, 4 some did not, 65 no such host, 69 none did, 130 interrupted.
    """
    # Here, for the other commands of this group talk to nobody.
    from controller.cli import describe, looking  # noqa: PLC0415
    from controller.render import ping  # noqa: PLC0415
    from controller.render.check_json import one_line  # noqa: PLC0415

    def streamed(item: "Described") -> None:
        click.echo(one_line(ping.host(item)))

    desk = options.desk(**flags)
    if not desk.sources():
        desk.inventory()
    asked = looking.choose(desk, Target(pattern, limit, expect, allow_unmatched))
    if list_hosts:
        targeting.listed(asked.names)
        return 0
    began = time.monotonic()
    told = describe.ask(desk, asked, streamed if form == "jsonl" else None)
    pinged = ping.Pinged(told.items, time.monotonic() - began, told.code())
    if form == "text":
        ping.body(desk.paper(no_colour=no_colour), pinged)
    else:
        click.echo(ping.document(pinged) if form == "json" else one_line(ping.summary(pinged)))
    return pinged.exit_code
