"""fleetmedic runs: what was found before."""

import shlex
import sqlite3
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

import click

from controller import changes
from controller.cli import kept, options
from controller.cli.options import Desk
from controller.inventory.origins import InventoryError
from controller.render import changes_json, changes_text, check_json, check_paste, run_text
from controller.render.check_text import Again, View, counted
from controller.render.escape import line
from controller.store import database, runs


@click.group("runs")
def command() -> None:
    """What was found before: every run is kept.

    \b
      fleetmedic runs list
      fleetmedic runs show 7F3K
      fleetmedic runs diff 7F3K last
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
@click.option("--paste", is_flag=True, help="At most 15 plain, redacted lines, for the incident's channel.")
@options.NO_COLOUR
@options.STORE
def show(run: str, only: str | None, form: str, paste: bool, no_colour: bool, store: str | None) -> None:
    """One run, with the evidence of all that was bad: tables, equal commands, first steps.

    RUN is the name at the end of a check's answer, or `last`; `fleetmedic runs list` has them all.

    \b
      fleetmedic runs show 7F3K
      fleetmedic runs show 7F3K --host db01 --format json
      fleetmedic runs show last --paste
    """
    if paste and (form == "json" or only is not None):
        raise click.UsageError("--paste is a form of its own: without --format json and --host")
    desk, base = _open(store)
    found = kept.run(base, run)
    names = [report.host for report in found.reports]
    if only is not None and only not in names:
        close = get_close_matches(only, names, n=1)
        raise InventoryError(f"run {found.id} has no host {only!r}" + (f"; did you mean {close[0]}?" if close else ""))
    shown, rest = kept.rested(base, found)
    if form == "json":
        click.echo(check_json.document(shown, rest))
    elif paste:
        click.echo("\n".join(check_paste.lines(shown, rest, _given(store))))
    else:
        run_text.body(desk.paper(no_colour=no_colour), found, only, rest)


@command.command(short_help="What changed between two runs.")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    help="For people, or one document for programs.",
)
@options.NO_COLOUR
@options.STORE
def diff(before: str, after: str, form: str, no_colour: bool, store: str | None) -> None:
    """What changed from run A to run B: new, worse, better and gone; what stands is counted.

    Each is a run's name, or `last`. A finding is the same where host, check and subject are, whatever its numbers.
    The exit code is 0, whatever changed; the one that is shown is what a check with --baseline ends with.

    \b
      fleetmedic runs diff 7F3K last
      fleetmedic runs diff 7F3K RRT2 --format json
    """
    desk, base = _open(store)
    first, second = kept.run(base, before), kept.run(base, after)
    shown, rest = kept.rested(base, second)
    found = changes.without(changes.compare(first, second), [(item.host, item.finding) for item in rest.resting])
    code = changes.exit_code(found, strict=False)
    if form == "json":
        click.echo(changes_json.document(shown, found, rest, code))
        return
    ended = second.started_at + second.seconds
    again = Again("", "", _given(store))
    view = View(everything=False, folded=True, again=again, now=ended, rest=rest)
    changes_text.body(desk.paper(no_colour=no_colour), shown, found, view, code)


def _given(store: str | None) -> str:
    """The flag, to stand behind another command."""
    return "" if store is None else f" --store {shlex.quote(store)}"


def _open(store: str | None) -> tuple[Desk, sqlite3.Connection]:
    desk = options.desk(store=store)
    return desk, database.connect(Path(desk.text("store")))
