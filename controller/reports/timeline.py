"""The incident minute by minute: each run, and what it saw begin, get worse and be gone, folded over hosts."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from controller.endings import ACHIEVED, BROKEN, SILENT, State
from controller.reports.episodes import NO_ANSWER, Moment
from controller.reports.found import Found
from controller.store.deployments import Deployment
from controller.store.history import Glance, Look

DEPLOYED, CHECK, BEGAN, WORSE, GONE = "change", "check", "first seen", "worse", "gone"
PLACE = {DEPLOYED: 0, CHECK: 1, BEGAN: 2, WORSE: 3, GONE: 4}
ORDER = ("failed", "no answer", "warned", "ok", "not checked", "not waited for", "not asked")


@dataclass(frozen=True, slots=True)
class Entry:
    """One row; `hosts` are those it is about, `run` the one that saw it, `evidence` a finding's key or ''."""

    at: float
    kind: str
    text: str
    hosts: tuple[str, ...]
    run: str
    evidence: str


def entries(
    runs: Sequence[Look],
    before: Look | None,
    found: Iterable[Found],
    deployed: Iterable[Deployment],
    start: float | None,
) -> tuple[Entry, ...]:
    """By time. What began before `start` stands at its own time, and says so."""
    rows = [*_deployments(deployed), *_checks(runs)]
    if before:
        rows.append(_check(before, "the last check before the start"))
    for item in found:
        rows += _of(item, start)
    # To the second: a check and what it saw for the first time stand in this order.
    return tuple(sorted(rows, key=lambda row: (int(row.at), PLACE[row.kind], row.evidence, row.text)))


def _of(item: Found, start: float | None) -> Iterator[Entry]:
    early = " (before the start of the incident)" if start is not None and int(item.onset) < int(start) else ""
    if item.id == NO_ANSWER:
        text = f"no answer: {item.summary}{early}"
    else:
        first = item.episodes[0].moments[0]
        text = f"{item.id} ({first.word}): {first.summary}{early}"
    yield Entry(item.onset, BEGAN, text, item.hosts, item.first_run, item.key)
    worse: dict[str, list[tuple[str, Moment]]] = defaultdict(list)
    gone: dict[str, list[tuple[str, Moment]]] = defaultdict(list)
    for episode in item.episodes:
        for moment in episode.rises:
            worse[moment.run].append((episode.subject.host, moment))
        if episode.gone:
            gone[episode.gone.run].append((episode.subject.host, episode.gone))
    for run, rises in worse.items():
        text = f"{item.id} is {rises[0][1].word} now: {rises[0][1].summary}"
        yield Entry(rises[0][1].at, WORSE, text, _hosts(rises), run, item.key)
    for run, ends in gone.items():
        text = "answers again" if item.id == NO_ANSWER else f"{item.id} looked again and finds nothing bad"
        yield Entry(ends[0][1].at, GONE, text, _hosts(ends), run, item.key)


def _deployments(deployed: Iterable[Deployment]) -> Iterator[Entry]:
    """A row for each release of a service over the hosts that got it, one more where a host got it again."""
    groups: dict[tuple[str, str, int], list[Deployment]] = {}
    had: Counter[tuple[str, str, str]] = Counter()
    for item in deployed:
        place = (item.service, item.release, item.host)
        groups.setdefault((item.service, item.release, had[place]), []).append(item)
        had[place] += 1
    for (service, release, _), items in groups.items():
        hosts = tuple(item.host for item in items)
        yield Entry(items[0].at, DEPLOYED, f"{service} was deployed: {release}", hosts, items[0].run, "")


def _hosts(pairs: Iterable[tuple[str, Moment]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(host for host, _ in pairs))


def _checks(runs: Sequence[Look]) -> Iterator[Entry]:
    """A row for each run; of those that follow each other with one result, for the first and the last."""
    place = 0
    while place < len(runs):
        first = runs[place]
        same = place + 1
        while same < len(runs) and _result(runs[same]) == _result(first):
            same += 1
        yield _check(first, "")
        if same - place == 2:
            yield _check(runs[same - 1], "the same result")
        elif same - place > 2:
            last = runs[same - 1]
            yield _check(last, f"the last of {same - place - 1} more with the same result since run {first.id}")
        place = same


def _result(look: Look) -> tuple[object, ...]:
    return look.pattern, tuple(
        (glance.host, glance.state, frozenset((bad.subject, bad.status) for bad in glance.bad))
        for glance in look.glances
    )


def _check(look: Look, note: str) -> Entry:
    text = f"{look.kind} of {look.pattern}, {counts(look)}" + (f" ({note})" if note else "")
    return Entry(look.at, CHECK, text, (), look.id, "")


def counts(look: Look) -> str:
    """How the hosts of a run did: 3 hosts: 2 failed, 1 ok."""
    told: dict[str, int] = defaultdict(int)
    for glance in look.glances:
        told[_word(glance)] += 1
    total = len(look.glances)
    return f"{total} host{'' if total == 1 else 's'}: " + ", ".join(
        f"{told[word]} {word}" for word in ORDER if told[word]
    )


def _word(glance: Glance) -> str:
    if glance.state in SILENT:
        return "no answer"
    if glance.state in BROKEN:
        return "failed"
    if glance.state in ACHIEVED:
        return "warned" if glance.bad else "ok"
    return {State.SKIPPED: "not checked", State.UNKNOWN: "not waited for"}.get(glance.state, "not asked")
