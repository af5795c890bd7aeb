"""From the runs to episodes: since when something was bad on a host, when it got worse, and which run found it gone."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from controller import compare
from controller.endings import BROKEN, SILENT
from controller.store.history import Bad, Glance, Look, Subject
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_ERROR, STATUS_WARN

# What a host that gave no answer has instead of a check's id.
NO_ANSWER = "no answer"
# A clock that is less off than this is not corrected: the way of the answer is in the measure too.
CLOCK_TOLERANCE = 1.0
WORDS: Mapping[int, str] = {STATUS_WARN: "warn", STATUS_CRIT: "crit", STATUS_ERROR: "error"}
# How bad a word is. A status that this version does not know counts as critical.
RANK: Mapping[str, int] = {"warn": 1, "error": 2, "?": 3, "no answer": 3, "crit": 3}


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that a run saw; `word` says how bad it was then."""

    at: float
    run: str
    word: str
    summary: str


@dataclass(frozen=True, slots=True)
class Episode:
    """One subject that was bad without a well look between.

    `onset` is the host's own first sight, corrected to our clock, or the first run that saw it. `well_before` is the
    last run that had found it well, `gone` the first that did so again.
    """

    subject: Subject
    onset: float
    moments: tuple[Moment, ...]
    well_before: Moment | None
    gone: Moment | None

    @property
    def worst(self) -> Moment:
        """The last of the worst: by then it had lasted longest."""
        return max(reversed(self.moments), key=lambda moment: RANK[moment.word])

    @property
    def rises(self) -> Iterable[Moment]:
        """When it got worse than it had been."""
        highest = RANK[self.moments[0].word]
        for moment in self.moments[1:]:
            if RANK[moment.word] > highest:
                highest = RANK[moment.word]
                yield moment


@dataclass
class _Open:
    """An episode that goes on while the runs are read."""

    subject: Subject
    onset: float
    well_before: Moment | None
    moments: list[Moment] = field(default_factory=list)

    def closed(self, gone: Moment | None) -> Episode:
        return Episode(self.subject, self.onset, tuple(self.moments), self.well_before, gone)


def trace(looks: Sequence[Look]) -> tuple[Episode, ...]:
    """Every episode of these runs (oldest first), by onset."""
    tracing = _Tracing()
    for look in looks:
        for glance in look.glances:
            tracing.take(look, glance)
    made = tracing.closed + [item.closed(None) for items in tracing.open.values() for item in items.values()]
    return tuple(sorted(made, key=lambda item: (item.onset, _order(item.subject))))


class _Tracing:
    """What is open on each host, and which check had last found a host well."""

    def __init__(self) -> None:
        self.open: dict[str, dict[Subject, _Open]] = defaultdict(dict)
        self.closed: list[Episode] = []
        self._well: dict[tuple[str, str, str], Moment] = {}

    def take(self, look: Look, glance: Glance) -> None:
        silence = Subject(glance.host, NO_ANSWER, "", "host", "")
        if glance.cause:
            if glance.state in SILENT | BROKEN:
                self._see(silence, look, look.at, Moment(look.at, look.id, NO_ANSWER, glance.cause))
            if not glance.bad:
                return
        else:
            self._well_again(look, glance, {silence: (NO_ANSWER, "")})
        for bad in glance.bad:
            moment = Moment(look.at, look.id, WORDS.get(bad.status, "?"), bad.summary)
            self._see(bad.subject, look, _onset(bad, look, glance.clock_offset), moment)
        still = {bad.subject for bad in glance.bad}
        over = {subject: (subject.id, subject.service) for subject in self.open[glance.host] if subject not in still}
        self._well_again(look, glance, over)
        bad_pairs = {(subject.id, subject.service) for subject in still}
        for pair in (glance.looked or frozenset()) - bad_pairs:
            self._well[glance.host, *pair] = Moment(look.at, look.id, "ok", "")
        if not glance.cause:
            self._well[glance.host, NO_ANSWER, ""] = Moment(look.at, look.id, "ok", "")

    def _see(self, subject: Subject, look: Look, onset: float, moment: Moment) -> None:
        found = self.open[subject.host].get(subject)
        if found is None:
            well = self._well.get((subject.host, subject.id, subject.service))
            # It can't have begun before it was last found well, whatever the host's memory says.
            begun = min(look.at + look.seconds, max(onset, well.at if well else onset))
            found = self.open[subject.host][subject] = _Open(subject, begun, well)
        found.moments.append(moment)

    def _well_again(self, look: Look, glance: Glance, asked: Mapping[Subject, tuple[str, str]]) -> None:
        """Ends those that this run looked at; what it did not look at stays open."""
        for subject, pair in asked.items():
            looked = pair[0] == NO_ANSWER or _settled(look, glance, subject)
            found = self.open[glance.host].pop(subject, None) if looked else None
            if found is not None:
                self.closed.append(found.closed(Moment(look.at, look.id, "ok", "")))


def _settled(look: Look, glance: Glance, subject: Subject) -> bool:
    """Whether this look judged what a finding was about, and it is not among what is bad."""
    if subject.kind == compare.KIND:
        # One host differs from others: for that all of them have to be asked.
        return all(not item.cause for item in look.glances)
    if glance.looked is None:
        return False
    # That its containers are well an engine says as one.
    alike = {pair for pair in glance.looked if pair[0] == subject.id}
    return bool(alike) if subject.kind == "container" else (subject.id, subject.service) in alike


def _onset(bad: Bad, look: Look, offset: float | None) -> float:
    """The host's first sight by our clock; the run's own time where the host names none, or one that can't be."""
    if bad.first_seen_at is None or not math.isfinite(bad.first_seen_at):
        return look.at
    correction = offset if offset is not None and abs(offset) > CLOCK_TOLERANCE else 0.0
    seen = bad.first_seen_at - correction
    return seen if 0 < seen <= look.at + look.seconds + CLOCK_TOLERANCE else look.at


def _order(subject: Subject) -> tuple[str, ...]:
    return subject.id, subject.service, subject.host, subject.kind, subject.name
