"""fleetmedic pki show: one certificate, or all of a name."""

from pathlib import Path

import click

from controller.cli import options
from controller.cli.pki import folder as place


@click.command("show", short_help="All that is known of a name, a serial or a certificate's file.")
@click.argument("what", metavar="NAME|SERIAL|FILE")
@place.OPTION
@options.NO_COLOUR
def command(what: str, folder: str | None, no_colour: bool) -> None:
    """All that is known of the certificates of a NAME, of the one with a SERIAL (or its beginning), or in a FILE.

    \b
      fleetmedic pki show alice
      fleetmedic pki show 5A0C11
      fleetmedic pki show ~/.config/fleetmedic/operator.crt
    """
    from controller.render import certificates  # noqa: PLC0415 - other commands of the group don't need them
    from controller.trust import holders, register  # noqa: PLC0415

    desk, at = place.opened(folder)
    now = desk.now()
    if Path(what).is_file():
        from controller.trust import told  # noqa: PLC0415 - 50 ms of cryptography

        shown = [told.of(Path(what), at, now)]
    else:
        shown = list(holders.find(holders.held(register.read(at), now), what))
    certificates.whole(desk.paper(no_colour=no_colour), shown, now)
