"""fleetmedic freeze: agents refuse what changes their hosts, until they are thawed."""

from typing import Any

import click

from controller.cli import freezing


@click.command(epilog=freezing.CODES)
@freezing.with_options
def command(reason: str, pattern: str | None, **more: Any) -> int:  # noqa: ANN401 - handed on as they are
    """Make agents refuse whatever changes their hosts, for everybody, until `fleetmedic thaw`; looking goes on.

    \b
      fleetmedic freeze 'deploy freeze until 9' all -i production.ini
      fleetmedic freeze 'hands off, INC-214' db -i production.ini

    REASON is shown on every command of everybody who asks these hosts; it stands in their audit logs. PATTERN chooses
    hosts as in `fleetmedic check`; without it all of the inventory are frozen. Takes a responder's certificate.
    """
    return freezing.tell(reason, pattern, frozen=True, **more)
