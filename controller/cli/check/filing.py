"""Writes an answer into a folder, where one is wanted: files for each host, and a summary."""

from pathlib import Path

import click

from controller import exit_codes
from controller.cli.check.once import Looked
from controller.cli.check.showing import Showing
from controller.render.escape import line


def file(folder: Path, looked: Looked, showing: Showing) -> int:
    """0, or the exit code of not having written; what was found is shown before, and counts more."""
    from controller.render import tree  # noqa: PLC0415 - few ask for it

    try:
        tree.write(folder, looked.whole, looked.run, showing.view(looked.run, looked.rest))
    except OSError as error:
        click.echo(f"fleetmedic: not written: {line(str(error.filename or folder))}: {error.strerror}", err=True)
        return exit_codes.OWN_ERROR
    # What is for programs, or for a channel, has no line more.
    click.echo(f"wrote {line(str(folder.absolute()))}", err=showing.wanted.format != "text")
    return 0
