"""fleetmedic show: what agents see, as one table over all hosts."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from controller import exit_codes, tables
from controller.asking import Answers, Question
from controller.cli import kept, looking, options, targeting
from controller.cli.options import Desk
from controller.cli.standings import note
from controller.cli.targeting import Target
from controller.endings import SILENT
from controller.host_report import HostReport, standings
from controller.inventory.origins import InventoryError
from controller.render import frozen_text, show_text
from controller.store import database
from controller.tables import KINDS, Kind, Table

TABLES = "\n".join(["\b", *(f"  {name:<14}{kind.about}" for name, kind in KINDS.items())])
CODES = (
    "Exit codes: 0 all seen, 2 something could not be seen, 4 some host gave no answer, 69 none did, 130 interrupted."
)


@click.command(epilog=f"{TABLES}\n\n{CODES}")
@click.argument("name", metavar="TABLE", type=click.Choice(tuple(KINDS)))
@click.argument("pattern", required=False)
@options.several(options.INVENTORY)
@options.several(targeting.OPTIONS)
@click.option("--service", "services", multiple=True, metavar="NAME", help="Only this service's (again for more).")
@click.option("--most", metavar="N", type=click.IntRange(1), help="Only the first N rows.")
@click.option("--run", metavar="RUN", help="Of a kept run (or `last`), and of the hosts that had something bad then.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "jsonl"]),
    default="text",
    help="For people (text), or a JSON line for each row.",
)
@click.option("--json", "form", flag_value="jsonl", help="The same as --format jsonl.")
@options.several(options.BOUNDS)
@options.NO_COLOUR
@options.several(options.TRUST)
@options.STORE
def command(
    name: str,
    pattern: str | None,
    services: tuple[str, ...],
    most: int | None,
    run: str | None,
    form: str,
    no_colour: bool,
    limit: str | None,
    list_hosts: bool,
    expect: int | None,
    allow_unmatched: bool,
    **flags: str | Sequence[str] | None,
) -> int:
    """What agents see, as one table over all hosts, worst first; nothing is judged and nothing is kept.

    \b
      fleetmedic show sessions                          this machine
      fleetmedic show locks db -i production.ini
      fleetmedic show containers -i production.ini --most 20
      fleetmedic show queries --run 7F3K                as it was in a kept run

    PATTERN chooses hosts as in `fleetmedic check`.
    """
    desk = options.desk(**flags)
    kind = KINDS[name]
    if list_hosts and run is not None:
        raise click.UsageError("--list-hosts lists whom a new look would ask, not the hosts of --run")
    if services and run is not None:
        raise click.UsageError("--service goes with a new look, not with --run")
    target = Target(pattern, limit, expect, allow_unmatched)
    if run is not None and target != Target(pattern):
        raise click.UsageError("--limit, --expect and --allow-unmatched go with a new look, not with --run")
    if list_hosts:
        targeting.listed(looking.choose(desk, target).names)
        return 0
    answers = Answers(_kept(desk, kind, run, pattern)) if run is not None else _asked(desk, kind, target, services)
    reports = answers.reports
    made = tables.table(kind, reports, services)
    shown = replace(made, rows=made.rows[:most])
    if form == "jsonl":
        for record in show_text.records(name, shown):
            click.echo(record)
    else:
        show_text.body(desk.paper(no_colour=no_colour), name, shown, len(reports), len(made.rows) - len(shown.rows))
    # Beside the rows, for a program reads a row from each line.
    frozen_text.write(desk.paper(no_colour=no_colour, error=form == "jsonl"), standings(reports))
    return _code(reports, made) if answers.signal is None else exit_codes.SIGNALLED + answers.signal


def _asked(desk: Desk, kind: Kind, target: Target, services: tuple[str, ...]) -> Answers:
    asked = looking.choose(desk, target)
    question = Question(services=services, probes=(*kind.probes, *kind.also))
    answers = looking.look(asked, question, looking.identity(desk, asked), lambda _: None)
    looking.refuse_bad_question(answers.reports)
    if not asked.here:
        note(desk.text("store"), standings(answers.reports))
    return answers


def _kept(desk: Desk, kind: Kind, run: str, pattern: str | None) -> tuple[HostReport, ...]:
    """Of a kept run the hosts whose snapshots were kept: those with something bad."""
    with contextlib.closing(database.connect(Path(desk.text("store")))) as base:
        found = kept.run(base, run)
    reports = [report for report in found.reports if report.answer.snapshots and pattern in (None, "all", report.host)]
    if not reports:
        whose = pattern or "any host"
        raise InventoryError(f"run {found.id} has no snapshots of {whose}: they are kept where something is bad")
    if not any(snapshot.target.probe in kind.probes for report in reports for snapshot in report.answer.snapshots):
        raise InventoryError(f"run {found.id} did not look at that: a check has no use for it, and show asks anew")
    return tuple(reports)


def _code(reports: Sequence[HostReport], table: Table) -> int:
    mute = {report.host for report in reports if report.state in SILENT}
    if len(mute) == len(reports):
        return exit_codes.NO_AGENT
    blind = {host for host, _ in table.unseen} - mute
    return (exit_codes.FAILED if blind else 0) | (exit_codes.UNREACHABLE if mute else 0)
