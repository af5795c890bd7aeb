"""fleetmedic inventory: what the inventory says."""

import json

import click

from controller.cli import options
from controller.inventory import connection
from controller.inventory.graph import Host, Inventory, InventoryError
from controller.render.escape import line

SECRET_WORDS = ("pass", "secret", "token", "private_key_content")


@click.group("inventory")
def command() -> None:
    """What the inventory says, as every other command understands it.

    \b
      fleetmedic inventory hosts 'web:&prod' -i production.ini
      fleetmedic inventory graph -i production.ini
      fleetmedic inventory host web01 -i production.ini
    """


@command.command("list")
@options.INVENTORY
def list_all(inventory: tuple[str, ...]) -> None:
    """Everything as JSON, in the shape Ansible's own list has.

    \b
      fleetmedic inventory list -i production.ini
    """
    read = options.desk(inventory=inventory).inventory()
    groups = {
        group.name: {"hosts": list(group.hosts), "children": list(group.children)}
        for group in read.groups.values()
        if group.name != "all"
    }
    hostvars = {host.name: _shown(host) for host in read.hosts.values()}
    whole = {"_meta": {"hostvars": hostvars}, "all": {"children": list(read.groups["all"].children)}, **groups}
    click.echo(json.dumps(whole, indent=2, default=str))


@command.command()
@click.argument("pattern", default="all")
@options.INVENTORY
def hosts(pattern: str, inventory: tuple[str, ...]) -> None:
    """The hosts a pattern selects, one a line; without one, all.

    \b
      fleetmedic inventory hosts 'web:!web03' -i production.ini
    """
    from controller.inventory import patterns  # noqa: PLC0415

    for host in patterns.select(options.desk(inventory=inventory).inventory(), pattern):
        click.echo(host.name)


@command.command()
@options.INVENTORY
def graph(inventory: tuple[str, ...]) -> None:
    """Groups and hosts as a tree.

    \b
      fleetmedic inventory graph -i production.ini
    """
    read = options.desk(inventory=inventory).inventory()
    click.echo("@all:")
    for name in read.groups["all"].children:
        _branch(read, name, 1)


def _branch(inventory: Inventory, name: str, depth: int) -> None:
    group = inventory.groups[name]
    click.echo(f"{'  |' * depth}--@{name}:")
    for child in group.children:
        _branch(inventory, child, depth + 1)
    for host in group.hosts:
        click.echo(f"{'  |' * (depth + 1)}--{host}")


@command.command(short_help="One host: where it is dialled, its groups and variables.")
@click.argument("name")
@options.INVENTORY
def host(name: str, inventory: tuple[str, ...]) -> None:
    """One host: where it is dialled, its groups, its variables and where each is set.

    \b
      fleetmedic inventory host web01 -i production.ini
    """
    from controller.inventory import patterns  # noqa: PLC0415

    read = options.desk(inventory=inventory).inventory()
    chosen = patterns.select(read, name)
    if len(chosen) != 1:
        raise InventoryError(f"{name}: names {len(chosen)} hosts; `fleetmedic inventory hosts` lists them")
    endpoint = connection.endpoint(chosen[0])
    dialled = f"dialled at {endpoint.address} port {endpoint.port}"
    click.echo(f"{endpoint.name}  {dialled if connection.has_agent(chosen[0]) else connection.AGENTLESS}")
    click.echo(f"groups: {', '.join(chosen[0].groups) or 'none'}")
    for key, value in _shown(chosen[0]).items():
        click.echo(f"{key} = {line(json.dumps(value, default=str))}   ({chosen[0].variables[key].origin})")


def _shown(host: Host) -> dict[str, object]:
    """The variables, but for those that hold secrets by their name."""
    return {
        name: "***" if any(word in name.lower() for word in SECRET_WORDS) else variable.value
        for name, variable in host.variables.items()
    }
