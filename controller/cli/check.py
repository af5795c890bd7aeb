"""fleetmedic check: look at every host and say what is wrong."""

import contextlib
import os
import random
import shlex
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import click

from controller import asking, exit_codes
from controller.asking import Question
from controller.calling import Bounds
from controller.cli import options
from controller.cli.options import Desk
from controller.inventory.connection import AGENTLESS
from controller.inventory.graph import InventoryError
from controller.render import check_json, check_text
from controller.render.check_text import Again, View
from controller.render.escape import line
from controller.report import HostReport, State
from controller.store import database, runs
from controller.store.database import StoreError
from controller.store.runs import Run
from controller.trust import files

HERE = ("all", "localhost")


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the answer is to look."""

    format: str
    everything: bool
    folded: bool
    no_colour: bool
    strict: bool


@click.command(epilog=f"\b\n{exit_codes.TABLE}")
@click.argument("pattern", required=False)
@options.INVENTORY
@click.option(
    "--service", "services", multiple=True, metavar="NAME", help="Only what belongs to this service (again for more)."
)
@click.option("--include", multiple=True, metavar="ID", help="Only these checks, such as 'PG-*' (again for more).")
@click.option("--exclude", multiple=True, metavar="ID", help="Not these checks (again for more).")
@options.several(options.BOUNDS)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "jsonl"]),
    default="text",
    help="For people (text), or for programs: one document (json), or a line for each host as it answers (jsonl).",
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@click.option(
    "--show",
    type=click.Choice(["bad", "all"]),
    default="bad",
    help="Only what is bad or warns [default], or also each check that is well.",
)
@click.option("--no-fold", is_flag=True, help="A line for each host, even where results are equal.")
@click.option("--strict", is_flag=True, help="Warnings add 16 to the exit code; without it they change nothing.")
@options.NO_COLOUR
@options.several(options.TRUST)
@options.STORE
def command(
    pattern: str | None,
    services: tuple[str, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    form: str,
    show: str,
    no_fold: bool,
    strict: bool,
    no_colour: bool,
    **flags: str | Sequence[str] | None,
) -> int:
    """Look at every host and say what is wrong, worst first.

    \b
      fleetmedic check                              this machine
      fleetmedic check -i production.ini            every host of the inventory
      fleetmedic check 'db:!db03' -i production.ini --include 'PG-*'
      fleetmedic check --service orders --show all
      fleetmedic check --format jsonl               a line for each host as it answers

    PATTERN is Ansible's: groups, hosts, globs, unions (a:b), intersections (a:&b), exclusions (a:!b).
    Without an inventory this machine is checked; with one and no PATTERN, all its hosts.
    `fleetmedic describe` lists the checks that --include and --exclude know.
    Inventory, certificates, times and store may stand in a config file instead: see `fleetmedic config show -h`.
    """
    desk = options.desk(**flags)
    wanted = Wanted(form, show == "all", not no_fold, no_colour, strict)
    asked = _given({**flags, "service": services, "include": include, "exclude": exclude})
    # Without an inventory there is one host, and no name for it is needed.
    hosts = " {hosts}" if desk.sources() else ""
    again = Again(
        f"fleetmedic check{hosts}{asked}",
        _given({name: value for name, value in flags.items() if name != "store"}),
        _given({"store": flags.get("store")}),
    )
    return _Checking(desk, wanted, again).run(pattern, Question(include, exclude, services))


def _given(flags: "Mapping[str, str | Sequence[str] | None]") -> str:
    """Flags as they were given on this command, to stand behind another; begins with a blank where there are any."""
    return "".join(
        f" --{name.replace('_', '-')} {shlex.quote(item)}"
        for name, value in flags.items()
        for item in ([value] if isinstance(value, str) else value or ())
    )


class _Checking:
    """One run of the command."""

    def __init__(self, desk: Desk, wanted: Wanted, again: Again) -> None:
        self._desk = desk
        self._wanted = wanted
        self._again = again
        self._done = 0
        self._progress = ""

    def run(self, pattern: str | None, question: Question) -> int:
        started, began = time.time(), time.monotonic()
        inventory = " ".join(self._desk.sources())
        # An empty pattern, as an unset variable of a script leaves it, must not mean everybody.
        asked = pattern if pattern is not None else "all" if inventory else "localhost"
        try:
            reports = (self._ask_fleet if inventory else self._ask_here)(asked, question)
        finally:
            self._clear()
        _refuse_bad_question(reports)
        code = exit_codes.of_check(reports, strict=self._wanted.strict)
        if any(report.state == State.CANCELLED for report in reports):
            code = exit_codes.INTERRUPTED
        made = Run("", "check", started, time.monotonic() - began, asked, inventory, reports, code)
        try:
            made = self._keep(made)
        except StoreError as error:
            # In an incident the answer matters more than its being kept.
            self._show(made)
            click.echo(f"fleetmedic: this run is not kept: {line(str(error))}", err=True)
            return code or exit_codes.OWN_ERROR
        self._show(made)
        return code

    def _keep(self, run: Run) -> Run:
        """The run with its name in the store. StoreError where it can't be kept."""
        place = Path(self._desk.text("store"))
        store = database.connect(place)
        with contextlib.closing(store), database.telling(place):
            named = replace(run, id=runs.new_id(store, random.SystemRandom().choice))
            runs.save(store, named, self._desk.actor(), time.time())
        return named

    def _ask_fleet(self, pattern: str, question: Question) -> tuple[HostReport, ...]:
        desk = self._desk
        inventory = desk.inventory()
        hosts = desk.hosts(inventory, pattern)
        bounds = Bounds(int(desk.text("forks")), desk.seconds("connect_timeout"), desk.seconds("deadline"))
        identity = files.load(desk.text("certificate"), desk.text("key"), desk.text("ca"), desk.now())
        self._head(pattern, len(hosts), " ".join(desk.sources()), bounds.forks, bounds.deadline)
        return asking.check_fleet(hosts, question, identity, bounds, lambda report: self._watch(report, len(hosts)))

    def _ask_here(self, pattern: str, question: Question) -> tuple[HostReport, ...]:
        name = socket.gethostname()
        if pattern not in (*HERE, name):
            raise InventoryError(f"{pattern}: no inventory says which host that is: give one with -i FILE")
        deadline = self._desk.seconds("deadline")
        self._head(f"this machine ({name})", 1, "", 1, deadline)
        return asking.check_here(question, name, deadline, lambda report: self._watch(report, 1))

    def _head(self, pattern: str, hosts: int, inventory: str, forks: int, deadline: float) -> None:
        if self._wanted.format == "text":
            paper = self._desk.paper(no_colour=self._wanted.no_colour)
            check_text.head(paper, pattern, hosts, inventory, forks, deadline)
            sys.stdout.flush()

    def _watch(self, report: HostReport, hosts: int) -> None:
        self._done += 1
        if self._wanted.format == "jsonl":
            with self._listener():
                print(check_json.one_line(check_json.host(report)), flush=True)
        # Programs get none, though a person may watch their terminal.
        if self._wanted.format == "text" and sys.stderr.isatty() and hosts > 1:
            self._progress = f"{self._done}/{hosts} hosts answered"
            sys.stderr.write(f"\r{self._progress}")
            sys.stderr.flush()

    def _clear(self) -> None:
        """Takes the progress away before anything else is written, with blanks: a dumb terminal knows no escapes."""
        if self._progress:
            sys.stderr.write(f"\r{' ' * len(self._progress)}\r")
            sys.stderr.flush()
            self._progress = ""

    @contextlib.contextmanager
    def _listener(self) -> Iterator[None]:
        """Whoever reads us may have seen enough; the check goes on, for its exit code and its place in the store."""
        try:
            yield
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _show(self, run: Run) -> None:
        with self._listener():
            self._print(run)

    def _print(self, run: Run) -> None:
        if self._wanted.format == "jsonl":
            print(check_json.one_line(check_json.summary(run)))
        elif self._wanted.format == "json":
            print(check_json.document(run))
        else:
            view = View(self._wanted.everything, self._wanted.folded, self._again, run.started_at + run.seconds)
            check_text.body(self._desk.paper(no_colour=self._wanted.no_colour), run, view)


def _refuse_bad_question(reports: Sequence[HostReport]) -> None:
    """A check or service that no host knows, or a pattern of hosts without agents, is the caller's mistake."""
    given = [report for report in reports if report.cause != AGENTLESS]
    if not given:
        raise InventoryError(f"{reports[0].host}{' and all others' if len(reports) > 1 else ''}: {AGENTLESS}")
    if all(report.refused for report in given):
        raise InventoryError(given[0].cause)
    if all(report.state == State.SKIPPED for report in given):
        asked, _, there = given[0].cause.partition(" here; there are ")
        known = sorted({name for report in given for name in report.cause.partition("; there are ")[2].split(", ")})
        close = get_close_matches(asked.removeprefix("no service "), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known) or there}"
        raise InventoryError(f"{asked} on any host; {hint}")
