"""Episodes folded over hosts: what was found, where, from when until when, and the evidence that is quoted of it."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from controller.reports.episodes import RANK, Episode, Moment
from controller.reports.layers import layer
from controller.store.history import Subject
from fleetmedic.v1.finding_pb2 import Finding, Metric, Table

# Equal findings that began within this are one to a reader.
SAME_TIME = 60.0
# Within this the order is that of the agents' answers to one check and says nothing.
ONE_LOOK = 5.0
CRITICAL = 3
MOST_ROWS = 12
MOST_LINES = 20
MOST_METRICS = 8
WIDEST_CELL = 80
# They say nothing that the metric's name does not.
PLAIN_UNITS = frozenset({"", "count", "code"})
WIDEST_LINE = 240
LONGEST_SUMMARY = 600

# What a run kept of a subject, whole; None where it kept no answer.
Lookup = Callable[[str, Subject], Finding | None]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one host said in one run. `quote` is what is shown of it, `sha256` that of the quote in UTF-8.

    `command` is what a person would have typed on the host to see the same, `next` the first step the check names.
    """

    host: str
    run: str
    at: float
    quote: str
    sha256: str
    command: str
    next: str


@dataclass(frozen=True, slots=True)
class Found:
    """One finding on one host or on several alike; `key` is E1, E2 and so on, by onset.

    `well_before` is the last run before the onset that had looked and found nothing. `gone` is the last run that found
    it well again on a host; None while it is `still` there on some.
    """

    key: str
    id: str
    service: str
    names: tuple[str, ...]
    hosts: tuple[str, ...]
    word: str
    summary: str
    onset: float
    first_run: str
    well_before: Moment | None
    gone: Moment | None
    still: tuple[str, ...]
    evidence: Evidence
    episodes: tuple[Episode, ...]

    @property
    def critical(self) -> bool:
        return RANK[self.word] >= CRITICAL


def fold(episodes: Iterable[Episode], lookup: Lookup) -> tuple[Found, ...]:
    """By onset; what was seen in the same minute is one where check, service and severity are equal."""
    groups: dict[tuple[object, ...], list[list[Episode]]] = {}
    for episode in sorted(episodes, key=lambda item: item.onset):
        subject = episode.subject
        rows = groups.setdefault((subject.id, subject.service, subject.kind, episode.worst.word), [])
        if rows and episode.onset - rows[-1][0].onset <= SAME_TIME:
            rows[-1].append(episode)
        else:
            rows.append([episode])
    made = _ordered([members for rows in groups.values() for members in rows])
    return tuple(_found(f"E{number}", members, lookup) for number, members in enumerate(made, 1))


def _ordered(groups: list[list[Episode]]) -> Iterator[list[Episode]]:
    """By onset; of those that one look saw first, what is deeper and what is worse stands first."""
    waiting = sorted(groups, key=lambda members: members[0].onset)
    while waiting:
        first = waiting[0][0].onset
        together = [members for members in waiting if members[0].onset - first <= ONE_LOOK]
        waiting = waiting[len(together) :]
        yield from sorted(together, key=lambda members: _depth(members[0]))


def _depth(first: Episode) -> tuple[object, ...]:
    subject = first.subject
    return layer(subject.id), -RANK[first.worst.word], subject.id, subject.service, subject.host


def _found(key: str, members: Sequence[Episode], lookup: Lookup) -> Found:
    first, subject = members[0], members[0].subject
    worst = max(members, key=lambda item: RANK[item.worst.word])
    still = tuple(dict.fromkeys(item.subject.host for item in members if item.gone is None))
    gone = max((item.gone for item in members if item.gone), key=lambda moment: moment.at, default=None)
    return Found(
        key=key,
        id=subject.id,
        service=subject.service,
        names=tuple(dict.fromkeys(item.subject.name for item in members if item.subject.name)),
        hosts=tuple(dict.fromkeys(item.subject.host for item in members)),
        word=worst.worst.word,
        summary=_cut(worst.worst.summary, LONGEST_SUMMARY),
        onset=first.onset,
        first_run=min((item.moments[0] for item in members), key=lambda moment: moment.at).run,
        well_before=first.well_before,
        gone=None if still else gone,
        still=still,
        evidence=_evidence(worst, lookup),
        episodes=tuple(members),
    )


def _evidence(episode: Episode, lookup: Lookup) -> Evidence:
    moment = episode.worst
    whole = lookup(moment.run, episode.subject)
    quote = "\n".join(_quoted(moment, whole))
    return Evidence(
        host=episode.subject.host,
        run=moment.run,
        at=moment.at,
        quote=quote,
        sha256=hashlib.sha256(quote.encode()).hexdigest(),
        command=whole.equal_command if whole else "",
        next=whole.next if whole else "",
    )


def _quoted(moment: Moment, whole: Finding | None) -> list[str]:
    lines = [_cut(" ".join(moment.summary.split()), LONGEST_SUMMARY)]
    if whole is None:
        return lines
    lines += [_metric(item) for item in whole.metrics[:MOST_METRICS]]
    if whole.HasField("table"):
        lines += ["", *_table(whole.table)]
    excerpt = whole.excerpt.splitlines()
    if excerpt:
        lines += ["", *(_cut(part, WIDEST_LINE) for part in excerpt[:MOST_LINES])]
    if len(excerpt) > MOST_LINES:
        lines.append(f"and {len(excerpt) - MOST_LINES} more lines")
    return lines


def _metric(metric: Metric) -> str:
    limit = f" (limit {metric.limit:g})" if metric.HasField("limit") else ""
    unit = "" if metric.unit in PLAIN_UNITS else f" {metric.unit}"
    return f"{metric.name} = {metric.value:g}{unit}{limit}"


def _table(table: Table) -> list[str]:
    rows = [list(table.columns), *(list(row.cells) for row in table.rows[:MOST_ROWS])]
    cells = [[_cut(" ".join(cell.split()), WIDEST_CELL) for cell in row] for row in rows]
    columns = len(table.columns)
    widths = [max((len(row[place]) for row in cells if place < len(row)), default=0) for place in range(columns)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)).rstrip() for row in cells]
    more = max(0, len(table.rows) - MOST_ROWS) + table.omitted
    return [*lines, f"and {more} more rows"] if more else lines


def _cut(text: str, most: int) -> str:
    # What is half a character was cut by somebody else; it could not be hashed or written.
    whole = text.encode("utf-8", "replace").decode()
    return whole if len(whole) <= most else whole[: most - 1] + "…"
