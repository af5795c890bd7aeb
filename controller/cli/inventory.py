"""fleetmedic inventory: what the inventory says."""

import json
import re

import click

from controller.cli import options, pinging
from controller.inventory import connection
from controller.inventory.graph import Host, InventoryError
from controller.render.escape import line

SECRET = re.compile(r"pass|pwd|secret|token|api_?key|credential|private_key_content", re.IGNORECASE)
# In a URL: what stands between a user and the host, and the values of such words in its query.
IN_URL = re.compile(r"(://[^\s/@:]*:)[^\s/@]*@")
IN_QUERY = re.compile(r"([?&][^=&\s]*(?:pass|pwd|secret|token|key|auth)[^=&\s]*=)[^&\s]*", re.IGNORECASE)
MASK = "***"


@click.group("inventory")
def command() -> None:
    """What the inventory says, as every other command understands it.

    \b
      fleetmedic inventory hosts 'web:&prod' -i production.ini
      fleetmedic inventory graph -i production.ini
      fleetmedic inventory host web01 -i production.ini
    """


command.add_command(pinging.command)


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
    # By hand: groups may be nested deeper than calls.
    # What is last comes first out: children before hosts.
    waiting = [(f"@{name}:", name, 1) for name in reversed(read.groups["all"].children)]
    while waiting:
        text, name, depth = waiting.pop()
        click.echo(f"{'  |' * depth}--{text}")
        group = read.groups.get(name)
        if group:
            waiting += [(host, "", depth + 1) for host in reversed(group.hosts)]
            waiting += [(f"@{child}:", child, depth + 1) for child in reversed(group.children)]


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
    return {name: _clean(name, variable.value) for name, variable in host.variables.items()}


def _clean(name: str, value: object) -> object:
    """A value as JSON can hold it, without what is secret by its name or within a URL."""
    if SECRET.search(name) and not isinstance(value, dict):
        return MASK
    if isinstance(value, dict):
        return {str(key): _clean(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_clean(name, inner) for inner in value]
    if isinstance(value, str):
        return IN_QUERY.sub(rf"\1{MASK}", IN_URL.sub(rf"\1{MASK}@", value))
    return value
