"""fleetmedic pki list: which certificates there are, and how they stand."""

import json

import click

from controller.cli import options
from controller.cli.pki import folder as place


@click.command("list", short_help="Who holds which certificate, worst first.")
@place.OPTION
@click.option("--all", "everything", is_flag=True, help="What was replaced or has ended long ago, too.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    help="For people, or one document for programs.",
)
@options.NO_COLOUR
def command(folder: str | None, everything: bool, form: str, no_colour: bool) -> None:
    """Who holds which certificate: what has ended or ends soon first, then what is denied, then what is valid.

    \b
      fleetmedic pki list
      fleetmedic pki list --all --format json

    It is the register that is shown, register.jsonl in the folder. An agent's certificate ends soon from half of its
    life on; an operator's is not shown any more once it has ended.
    """
    from controller.render import certificates  # noqa: PLC0415 - other commands of the group don't need them
    from controller.trust import holders, register  # noqa: PLC0415

    desk, at = place.opened(folder)
    now = desk.now()
    read = register.read(at)
    for number in read.unread:
        desk.warn(f"{at / register.NAME}:{number}: is no line of the register, and left out: was the disk full once?")
    every = holders.held(read, now)
    shown = every if everything else holders.current(every, now)
    if form == "json":
        click.echo(json.dumps(certificates.document(shown), indent=2))
        return
    certificates.table(desk.paper(no_colour=no_colour), shown, len(every), now)
