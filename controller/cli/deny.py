"""fleetmedic deny: a second person's word on a plan."""

from typing import Any

import click

from controller.cli import deciding, options


@click.command("deny", epilog=deciding.CODES)
@options.several(deciding.OPTIONS)
def command(plan: str, pattern: str | None, **more: Any) -> int:  # noqa: ANN401 - handed on as they are
    """Deny somebody else's plan: it can't be applied any more.

    \b
      fleetmedic deny P-94QZ db -i production.ini --reason 'the standby is not ready'
      fleetmedic deny P-94QZ -i production.ini --yes --reason 'wrong host'

    The plan is shown as each host has it. Who planned it reads the reason.
    """
    return deciding.decide(plan, pattern, approved=False, **more)
