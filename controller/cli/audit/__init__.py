"""fleetmedic audit: who asked what of the agents, from their own logs."""

from types import MappingProxyType

import click

from controller.cli.lazy import Lazy, Parts

# Command: the module that has it as `command`, and its line in the help.
COMMANDS: Parts = MappingProxyType(
    {
        "list": ("controller.cli.audit.listed", "The newest records of all hosts, by their time."),
        "verify": (
            "controller.cli.audit.verify",
            "Whether the logs are whole: edits, deletions and cut ends are found.",
        ),
        "export": ("controller.cli.audit.export", "Every record, for programs: JSON lines or CSV."),
    }
)


@click.group("audit", cls=Lazy, parts=COMMANDS)
def command() -> None:
    """Who asked what of the agents, and how it ended: every host keeps a log of it, chained by hashes.

    \b
      fleetmedic audit list -i production.ini --most 20
      fleetmedic audit verify -i production.ini
      fleetmedic audit export -i production.ini

    Reading a log takes a responder's certificate, and stands in it.
    """
