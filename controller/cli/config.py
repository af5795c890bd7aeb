"""fleetmedic config: the settings as they stand."""

import click

from controller.cli import options
from controller.settings import KNOWN


@click.group("config")
def command() -> None:
    """The settings: flags > environment > user's config > system's config.

    \b
      fleetmedic config show --origin
    """


@command.command()
@click.option("--origin", is_flag=True, help="Say of each where it comes from.")
def show(origin: bool) -> None:
    """Every setting and its value.

    Each can be given as a flag (--ca), as a variable (FLEETMEDIC_CA), or in ~/.config/fleetmedic/config.toml or
    /etc/fleetmedic/config.toml (ca = "/etc/fleetmedic/agent-ca.crt"); the first of these that has it counts.

    \b
      fleetmedic config show --origin
    """
    for name, setting in options.desk().settings.items():
        where = f"   ({setting.origin})" if origin else ""
        value = setting.value.replace("\n", " ") or f"not set: {KNOWN[name][2]}"
        click.echo(f"{name} = {value}{where}")
