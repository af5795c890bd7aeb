"""fleetmedic pki issue: a key and a certificate, made here."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import click

from controller import settings
from controller.cli import options, own_files
from controller.cli.options import Desk
from controller.cli.pki import folder as place


@click.command("issue", short_help="Make the key and certificate of an agent or an operator.")
@click.argument("kind", type=click.Choice(["agent", "operator"]))
@click.argument("name")
@place.OPTION
@click.option(
    "--out",
    metavar="DIR",
    help="The folder for NAME.crt and NAME.key [an operator's default: where every command looks for its own].",
)
@click.option(
    "--role", default="observer", metavar="ROLE", help="Of an operator: observer [default], responder or admin."
)
@click.option(
    "--break-glass",
    is_flag=True,
    help="For one hour, with --reason, when nothing else helps; agents record it as such.",
)
@click.option("--reason", default="", metavar="TEXT", help="Why the glass is broken; everybody will read it.")
@options.STORE
def command(
    kind: str,
    name: str,
    folder: str | None,
    out: str | None,
    role: str,
    break_glass: bool,
    reason: str,
    store: str | None,
) -> None:
    """Make a key and a certificate: for an agent (NAME as in the inventory) or an operator (NAME of a person).

    An agent's lives 90 days, an operator's 8 hours; nothing renews one by itself.

    \b
      fleetmedic pki issue operator alice --role responder
      fleetmedic pki issue operator bob --role observer --out bob
      fleetmedic pki issue agent db01 --out db01-tls
      fleetmedic pki issue operator alice --role admin --break-glass --reason 'bastion is down, INC-42'

    Without --out an operator's goes to where `fleetmedic check` finds it, with the agents' authority beside it.
    """
    from controller.trust import authority  # noqa: PLC0415 - 50 ms that other commands of the group don't need

    why = " ".join(reason.split())
    if break_glass is not bool(why):
        raise click.UsageError("--break-glass and --reason TEXT belong together")
    desk, at = place.opened(folder, store=store)
    now = desk.now()
    if kind == "agent":
        if out is None or why:
            raise click.UsageError("an agent's goes to a folder of its own: --out DIR, and without --break-glass")
        pair = authority.issue_agent(at, Path(out), name, now, actor=desk.actor())
        click.echo(f"made {pair.certificate.absolute()} and {pair.key.name}")
        return
    with _noted(desk, name, role, why, now):
        if out is None:
            own = settings.own_folder(desk.environment)
            pair = authority.issue_own(at, own, name, role, now, reason=why, actor=desk.actor())
        else:
            pair = authority.issue_operator(at, Path(out), name, role, now, reason=why, actor=desk.actor())
    click.echo(f"made {pair.certificate.absolute()} and {pair.key.name}")
    if out is None:
        own_files.warn(desk)


@contextmanager
def _noted(desk: Desk, user: str, role: str, reason: str, now: datetime) -> Iterator[None]:
    """With a reason the store has an event of it, once it is signed; a store that can't be used stops it before."""
    if not reason:
        yield
        return
    from controller.store import database  # noqa: PLC0415 - only for a broken glass
    from controller.trust import broken_glass  # noqa: PLC0415

    file = Path(desk.text("store"))
    with closing(database.connect(file)) as base:
        yield
        with database.telling(file):
            broken_glass.note(base, user, role, reason, desk.actor(), now)
