"""What changed between two runs: findings and hosts, compared by identity and never by their wording."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from controller import compare as compare_hosts
from controller.endings import ACHIEVED, NOT_HEARD, SILENT, State
from controller.exit_codes import FAILED, UNREACHABLE, WARNED
from controller.host_report import HARMLESS, HostReport
from controller.store.runs import Run
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_ERROR, STATUS_OK, STATUS_SKIPPED, STATUS_WARN, Finding, Status

# Of one host: id, service, kind and name.
Key = tuple[str, str, str, str]


class Change(StrEnum):
    """How a finding or a host differs; the first two of findings and the first of hosts are bad news."""

    NEW = "new"
    WORSE = "worse"
    BETTER = "better"
    GONE = "gone"
    SILENT = "silent"
    BACK = "back"


BAD_NEWS = frozenset({Change.NEW, Change.WORSE, Change.SILENT})


@dataclass(frozen=True, slots=True)
class FindingChange:
    """`was` and `now` are None where the finding was not, or is no longer, there to be judged.

    `finding` is the one of now; of one that is gone, what was said of it before.
    """

    change: Change
    host: str
    finding: Finding
    was: "Status.ValueType | None"
    now: "Status.ValueType | None"


@dataclass(frozen=True, slots=True)
class HostChange:
    """A host that fell silent (or whose answer can't be used) or came back; `was` is None where it was not asked."""

    change: Change
    host: str
    was: State | None
    now: State
    cause: str


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that differs from `before`, worst first, and how much does not.

    `untold` findings of before were not looked at again: by a silent host, a check that was skipped or not asked for.
    """

    before: str
    before_at: float
    findings: tuple[FindingChange, ...]
    hosts: tuple[HostChange, ...]
    standing: int
    standing_hosts: int
    untold: int
    # Both asked the same checks of the same services.
    same_question: bool

    def count(self, change: Change) -> int:
        return sum(item.change == change for item in self.findings) + sum(item.change == change for item in self.hosts)


def compare(before: Run, after: Run) -> Changes:
    """Pure. A host that is well and comes from the store without findings is known to be well."""
    same = before.asked == after.asked
    earlier = {report.host: report for report in before.reports}
    everybody = all(_answered(report) for report in after.reports)
    findings: list[FindingChange] = []
    hosts: list[HostChange] = []
    standing = standing_hosts = untold = 0
    for report in after.reports:
        was = earlier.pop(report.host, None)
        moved = _host(was, report)
        if moved is not None:
            hosts.append(moved)
        elif _trouble(report):
            standing_hosts += 1
        old, new = _bad(was), _bad(report)
        if not old and not new:
            continue
        standing += sum(item in new and new[item].status == finding.status for item, finding in old.items())
        findings += _differing(was, report.host, old, new)
        for missing in old.keys() - new.keys():
            if _looked(report, missing, same=same, everybody=everybody):
                findings.append(_gone(report, old[missing]))
            else:
                untold += 1
    untold += sum(len(_bad(report)) for report in earlier.values())
    return Changes(
        before.id,
        before.started_at,
        tuple(sorted(findings, key=_order)),
        tuple(hosts),
        standing,
        standing_hosts,
        untold,
        same,
    )


def nothing_before(run: Run) -> Run:
    """What stands for a run where there is none yet: nobody was asked, so all that is bad is new."""
    return Run("", run.kind, run.started_at, 0.0, run.pattern, run.inventory, (), 0, run.asked)


def exit_code(changes: Changes, *, strict: bool) -> int:
    """As a check's, of what is new or worse alone."""
    code = 0
    for item in changes.findings:
        if item.change in BAD_NEWS and item.now not in HARMLESS:
            code |= FAILED
        elif item.change in BAD_NEWS and strict:
            code |= WARNED
    for moved in changes.hosts:
        if moved.change == Change.SILENT:
            code |= UNREACHABLE if moved.now in SILENT else FAILED
    return code


def without(changes: Changes, resting: Collection[tuple[str, Finding]]) -> Changes:
    """Without what is snoozed on a host: that is neither told as a change nor counted as standing."""
    aside = {(host, key(finding)) for host, finding in resting}
    left = tuple(
        item for item in changes.findings if item.change == Change.GONE or (item.host, key(item.finding)) not in aside
    )
    stood = len(aside) - (len(changes.findings) - len(left))
    return replace(changes, findings=left, standing=max(0, changes.standing - stood))


def _differing(
    before: HostReport | None, host: str, old: Mapping[Key, Finding], new: Mapping[Key, Finding]
) -> Iterable[FindingChange]:
    for identity, finding in new.items():
        if identity not in old:
            yield FindingChange(Change.NEW, host, finding, _status(before, identity), finding.status)
        elif old[identity].status != finding.status:
            # From crit to error nothing is better: it can't be looked at any more.
            change = Change.BETTER if finding.status == STATUS_WARN else Change.WORSE
            yield FindingChange(change, host, finding, old[identity].status, finding.status)


def _gone(report: HostReport, before: Finding) -> FindingChange:
    now = _status(report, key(before))
    known = STATUS_OK if now is None and not report.answer.findings else now
    return FindingChange(Change.GONE, report.host, before, before.status, known)


def _status(report: HostReport | None, identity: Key) -> "Status.ValueType | None":
    findings = () if report is None else report.answer.findings
    return next((item.status for item in findings if key(item) == identity), None)


def _looked(report: HostReport, missing: Key, *, same: bool, everybody: bool) -> bool:
    """Whether this host's answer says that a finding is over: what was not looked at is not gone."""
    if not _answered(report):
        return False
    if missing[2] == compare_hosts.KIND:
        # One host differs from others: whoever asks it alone learns nothing of that.
        return same and everybody
    if not report.answer.findings:
        # The store keeps nothing more of a host that was well.
        return same
    statuses = {item.status for item in report.answer.findings if settles(key(item), missing)}
    return bool(statuses) and not statuses & {STATUS_SKIPPED, STATUS_ERROR}


def _answered(report: HostReport) -> bool:
    return report.state in (State.OK, State.FAILED) and not report.cause


def settles(now: Key, before: Key) -> bool:
    """Whether a judgement is about what an earlier finding was about: the same thing, or what it is a part of.

    That a container is well is said of its engine, that a session is, of its server, whose name its own begins with.
    """
    if now[0] != before[0]:
        return False
    if before[2] == "container" and now[2] == "docker":
        return True
    return now[1] == before[1] and before[3].startswith(now[3])


def _host(was: HostReport | None, report: HostReport) -> HostChange | None:
    before, now = _trouble(was), _trouble(report)
    if now and before != now:
        return HostChange(Change.SILENT, report.host, None if was is None else was.state, report.state, report.cause)
    if before and report.state in (State.OK, State.FAILED) and not now:
        return HostChange(Change.BACK, report.host, None if was is None else was.state, report.state, "")
    return None


def _trouble(report: HostReport | None) -> str:
    """Why there is no whole answer, in kinds: "" where there is one, or where none was to be."""
    if report is None or report.state in ACHIEVED | NOT_HEARD:
        return ""
    if report.state in SILENT:
        return "silent"
    return "unusable" if report.cause else ""


def _bad(report: HostReport | None) -> dict[Key, Finding]:
    """What warns or is bad; of several with one identity the worst."""
    if report is None or (report.state == State.OK and not report.warns):
        return {}
    made: dict[Key, Finding] = {}
    for finding in report.answer.findings:
        if finding.status == STATUS_WARN or finding.status not in HARMLESS:
            identity = key(finding)
            if identity not in made or _rank(finding.status) > _rank(made[identity].status):
                made[identity] = finding
    return made


def key(finding: Finding) -> Key:
    subject = finding.subject
    return finding.id, subject.service, subject.kind, subject.name


def _rank(status: "Status.ValueType | None") -> int:
    """A status this version does not know is the worst."""
    return {None: 0, STATUS_OK: 0, STATUS_WARN: 1, STATUS_ERROR: 2, STATUS_CRIT: 3}.get(status, 4)


def _order(item: FindingChange) -> tuple[int, int, str]:
    place = {Change.NEW: 0, Change.WORSE: 0, Change.BETTER: 1, Change.GONE: 2}[item.change]
    return place, -_rank(item.now), item.finding.id
