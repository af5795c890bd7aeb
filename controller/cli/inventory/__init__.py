"""fleetmedic inventory: what the inventory says."""

import click

from controller.cli.inventory import graph, host, hosts, listed, ping, validate


@click.group("inventory")
def command() -> None:
    """What the inventory says, as every other command understands it.

    \b
      fleetmedic inventory hosts 'web:&prod' -i production.ini
      fleetmedic inventory graph -i production.ini
      fleetmedic inventory host web01 --origin -i production.ini
      fleetmedic inventory validate -i production.ini
      fleetmedic inventory ping -i production.ini
    """


for part in (listed, hosts, graph, host, validate, ping):
    command.add_command(part.command)
