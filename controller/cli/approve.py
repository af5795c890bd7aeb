"""fleetmedic approve: a second person's word on a plan."""

from typing import Any

import click

from controller.cli import deciding, options


@click.command("approve", epilog=deciding.CODES)
@options.several(deciding.OPTIONS)
def command(plan: str, pattern: str | None, **more: Any) -> int:  # noqa: ANN401 - handed on as they are
    """Approve somebody else's plan, where a host's owner wants a second person's word.

    \b
      fleetmedic approve P-94QZ db -i production.ini
      fleetmedic approve P-94QZ -i production.ini --yes --reason 'seen with alice'

    The plan is shown as each host has it, and approved exactly as it was shown. Nobody approves their own.
    """
    return deciding.decide(plan, pattern, approved=True, **more)
