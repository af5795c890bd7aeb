"""fleetmedic inventory hosts: whom a pattern selects."""

import click

from controller.cli import options, targeting
from controller.cli.targeting import Target


@click.command("hosts", short_help="The hosts a pattern selects.")
@click.argument("pattern", default="all")
@options.several(options.INVENTORY)
@options.several((targeting.LIMIT, targeting.EXPECT, targeting.ALLOW_UNMATCHED))
@options.STORE
def command(
    pattern: str,
    limit: str | None,
    expect: int | None,
    allow_unmatched: bool,
    **flags: tuple[str, ...] | str | None,
) -> None:
    """The hosts a pattern selects, a name a line in the order in which they are asked; without one, all.

    \b
      fleetmedic inventory hosts 'web:!web03' -i production.ini
      fleetmedic inventory hosts web --limit 10% -i production.ini
      fleetmedic inventory hosts bad@last -i production.ini
    """
    desk = options.desk(**flags)
    inventory = desk.inventory()
    targeting.listed(targeting.names(desk, inventory, Target(pattern, limit, expect, allow_unmatched)))
    for warning in inventory.warnings:
        desk.warn(warning)
