"""fleetmedic inventory validate."""

import click


@click.command("validate")
def command() -> None:
    """x"""
