"""One look: ask, set aside what is snoozed, judge, keep."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from controller import changes, cut_logs, exit_codes, host_report, snoozing
from controller.asking import Question
from controller.changes import Changes
from controller.cli import looking, standings
from controller.cli.check.keeping import Keeping
from controller.cli.check.showing import Showing
from controller.cli.looking import Asked
from controller.cli.options import Desk
from controller.host_report import HostReport
from controller.snoozing import Rest
from controller.store.audit_heads import Head
from controller.store.database import StoreError
from controller.store.runs import Run
from controller.store.snoozes import Snooze
from controller.transport.mtls import Identity


@dataclass(frozen=True, slots=True)
class Looked:
    """`whole` is the run as it is kept, `run` as it is shown; `trouble` says why it is not kept, where it is not."""

    whole: Run
    run: Run
    rest: Rest
    trouble: str


class Checking:
    """The looks of one command; `question` as asked and, in `flags`, as it was typed."""

    def __init__(
        self, desk: Desk, asked: Asked, question: Question, flags: str, keeping: Keeping, showing: Showing
    ) -> None:
        self._desk = desk
        self._asked = asked
        self._question = question
        self._flags = flags
        self._keeping = keeping
        self._showing = showing

    def question(self) -> tuple[str, str, str]:
        """Pattern, inventory and flags: what two runs that are alike have in common."""
        return self._asked.pattern, self._asked.inventory, self._flags

    def first(self, *, stream: bool = True) -> Looked:
        """InventoryError where the question fits nobody. Lines are streamed where the format is one of lines."""
        trusted = looking.identity(self._desk, self._asked)
        self._showing.head(self._asked)
        return self._look(trusted, stream=stream and self._showing.wanted.format == "jsonl", first=True)

    def again(self) -> Looked:
        return self._look(looking.identity(self._desk, self._asked), stream=False, first=False)

    def _look(self, trusted: Identity | None, *, stream: bool, first: bool) -> Looked:
        # Read before the first host answers where lines are streamed, and else when the fleet has answered.
        snoozes = self._keeping.snoozes() if stream else ()
        heads = self._heads() if stream else {}
        started, began = time.time(), time.monotonic()
        try:
            watcher = self._watcher(snoozes, heads, started, stream=stream)
            answers = looking.look(self._asked, self._question, trusted, watcher, self._showing.interrupted)
        finally:
            self._showing.clear()
        if first:
            looking.refuse_bad_question(answers.reports)
        seconds = time.monotonic() - began
        asked = self._asked
        heads = heads if stream else self._heads()
        reports = tuple(cut_logs.told(report, heads, started) for report in answers.reports)
        whole = Run("", "check", started, seconds, asked.pattern, asked.inventory, reports, 0, self._flags)
        run, rest = snoozing.apply(whole, snoozes if stream else self._keeping.snoozes(), started + seconds)
        code = exit_codes.of_check(run.reports, strict=self._showing.wanted.strict)
        if answers.signal is not None:
            code = exit_codes.SIGNALLED + answers.signal
        whole, trouble = self._keep(replace(whole, exit_code=code))
        if self._audited:
            standings.note(self._desk.text("store"), host_report.standings(reports))
        return Looked(whole, replace(run, id=whole.id, exit_code=code), rest, trouble)

    def _heads(self) -> Mapping[str, Head]:
        """None where no host's own agent is asked, over a connection that says who answers."""
        return self._keeping.heads() if self._audited else {}

    @property
    def _audited(self) -> bool:
        return not self._asked.here and self._asked.visits is None

    def _watcher(
        self, snoozes: tuple[Snooze, ...], heads: Mapping[str, Head], started: float, *, stream: bool
    ) -> Callable[[HostReport], None]:
        held = snoozing.by_host(snoozes, time.time())

        def seen(report: HostReport) -> None:
            if report.late is not None:
                if stream:
                    self._showing.late(report)
                return
            if stream:
                self._showing.answered(*snoozing.split(cut_logs.told(report, heads, started), held))
            self._showing.progress(self._asked.count)

        return seen

    def _keep(self, run: Run) -> tuple[Run, str]:
        try:
            return self._keeping.keep(run, audited=self._audited), ""
        except StoreError as error:
            # In an incident the answer matters more than its being kept.
            return run, str(error)


def against(before: Run | None, now: Looked) -> Changes:
    """What changed since a kept run; where there is none, all that is bad is new."""
    found = changes.compare(before or changes.nothing_before(now.whole), now.whole)
    return changes.without(found, [(item.host, item.finding) for item in now.rest.resting])
