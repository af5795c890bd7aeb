"""fleetmedic agent bundle: what is installed on hosts, made ahead."""

import click


@click.command("bundle")
def command() -> None:
    """Make what is installed, ahead, for one kind of host.

    \b
      fleetmedic agent bundle
    """
