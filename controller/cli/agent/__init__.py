"""fleetmedic agent: agents onto hosts, how they are, and off them again."""

from types import MappingProxyType

import click

from controller.cli.lazy import Lazy, Parts

# Command: the module that has it as `command`, and its line in the help.
COMMANDS: Parts = MappingProxyType(
    {
        "install": ("controller.cli.agent.install", "Put the agent on hosts over SSH, or bring it up to date."),
        "uninstall": (
            "controller.cli.agent.uninstall",
            "Take the agent off hosts, and leave nothing but its audit log.",
        ),
        "status": ("controller.cli.agent.status", "How the agents stand: versions, certificates, freezes, alarms."),
        "doctor": ("controller.cli.agent.doctor", "Why an agent does not answer, step by step, and the mend."),
        "renew": ("controller.cli.agent.renew", "New certificates for agents, over the connections they secure."),
        "bundle": ("controller.cli.agent.bundle", "Make what is installed, ahead, for one kind of host."),
    }
)


@click.group("agent", cls=Lazy, parts=COMMANDS)
def command() -> None:
    """The agents of the fleet: onto hosts over SSH, and off them again.

    \b
      fleetmedic agent install all -i fleet.ini
      fleetmedic agent status -i fleet.ini
      fleetmedic agent doctor web01 -i fleet.ini
      fleetmedic agent uninstall web01 -i fleet.ini
    """
