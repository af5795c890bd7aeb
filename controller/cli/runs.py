"""fleetmedic runs: what was found before."""

import sqlite3
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

import click

from controller.cli import options
from controller.cli.options import Desk
from controller.inventory.graph import InventoryError
from controller.render import check_json, run_text
from controller.render.check_text import counted
from controller.render.escape import line
from controller.store import database, runs


@click.group("runs")
def command() -> None:
    """What was found before: every run is kept.

    \b
      fleetmedic runs list
      fleetmedic runs show 7F3K
    """


@command.command("list")
@click.option("--most", metavar="N", type=click.IntRange(1, 10_000), default=20, help="How many [default: 20].")
@options.STORE
def list_runs(most: int, store: str | None) -> None:
    """The last runs, newest first.

    \b
      fleetmedic runs list --most 5
    """
    _, base = _open(store)
    for item in runs.recent(base, most):
        when = datetime.fromtimestamp(item.started_at, UTC)
        where = f"   {line(item.inventory)}" if item.inventory else ""
        asked = f"{when:%Y-%m-%d %H:%M:%SZ}  {item.kind} {line(item.pattern)}"
        seen = f"{counted(item.hosts, 'host')}  {counted(item.checks, 'check')}  {item.seconds:.1f}s"
        click.echo(f"{item.id}  {asked}  {seen}  exit {item.exit_code}{where}")


@command.command(short_help="One run, with the evidence of all that was bad.")
@click.argument("run")
@click.option("--host", "only", metavar="HOST", help="Only this host.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    help="For people, or one document for programs.",
)
@options.NO_COLOUR
@options.STORE
def show(run: str, only: str | None, form: str, no_colour: bool, store: str | None) -> None:
    """One run, with the evidence of all that was bad: tables, equal commands, first steps.

    RUN is the name at the end of a check's answer; `fleetmedic runs list` has them all.

    \b
      fleetmedic runs show 7F3K
      fleetmedic runs show 7F3K --host db01 --format json
    """
    desk, base = _open(store)
    found = runs.load(base, run)
    if found is None:
        close = get_close_matches(run.upper(), runs.ids(base), n=1)
        raise InventoryError(f"no run {run!r}; " + (f"did you mean {close[0]}?" if close else "`fleetmedic runs list`"))
    names = [report.host for report in found.reports]
    if only is not None and only not in names:
        close = get_close_matches(only, names, n=1)
        raise InventoryError(f"run {found.id} has no host {only!r}" + (f"; did you mean {close[0]}?" if close else ""))
    if form == "json":
        click.echo(check_json.document(found))
    else:
        run_text.body(desk.paper(no_colour=no_colour), found, only)


def _open(store: str | None) -> tuple[Desk, sqlite3.Connection]:
    desk = options.desk(store=store)
    return desk, database.connect(Path(desk.text("store")))
