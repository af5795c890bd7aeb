"""fleetmedic thaw: agents that were frozen take changes again."""

from typing import Any

import click

from controller.cli import freezing


@click.command(epilog=freezing.CODES)
@freezing.with_options
def command(reason: str, pattern: str | None, **more: Any) -> int:  # noqa: ANN401 - handed on as they are
    """End a freeze: agents take changes again.

    \b
      fleetmedic thaw 'the deploy is out' all -i production.ini

    REASON stands in the hosts' audit logs. PATTERN chooses hosts as in `fleetmedic check`.
    """
    return freezing.tell(reason, pattern, frozen=False, **more)
