"""Sets snoozed findings aside: never a check that could not look, never a host without a whole answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from controller.endings import State
from controller.host_report import HostReport, judged
from controller.store.runs import Run
from controller.store.snoozes import About, Snooze
from fleetmedic.v1.agent_pb2 import CheckResponse
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_WARN, Finding

SOON = 3600.0
MAY_REST = frozenset({STATUS_WARN, STATUS_CRIT})


@dataclass(frozen=True, slots=True)
class Resting:
    """A finding that is not shown among the bad, and the snooze that says so."""

    snooze: Snooze
    host: str
    finding: Finding


@dataclass(frozen=True, slots=True)
class Rest:
    """What a run's snoozes come to: what rests, on which hosts nothing else is bad, and which snoozes end or ended."""

    resting: tuple[Resting, ...] = ()
    quiet: frozenset[str] = frozenset()
    ending: tuple[Snooze, ...] = ()
    ended: tuple[Snooze, ...] = ()


NONE = Rest()


def by_host(snoozes: Iterable[Snooze], now: float) -> Mapping[str, Sequence[Snooze]]:
    """Those that hold, for each host they are about."""
    made: dict[str, list[Snooze]] = {}
    for item in snoozes:
        for host in item.hosts if item.end > now else ():
            made.setdefault(host, []).append(item)
    return made


def split(report: HostReport, held: Mapping[str, Sequence[Snooze]]) -> tuple[HostReport, tuple[Resting, ...]]:
    """The report without what rests, and what rests; the same report where nothing does."""
    here = held.get(report.host)
    if not here or report.cause or report.state not in (State.OK, State.FAILED):
        return report, ()
    resting, left = [], []
    for finding in report.answer.findings:
        by = next((item for item in here if _covers(item, report.host, finding)), None)
        if by is None:
            left.append(finding)
        else:
            resting.append(Resting(by, report.host, finding))
    if not resting:
        return report, ()
    answer = CheckResponse()
    answer.CopyFrom(report.answer)
    del answer.findings[:]
    answer.findings.extend(left)
    return replace(report, answer=answer, state=judged(left)), tuple(resting)


def apply(run: Run, snoozes: Sequence[Snooze], now: float) -> tuple[Run, Rest]:
    """The run as it is to be shown and judged, and what was set aside. `now` in epoch seconds."""
    if not snoozes:
        return run, NONE
    asked = {report.host for report in run.reports}
    ours = [item for item in snoozes if asked.intersection(item.hosts)]
    held = by_host(ours, now)
    parts = [split(report, held) for report in run.reports]
    resting = tuple(item for _, aside in parts for item in aside)
    quiet = frozenset(report.host for report, aside in parts if aside and report.state == State.OK and not report.warns)
    rest = Rest(
        resting,
        quiet,
        tuple(item for item in ours if now < item.end <= now + SOON),
        tuple(item for item in ours if item.end <= now),
    )
    return replace(run, reports=tuple(report for report, _ in parts)), rest


def _covers(snooze: Snooze, host: str, finding: Finding) -> bool:
    if finding.id != snooze.finding or finding.status not in MAY_REST:
        return False
    if snooze.subject and finding.subject.name != snooze.subject:
        return False
    return finding.status <= _was(snooze.about, host, finding)


def _was(about: Iterable[About], host: str, finding: Finding) -> int:
    """As bad as this was then; a subject that was not there then counts as the mildest that was."""
    subject = (finding.subject.service, finding.subject.kind, finding.subject.name)
    known: Mapping[tuple[str, str, str], int] = {
        (item.service, item.kind, item.name): item.status for item in about if item.host == host
    }
    return known.get(subject, min(known.values(), default=0))
