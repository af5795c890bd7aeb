"""fleetmedic scripts: the names that a runbook knows, as thin scripts that call this fleetmedic."""

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import click

MARK = "Written by fleetmedic scripts install"
CHECK = "health-check-all-services.sh"
REPORT = "generate-incident-report.py"
# Announced with the command that fetches logs.
LATER = "fetch-logs.sh"
# The kernel cuts longer first lines, and splits them at blanks.
LONGEST_INTERPRETER = 120


class NotOurs(click.ClickException):
    """A file of somebody else's is in the way."""


@click.group("scripts")
def command() -> None:
    """The names that a runbook knows, as thin scripts that call this fleetmedic.

    \b
      fleetmedic scripts install /opt/runbook/scripts
    """


@command.command(short_help="Write health-check-all-services.sh and generate-incident-report.py.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--force", is_flag=True, help="Overwrite files of these names that fleetmedic has not written, too.")
def install(folder: Path, force: bool) -> None:
    """Write into DIR, where a runbook's paths point, the scripts it names; each calls this fleetmedic.

    \b
      fleetmedic scripts install ./scripts
      fleetmedic scripts install /opt/runbook/scripts --force

    health-check-all-services.sh is `fleetmedic check`, with a file for each host and a summary in --output-dir, or in
    a dated folder below the current one. generate-incident-report.py is `fleetmedic report`. All options are passed
    on.
    """
    from controller import writing  # noqa: PLC0415 - for this command alone

    texts = _texts(_program())
    foreign = [folder / name for name in texts if not _ours(folder / name)]
    if foreign and not force:
        names = ", ".join(str(place) for place in foreign)
        raise NotOurs(f"{names}: not written by fleetmedic, and left as it is: move it away, or add --force")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        writing.replace(folder / name, text, mode=0o777)
        click.echo(f"wrote {(folder / name).absolute()}")
    click.echo(f"not written: {LATER}, which comes with the command that fetches logs")


def _ours(place: Path) -> bool:
    """Whether it may be overwritten: there is none, or one of ours."""
    try:
        return MARK in place.read_text(errors="replace")
    except FileNotFoundError:
        return not place.is_symlink()


def _program() -> Path:
    """The console script that runs now; where it was called otherwise, the one beside the interpreter."""
    for place in (Path(sys.argv[0]), Path(sys.executable).with_name("fleetmedic")):
        whole = Path(os.path.abspath(place))  # noqa: PTH100 - links stay: an environment is found by its own path
        if whole.name == "fleetmedic" and whole.is_file() and os.access(whole, os.X_OK):
            return whole
    raise click.ClickException(
        f"no console script fleetmedic beside {sys.executable}: install fleetmedic there, and call it by its name"
    )


def _texts(program: Path) -> Mapping[str, str]:
    quoted = shlex.quote(str(program))
    about = f"# {MARK}, which writes it again where fleetmedic has moved."
    check = f"""\
#!/bin/sh
{about}
# An --output-dir that is given stands later, and counts instead of this one.
exec {quoted} check --output-dir "./health-$(date -u +%Y-%m-%dT%H%M%SZ)" "$@"
"""
    interpreter = sys.executable
    if len(interpreter) > LONGEST_INTERPRETER or " " in interpreter:
        interpreter = "/usr/bin/env python3"
    report = f"""\
#!{interpreter}
{about}
import os
import sys

os.execv({str(program)!r}, ["fleetmedic", "report", *sys.argv[1:]])
"""
    return {CHECK: check, REPORT: report}
