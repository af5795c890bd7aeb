"""The folder of the authorities, which every command of the group works on."""

from collections.abc import Sequence
from pathlib import Path

import click

from controller import settings
from controller.cli import options
from controller.cli.options import Desk

OPTION = click.option(
    "--dir", "folder", metavar="DIR", help="The folder of the authorities [default: ~/.config/fleetmedic/pki]."
)


def opened(folder: str | None, **flags: str | Sequence[str] | None) -> tuple[Desk, Path]:
    """The settings with the flags on top, and the folder that they mean."""
    desk = options.desk(pki=folder, **flags)
    return desk, Path(desk.text("pki"))


def beside(desk: Desk) -> Path:
    """Where a login leaves the denylist of its bastion."""
    return settings.own_folder(desk.environment) / "denylist.pem"
