"""How a freeze or a thaw ended on each host: causes first, then where it is done, how the agents stand, totals last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.endings import State
from controller.render import frozen_text
from controller.render.check_text import counted, lines, silent_line
from controller.render.escape import line
from controller.render.host_ranges import fold
from controller.render.paper import Paper
from controller.telling import Told
from fleetmedic.v1.agent_pb2 import SetFreezeResponse, Standing


@dataclass(frozen=True, slots=True)
class Wish:
    frozen: bool
    reason: str

    @property
    def word(self) -> str:
        return "freeze" if self.frozen else "thaw"

    @property
    def done(self) -> str:
        return "frozen" if self.frozen else "thawed"


def body(paper: Paper, wish: Wish, told: Sequence[Told[SetFreezeResponse]], seconds: float) -> None:
    groups: dict[tuple[str, State], list[str]] = {}
    for item in told:
        if item.answer is None:
            groups.setdefault((item.cause, item.state), []).append(item.host)
    for (cause, state), hosts in groups.items():
        for some in [hosts] if paper.terminal else [[host] for host in hosts]:
            silent_line(paper, cause, state, some)
    done = [item.host for item in told if item.answer is not None]
    if done:
        names = fold(done) if paper.terminal else " ".join(done)
        lines(paper, f"{paper.sign('ok')} {wish.done.upper()}", "ok", names, line(wish.reason))
    frozen_text.write(paper, standings(told))
    left = f", {len(told) - len(done)} not" if len(done) < len(told) else ""
    paper.write(f"{counted(len(told), 'host')}: {len(done)} {wish.done}{left}   in {seconds:.1f}s")


def record(item: Told[SetFreezeResponse], wish: Wish) -> Mapping[str, object]:
    standing = item.answer.standing if item.answer is not None else Standing()
    made = {"host": item.host, "state": item.state.value, "cause": item.cause, wish.done: item.answer is not None}
    return {**made, "audit_sequence": standing.audit_sequence, **frozen_text.standing(standing)}


def standings(told: Sequence[Told[SetFreezeResponse]]) -> list[tuple[str, Standing]]:
    return [(item.host, item.answer.standing) for item in told if item.answer is not None]
