"""fleetmedic agent install: agents onto hosts over SSH, and off them again."""

import click


@click.command("install")
def command() -> None:
    """To come.

    \b
      fleetmedic agent install
    """
