"""A change while it goes on and when it is over: batches, steps, verdicts, what is left, and how to undo it."""

from collections.abc import Sequence
from dataclasses import dataclass

from controller.change.batches import Batch
from controller.change.running import Result
from controller.endings import State
from controller.moments import span
from controller.render import endings
from controller.render.check_text import counted
from controller.render.escape import LONGEST, line
from controller.render.host_ranges import fold
from controller.render.paper import Paper

# Hosts that are told of one by one.
MOST_UNDONE = 5
WORDS = {State.CHANGED: "changed", State.OK: "nothing to do"}


@dataclass(frozen=True, slots=True)
class Looker:
    """Whoever sees a change go on; `quiet` for programs."""

    paper: Paper
    quiet: bool

    def batch(self, number: int, of: int, batch: Batch) -> None:
        canary = " (canary)" if batch.canary else ""
        self._say(f"batch {number}/{of}{canary}: {counted(len(batch.hosts), 'host')}  {self._names(batch.hosts)}")

    def step(self, host: str, text: str) -> None:
        self._say(f"  {host}  {line(text[:LONGEST])}")

    def settling(self, seconds: float) -> None:
        self._say(f"  waiting {span(seconds)}, then the checks again")

    def ended(self, results: Sequence[Result]) -> None:
        for item in results:
            if item.verdict is not None:
                for said in item.verdict.lines:
                    self._say(f"  {item.host}  {line(said)}")
            self._say(f"  {item.host}  {WORDS.get(item.state, item.state.replace('_', ' '))}: {_verdict(item)}")

    def _names(self, hosts: Sequence[str]) -> str:
        return fold(hosts) if self.paper.terminal else " ".join(hosts)

    def _say(self, text: str) -> None:
        if not self.quiet:
            self.paper.write(text)
            self.paper.stream.flush()


def _verdict(item: Result) -> str:
    said = line(item.said[:LONGEST])
    if item.verdict is None or not item.verdict.passed or not item.verdict.lines:
        return said
    return f"{said}; {item.verdict.cure}"


@dataclass(frozen=True, slots=True)
class Line:
    """A host's end, as controller/render/endings.py wants it."""

    host: str
    state: State
    said: str


def body(paper: Paper, plan: str, results: Sequence[Result], stopped: str, code: int) -> None:
    """After the last batch: every host once, then what can be undone."""
    paper.write()
    endings.body(paper, [Line(item.host, item.state, item.said[:LONGEST]) for item in results], WORDS, code)
    if stopped:
        left = sum(item.state == State.NOT_ATTEMPTED for item in results)
        paper.write(f"stopped: {line(stopped)}; {counted(left, 'host')} left as they are")
    undoable = [item for item in results if item.operation is not None and item.operation.HasField("undo")]
    for item in [item for item in undoable if item.state == State.GATE_FAILED][:MOST_UNDONE]:
        paper.write(f"undo on {item.host}, where it did not cure: fleetmedic mitigate undo {item.operation_id}")
    if undoable:
        handle = undoable[0].operation_id if len(undoable) == 1 else plan
        paper.write(f"undo all of it: fleetmedic mitigate undo {handle}")
