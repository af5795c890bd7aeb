"""Who answers, for people and as JSON: bad first, equal causes folded, versions and round trips in the totals."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from controller.describing import Described, standings
from controller.endings import State
from controller.render import frozen_text
from controller.render.check_text import counted, lines, silent_line
from controller.render.escape import line
from controller.render.host_ranges import fold
from controller.render.paper import Paper

SCHEMA = "fleetmedic-ping/1"
# Worst first.
ORDER = (
    State.FAILED,
    State.UNREACHABLE,
    State.TIMEOUT,
    State.UNKNOWN,
    State.NOT_ATTEMPTED,
    State.CANCELLED,
    State.SKIPPED,
    State.OK,
)
MOST_VERSIONS = 5


@dataclass(frozen=True, slots=True)
class Pinged:
    """Every host's answer in the order of the targets; `seconds` for the whole."""

    items: Sequence[Described]
    seconds: float
    exit_code: int


def body(paper: Paper, pinged: Pinged) -> None:
    """Causes, what half answers, what is well, and the totals last."""
    for (state, cause), hosts in _without_answer(pinged.items, folded=paper.terminal):
        silent_line(paper, cause, state, hosts)
    for why, hosts in _half(pinged.items, folded=paper.terminal):
        named = fold(hosts) if paper.terminal else " ".join(hosts)
        lines(paper, f"{paper.sign('warn')} WARN", "warn", named, f"the agent answers, its worker does not: {why}")
    _well(paper, [item for item in pinged.items if item.answer and not item.answer.worker_error])
    if paper.terminal:
        paper.write()
    frozen_text.write(paper, standings(pinged.items))
    paper.hanging("", "   ".join(_totals(pinged)), 0, 0)


def _without_answer(items: Iterable[Described], *, folded: bool) -> list[tuple[tuple[State, str], list[str]]]:
    groups: dict[tuple[State, str, str], list[str]] = {}
    for item in items:
        if item.answer is None:
            groups.setdefault((item.state, item.cause, "" if folded else item.host), []).append(item.host)
    made = [((state, cause), hosts) for (state, cause, _), hosts in groups.items()]
    return sorted(made, key=lambda group: ORDER.index(group[0][0]))


def _half(items: Iterable[Described], *, folded: bool) -> list[tuple[str, list[str]]]:
    groups: dict[tuple[str, str], list[str]] = {}
    for item in items:
        if item.answer is not None and item.answer.worker_error:
            groups.setdefault((line(item.answer.worker_error), "" if folded else item.host), []).append(item.host)
    return [(why, hosts) for (why, _), hosts in groups.items()]


def _well(paper: Paper, items: Sequence[Described]) -> None:
    if not paper.terminal:
        for item in items:
            paper.write(f"OK {item.host} agent {_version(item)} round trip {_milliseconds(item.round_trip)}")
    elif items:
        hosts = fold(item.host for item in items)
        lines(paper, f"{paper.sign('ok')} OK", "ok", counted(len(items), "host"), hosts)


def _totals(pinged: Pinged) -> Iterable[str]:
    states = _states(pinged.items)
    said = "  ".join(f"{count} {name.replace('_', ' ')}" for name, count in reversed(states.items()))
    yield f"{counted(len(pinged.items), 'host')}: {said}"
    answered = [item for item in pinged.items if item.answer is not None]
    if answered:
        yield f"agent {_versions(answered)}"
        least, middle, most = map(_milliseconds, _spread(answered))
        yield f"round trip {least} / {middle} / {most} (min/median/max)"
    yield f"in {pinged.seconds:.1f}s"
    yield f"exit code {pinged.exit_code}"


def _states(items: Iterable[Described]) -> dict[str, int]:
    told = Counter(item.state for item in items)
    return {state.value: told[state] for state in ORDER if told[state]}


def _versions(items: Iterable[Described]) -> str:
    told = Counter(map(_version, items)).most_common()
    if len(told) == 1:
        return told[0][0]
    more = f" and {len(told) - MOST_VERSIONS} more" if len(told) > MOST_VERSIONS else ""
    return ", ".join(f"{version} ({count})" for version, count in told[:MOST_VERSIONS]) + more


def _version(item: Described) -> str:
    return line(item.answer.agent.version[:40]) if item.answer and item.answer.agent.version else "?"


def _spread(items: Iterable[Described]) -> tuple[float, float, float]:
    """The least, the median and the most, in seconds."""
    times = sorted(item.round_trip for item in items)
    half = len(times) // 2
    return times[0], (times[half] + times[-half - 1]) / 2, times[-1]


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.1f}ms"


def host(item: Described) -> dict[str, object]:
    """The record of a host; of one whose answer came after its deadline, the one that says so."""
    if item.late is not None:
        return {"type": "late", "host": item.host, "late": round(item.late, 3)}
    return _host(item)


def _host(item: Described) -> dict[str, object]:
    answer = item.answer
    made: dict[str, object] = {
        "type": "host",
        "host": item.host,
        "state": item.state.value,
        "cause": item.cause,
        "version": answer.agent.version if answer else None,
        "round_trip": round(item.round_trip, 6) if answer else None,
        "worker_error": answer.worker_error if answer else None,
    }
    made |= frozen_text.standing(answer.standing) if answer else {}
    return made if item.late is None else {**made, "late": round(item.late, 3)}


def summary(pinged: Pinged) -> dict[str, object]:
    answered = [item for item in pinged.items if item.answer is not None]
    times = map(lambda seconds: round(seconds, 6), _spread(answered)) if answered else (None, None, None)
    return {
        "type": "summary",
        "schema": SCHEMA,
        "hosts": len(pinged.items),
        "states": _states(pinged.items),
        "versions": dict(Counter(item.answer.agent.version for item in answered if item.answer)),
        "round_trip": dict(zip(("min", "median", "max"), times, strict=True)),
        "frozen": frozen_text.records(standings(pinged.items)),
        "seconds": round(pinged.seconds, 3),
        "exit_code": pinged.exit_code,
    }


def document(pinged: Pinged) -> str:
    reports = [_host(item) for item in pinged.items]
    return json.dumps({**summary(pinged), "type": "ping", "reports": reports}, ensure_ascii=True, indent=2)
