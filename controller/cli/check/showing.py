"""How a check's answer reaches its reader: in their format, with progress at a terminal."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from signal import Signals

from controller.changes import Changes
from controller.cli import looking
from controller.cli.looking import Asked
from controller.cli.options import Desk
from controller.host_report import HostReport, standings
from controller.render import check_json, check_text, frozen_text
from controller.render.check_text import Again, View
from controller.render.paper import Paper
from controller.snoozing import Rest, Resting
from controller.store.runs import Run

PROGRAMS = ("json", "jsonl", "junit", "nagios")


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the answer is to look; `format` is text, paste or one of PROGRAMS."""

    format: str
    everything: bool
    folded: bool
    no_colour: bool
    strict: bool


class Showing:
    """One command's output."""

    def __init__(self, desk: Desk, wanted: Wanted, again: Again) -> None:
        self.wanted = wanted
        self.paper: Paper = desk.paper(no_colour=wanted.no_colour)
        self._aside = desk.paper(no_colour=wanted.no_colour, error=True)
        self._again = again
        self._sources = desk.sources()
        self._done = 0
        self._progress = ""

    def head(self, asked: Asked) -> None:
        if self.wanted.format == "text":
            deadline, forks = asked.bounds.deadline, asked.bounds.forks
            check_text.head(self.paper, asked.pattern, asked.count, " ".join(self._sources), forks, deadline)
            sys.stdout.flush()

    def answered(self, report: HostReport, resting: Sequence[Resting]) -> None:
        """A line for each host as it comes in, for programs that read lines."""
        print(check_json.one_line(check_json.host(report, resting)), flush=True)

    def late(self, report: HostReport) -> None:
        """A line more for a host that had its own: its answer came after its deadline, and changes nothing."""
        print(check_json.one_line(check_json.late(report)), flush=True)

    def interrupted(self, number: Signals, waiting: int) -> None:
        self._wipe()
        looking.tell_interrupted(number, waiting)

    def progress(self, hosts: int) -> None:
        """One more host has answered. Programs are told nothing of it, though a person may watch their terminal."""
        self._done += 1
        if self.wanted.format in ("text", "paste") and hosts > 1:
            self.note(f"{self._done}/{hosts} hosts answered")

    def note(self, text: str) -> None:
        """What stands at a terminal until something else is written."""
        if sys.stderr.isatty():
            shorter = " " * (len(self._progress) - len(text))
            self._progress = text
            sys.stderr.write(f"\r{text}{shorter}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Takes the note away before anything else is written, with blanks: a dumb terminal knows no escapes."""
        self._done = 0
        self._wipe()

    def _wipe(self) -> None:
        if self._progress:
            sys.stderr.write(f"\r{' ' * len(self._progress)}\r")
            sys.stderr.flush()
            self._progress = ""

    def view(self, run: Run, rest: Rest) -> View:
        now = run.started_at + run.seconds
        return View(self.wanted.everything, self.wanted.folded, self._again, now, rest)

    def whole(self, run: Run, rest: Rest) -> None:
        if self.wanted.format == "jsonl":
            print(check_json.one_line(check_json.summary(run, rest)))
        elif self.wanted.format == "json":
            print(check_json.document(run, rest))
        elif self.wanted.format == "text":
            check_text.body(self.paper, run, self.view(run, rest))
        else:
            self._elsewhere(run, rest)

    def _elsewhere(self, run: Run, rest: Rest) -> None:
        """The formats that few ask for, each imported for itself."""
        from controller.render import check_junit, check_nagios, check_paste  # noqa: PLC0415 - the answer comes first

        if self.wanted.format == "junit":
            text = check_junit.document(run, rest)
        elif self.wanted.format == "nagios":
            text = check_nagios.text(run, rest, self._again.store)
        else:
            text = "\n".join(check_paste.lines(run, rest, self._again.store))
        self.paper.write(text)
        self._frozen(run)

    def _frozen(self, run: Run) -> None:
        """Beside an answer that has no place for it."""
        frozen_text.write(self._aside, standings(run.reports))

    def changed(self, run: Run, changes: Changes, rest: Rest, code: int) -> None:
        """What changed alone; `code` is the exit code of what is new or worse."""
        from controller.render import changes_json, changes_text  # noqa: PLC0415 - few ask for it

        if self.wanted.format == "text":
            changes_text.body(self.paper, run, changes, self.view(run, rest), code)
        elif self.wanted.format == "json":
            print(changes_json.document(run, changes, rest, code))
        else:
            for record in changes_json.records(changes):
                print(check_json.one_line({"type": "change", **record}))
            print(check_json.one_line(changes_json.summary(run, changes, rest, code)))
        self._frozen(run)
