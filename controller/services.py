"""Which services the findings of a run touch, and which are well."""

from collections.abc import Iterable
from dataclasses import dataclass

from controller.host_report import HARMLESS, HostReport
from fleetmedic.v1.finding_pb2 import STATUS_OK, STATUS_WARN


@dataclass(frozen=True, slots=True)
class Scope:
    """Services by how they do; each affected one with the hosts it is bad on, and all hosts that have it."""

    affected: tuple[tuple[str, int, int], ...]
    watched: tuple[str, ...]
    unaffected: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.affected) + len(self.watched) + len(self.unaffected)


def scope(reports: Iterable[HostReport]) -> Scope:
    """A service is affected where one of its findings is bad, watched where it has a warning."""
    bad: dict[str, set[str]] = {}
    warned: set[str] = set()
    there: dict[str, set[str]] = {}
    for report in reports:
        if report.statuses == {STATUS_OK}:
            for service in {finding.subject.service for finding in report.answer.findings}:
                there.setdefault(service, set()).add(report.host)
            continue
        for finding in report.answer.findings:
            service = finding.subject.service
            if finding.status not in HARMLESS:
                bad.setdefault(service, set()).add(report.host)
            elif finding.status == STATUS_WARN:
                warned.add(service)
            elif finding.status != STATUS_OK:
                continue
            there.setdefault(service, set()).add(report.host)
    return Scope(
        tuple((name, len(bad[name]), len(there[name])) for name in sorted(bad)),
        tuple(sorted(warned - bad.keys())),
        tuple(sorted(there.keys() - bad.keys() - warned)),
    )
