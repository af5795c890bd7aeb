"""fleetmedic mitigate: changes that ease an incident, planned, applied and proven."""

import importlib
from types import MappingProxyType

import click

from controller.change.catalogue import ACTIONS
from controller.cli.lazy import Lazy, Parts

ACTING = "controller.cli.mitigate.acting"
# Command: the module that has it as `command`, and its line in the help.
COMMANDS: Parts = MappingProxyType(
    {
        **{name: (ACTING, known.title) for name, known in ACTIONS.items()},
        "apply": ("controller.cli.mitigate.applied", "Apply a plan that was made with --dry-run, exactly it."),
        "undo": ("controller.cli.mitigate.undone", "Undo an operation, or all of a plan."),
        "verify": ("controller.cli.mitigate.verified", "Look again whether an operation has cured."),
        "operations": ("controller.cli.mitigate.operations", "What was done on hosts, and how it ended."),
        "list": ("controller.cli.mitigate.listed", "The actions, their risk, and what they cure."),
        "show": ("controller.cli.mitigate.shown", "One action, or a plan that was made."),
    }
)


class Actions(Lazy):
    """The actions have one room for all."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in ACTIONS:
            return super().get_command(ctx, cmd_name)
        found: click.Command = importlib.import_module(ACTING).COMMANDS[cmd_name]
        return found


@click.group("mitigate", cls=Actions, parts=COMMANDS)
def command() -> None:
    """Changes that ease an incident: planned on every host, applied in batches, and proven by the check that found it.

    \b
      fleetmedic mitigate list
      fleetmedic mitigate unpause-container web -i production.ini --container orders-app --dry-run
      fleetmedic mitigate apply P-94QZ
      fleetmedic mitigate undo P-94QZ
    """
