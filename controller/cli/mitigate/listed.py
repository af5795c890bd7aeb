"""fleetmedic mitigate list: the actions, their risk, and what they cure."""

import json

import click

from controller.change.catalogue import ACTIONS
from controller.cli import options


@click.command("list")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people, or JSON.")
@options.NO_COLOUR
def command(form: str, no_colour: bool) -> None:
    """The actions there are; which of them an agent does, and to what, stands in its agent.toml.

    \b
      fleetmedic mitigate list
    """
    del no_colour
    if form == "json":
        rows = [
            {"name": name, "title": known.title, "risk": known.risk, "cures": list(known.cures)}
            for name, known in ACTIONS.items()
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    width = max(map(len, ACTIONS)) + 2
    for name, known in ACTIONS.items():
        click.echo(f"{name:<{width}}{known.title}")
        click.echo(f"{'':<{width}}risk {known.risk}; cures {', '.join(known.cures)}")
