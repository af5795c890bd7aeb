"""fleetmedic inventory host: one host, where it is dialled, and what is set for it where."""

import json
from collections.abc import Iterator

import click

from controller.cli import options
from controller.cli.inventory.secrets import hidden
from controller.inventory import connection
from controller.inventory.graph import Host
from controller.inventory.listing import plain, readable, shown
from controller.inventory.origins import InventoryError
from controller.inventory.patterns.selecting import select
from controller.inventory.variables import Variable
from controller.render.escape import line


@click.command("host", short_help="One host: where it is dialled, its groups and variables.")
@click.argument("name")
@options.several(options.INVENTORY)
@click.option("--origin", is_flag=True, help="Say of each variable which file, line and level won, and over what.")
@click.option("--agent-toml", is_flag=True, help="Print the agent.toml that its variables come to, for the host.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people or programs.")
def command(name: str, origin: bool, agent_toml: bool, form: str, **flags: tuple[str, ...] | str | None) -> None:
    """One host: where it is dialled, its groups, and its variables with their secrets masked.

    \b
      fleetmedic inventory host web01 -i production.ini
      fleetmedic inventory host web01 --origin -i production.ini
      fleetmedic inventory host web01 --agent-toml -i production.ini
      fleetmedic inventory host web01 --format json -i production.ini   as ansible-inventory --host
    """
    desk = options.desk(**flags)
    read = desk.inventory()
    chosen = select(read, name)
    if len(chosen) != 1:
        raise InventoryError(f"{name}: names {len(chosen)} hosts; `fleetmedic inventory hosts` lists them")
    host = read.host(chosen[0])
    if agent_toml:
        from controller.inventory.services.agent_toml import render  # noqa: PLC0415 - few ask for it

        click.echo(render(host), nl=False)
        return
    readable(host.layers)
    for warning in read.warnings:
        desk.warn(warning)
    if form == "json":
        click.echo(json.dumps(shown(host.variables, hidden), indent=4, sort_keys=True))
        return
    endpoint = connection.endpoint(host)
    dialled = f"dialled at {endpoint.address} port {endpoint.port}"
    click.echo(f"{endpoint.name}  {dialled if connection.has_agent(host) else connection.AGENTLESS}")
    click.echo(f"groups: {', '.join(host.groups) or 'none'}")
    for text in _variables(host, origin=origin):
        click.echo(text)


def _variables(host: Host, *, origin: bool) -> Iterator[str]:
    for key, variable in host.variables.items():
        yield f"{line(key)} = {_value(key, variable)}"
        if origin:
            *beaten, (level, _) = [
                (layer.level, layer.variables[key]) for layer in host.layers if key in layer.variables
            ]
            yield f"    from {level}, {line(str(variable.origin))}"
            for under, value in reversed(beaten):
                yield f"    over {under}, {line(str(value.origin))}: {_value(key, value)}"


def _value(key: str, variable: Variable) -> str:
    return line(json.dumps(plain(hidden(key, variable.value)), ensure_ascii=False))
