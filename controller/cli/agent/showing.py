"""What agents onto hosts, and off them, look like: a plan, progress at a terminal, a line for each host, and totals."""

import sys
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from signal import Signals

from controller import exit_codes
from controller.bootstrap.installing import WELL, Ending, Outcome
from controller.cli import process
from controller.cli.options import Desk
from controller.render.escape import line

_SIGNS = {
    **dict.fromkeys(WELL, "ok"),
    Ending.FAILED: "crit",
    Ending.REFUSED: "crit",
    Ending.UNREACHABLE: "unreach",
    Ending.CANCELLED: "skipped",
}
_WIDEST = max(map(len, Ending))


class Showing:
    """One command's output; from any thread."""

    def __init__(self, desk: Desk, hosts: Sequence[str], *, no_colour: bool) -> None:
        self._paper = desk.paper(no_colour=no_colour)
        self._name = max(map(len, hosts))
        self._steps: dict[str, str] = {}
        self._lock = threading.Lock()
        self._note = ""

    def say(self, text: str) -> None:
        with self._lock:
            self._wipe()
            self._paper.write(line(text))
            self._paper.stream.flush()

    def progress(self, host: str, step: str) -> None:
        """What a host is at, beside the others; at a terminal alone."""
        with self._lock:
            self._steps[host] = step
            self._draw()

    def outcome(self, outcome: Outcome) -> None:
        word = _SIGNS[outcome.ending]
        sign = self._paper.paint(self._paper.sign(word), word)
        head = f"{outcome.ending:<{_WIDEST}}  {outcome.host:<{self._name}}  "
        took = f"   {outcome.seconds:.1f}s" if outcome.ending in WELL else ""
        with self._lock:
            self._steps.pop(outcome.host, None)
            self._wipe()
            self._paper.hanging(f"{sign} {head}", f"{line(outcome.said)}{took}", 4, len(head) + 2)
            self._paper.stream.flush()
            self._draw()

    def interrupted(self, number: Signals, waiting: int) -> None:
        hosts = "1 host that is" if waiting == 1 else f"{waiting} hosts that are"
        then = (
            f"waiting for {hosts} under way; again to leave, and they undo it" if waiting else "no host is waited for"
        )
        with self._lock:
            self._wipe()
            sys.stderr.write(f"fleetmedic: {process.said(number)}: {then}\n")

    def totals(self, outcomes: Iterable[Outcome], seconds: float) -> None:
        counted = Counter(outcome.ending for outcome in outcomes)
        parts = [f"{counted[ending]} {ending}" for ending in Ending if counted[ending]]
        count = sum(counted.values())
        self.say(f"{count} host{'s' * (count != 1)}: {'  '.join(parts)}   in {seconds:.1f}s")

    def _draw(self) -> None:
        if self._steps and sys.stderr.isatty():
            text = "  ".join(f"{host} {step}" for host, step in self._steps.items())[: self._paper.width]
            sys.stderr.write(f"\r{text}{' ' * (len(self._note) - len(text))}")
            sys.stderr.flush()
            self._note = text

    def _wipe(self) -> None:
        if self._note:
            sys.stderr.write(f"\r{' ' * len(self._note)}\r")
            sys.stderr.flush()
            self._note = ""


def code(outcomes: Iterable[Outcome], signal: Signals | None) -> int:
    """2 where one failed or was refused, 4 where one was not reached, 6 for both; after Ctrl-C 130."""
    if signal is not None:
        return exit_codes.SIGNALLED + signal
    endings = {outcome.ending for outcome in outcomes}
    failed = exit_codes.FAILED * bool(endings & {Ending.FAILED, Ending.REFUSED})
    return failed | exit_codes.UNREACHABLE * (Ending.UNREACHABLE in endings)
