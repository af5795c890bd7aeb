"""fleetmedic inventory list: everything as JSON."""

import json

import click

from controller.cli import options, targeting
from controller.cli.inventory.secrets import hidden
from controller.cli.targeting import Target
from controller.inventory.listing import listing


@click.command("list", short_help="Everything, as ansible-inventory --list has it.")
@options.several(options.INVENTORY)
@click.option("--export", is_flag=True, help="Groups with their own variables, and hosts with theirs alone.")
@click.option("--format", "form", type=click.Choice(["json"]), default="json", help="JSON is all there is.")
@targeting.LIMIT
@options.STORE
def command(export: bool, form: str, limit: str | None, **flags: tuple[str, ...] | str | None) -> None:
    """Everything as JSON, in the shape of `ansible-inventory --list`, with its secrets masked.

    \b
      fleetmedic inventory list -i production.ini
      fleetmedic inventory list --export -i production.ini
    """
    del form
    desk = options.desk(**flags)
    if export and desk.text("inventory_backend") == "ansible":
        raise click.UsageError("--export is for what we read ourselves: run ansible-inventory --list --export")
    read = desk.inventory()
    hosts = targeting.names(desk, read, Target(limit=limit))
    whole = listing(read, hosts, hidden, export=export)
    for warning in read.warnings:
        desk.warn(warning)
    click.echo(json.dumps(whole, indent=4, sort_keys=True))
