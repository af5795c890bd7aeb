"""An incident as the kept runs know it: one model, from which Markdown and JSON are written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from controller.reports import consequences, timeline
from controller.reports.consequences import Link
from controller.reports.episodes import CLOCK_TOLERANCE, NO_ANSWER, trace
from controller.reports.found import Found, Lookup, fold
from controller.reports.severity import Severity
from controller.reports.timeline import Entry
from controller.store.deployments import Deployment
from controller.store.history import Look

# What was bad for longer than this before the start is a condition the incident met, and not what set it off.
LONG_BEFORE = 3600.0


@dataclass(frozen=True, slots=True)
class Window:
    """What is reported on, in epoch seconds; `start` is None where neither a person nor a run names one.

    `start_from` and `end_from` say where the times are from, '' where a person gave them.
    """

    start: float | None
    end: float
    start_from: str
    end_from: str

    @property
    def seconds(self) -> float | None:
        return None if self.start is None else self.end - self.start


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person gave; `made_at` is when the report was made, `light` asks for the three sections alone."""

    title: str
    severity: Severity
    window: Window
    made_at: float
    light: bool


@dataclass(frozen=True, slots=True)
class Services:
    """`affected` with the hosts each was critical on, and the number of hosts that were seen to have it.

    `since_before` are those that were critical long before, and not in this incident.
    """

    affected: tuple[tuple[str, tuple[str, ...], int], ...]
    since_before: tuple[str, ...]
    warned: tuple[str, ...]
    unaffected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Milestones:
    """What the runs know of when it went how; None where they do not.

    `onset`: the first sight of something critical. `seen`: the first run that saw it. `well`: the run by which all that
    was critical had been found well again.
    """

    onset: float | None
    seen: float | None
    seen_by: str
    well: float | None
    well_by: str


@dataclass(frozen=True, slots=True)
class Incident:
    """`runs` are those of the window; `before` is the last one ahead of it.

    `found` are all findings by onset; `leads` the critical ones of the incident itself, `links` say which of them
    likely follows from which. `background` are those that were there long before, `warnings` those that never were
    critical, `blind` the checks that could not look. `clocks` are hosts whose clock was off, by seconds.
    """

    asked: Asked
    runs: tuple[Look, ...]
    before: Look | None
    hosts: tuple[str, ...]
    services: Services
    milestones: Milestones
    found: tuple[Found, ...]
    leads: tuple[Found, ...]
    links: tuple[Link, ...]
    background: tuple[Found, ...]
    warnings: tuple[Found, ...]
    blind: tuple[Found, ...]
    clocks: tuple[tuple[str, float], ...]
    timeline: tuple[Entry, ...]


def build(
    asked: Asked, runs: Sequence[Look], before: Look | None, deployed: Sequence[Deployment], lookup: Lookup
) -> Incident:
    """`runs` are those of the window, oldest first; `lookup` gives a finding with its evidence.

    `deployed` is what was deployed in it and in the hour before.
    """
    looks = ([before] if before else []) + list(runs)
    inside = {look.id for look in runs}
    episodes = [item for item in trace(looks) if any(moment.run in inside for moment in item.moments)]
    found = fold(episodes, lookup)
    long_before = (asked.window.start or 0.0) - LONG_BEFORE
    leads = tuple(item for item in found if item.critical and item.onset >= long_before)
    background = tuple(item for item in found if item.critical and item.onset < long_before)
    quiet = tuple(item for item in found if not item.critical)
    return Incident(
        asked=asked,
        runs=tuple(runs),
        before=before,
        hosts=tuple(sorted({glance.host for look in runs for glance in look.glances})),
        services=_services(runs, leads, background, quiet),
        milestones=_milestones(runs, leads),
        found=found,
        leads=leads,
        links=consequences.links(leads),
        background=background,
        warnings=tuple(item for item in quiet if item.word == "warn"),
        blind=tuple(item for item in quiet if item.word != "warn"),
        clocks=_clocks(runs),
        timeline=timeline.entries(runs, before, found, deployed, asked.window.start),
    )


def _services(
    runs: Iterable[Look], leads: Iterable[Found], background: Iterable[Found], quiet: Iterable[Found]
) -> Services:
    bad: dict[str, set[str]] = {}
    for item in leads:
        if item.id != NO_ANSWER:
            bad.setdefault(item.service, set()).update(item.hosts)
    before = {item.service for item in background if item.id != NO_ANSWER} - bad.keys()
    warned = {item.service for item in quiet} - bad.keys() - before
    there: dict[str, set[str]] = {name: set(hosts) for name, hosts in bad.items()}
    for look in runs:
        for glance in look.glances:
            for service in {service for _, service in glance.looked or ()}:
                there.setdefault(service, set()).add(glance.host)
    return Services(
        tuple((name, tuple(sorted(bad[name])), len(there[name])) for name in sorted(bad)),
        tuple(sorted(before)),
        tuple(sorted(warned)),
        tuple(sorted(there.keys() - bad.keys() - before - warned)),
    )


def _milestones(runs: Sequence[Look], leads: Sequence[Found]) -> Milestones:
    if not leads:
        return Milestones(None, None, "", None, "")
    moments = [moment for item in leads for episode in item.episodes for moment in episode.moments]
    seen = min((moment for moment in moments), key=lambda moment: moment.at)
    gone = [item.gone for item in leads if item.gone]
    well = max(gone, key=lambda moment: moment.at) if len(gone) == len(leads) else None
    return Milestones(
        min(item.onset for item in leads), seen.at, seen.run, well.at if well else None, well.run if well else ""
    )


def _clocks(runs: Iterable[Look]) -> tuple[tuple[str, float], ...]:
    worst: dict[str, float] = {}
    for look in runs:
        for glance in look.glances:
            offset = glance.clock_offset
            if offset is not None and abs(offset) > max(CLOCK_TOLERANCE, abs(worst.get(glance.host, 0.0))):
                worst[glance.host] = offset
    return tuple(sorted(worst.items()))
