"""fleetmedic agent uninstall: agents onto hosts over SSH, and off them again."""

import click


@click.command("uninstall")
def command() -> None:
    """To come.

    \b
      fleetmedic agent uninstall
    """
