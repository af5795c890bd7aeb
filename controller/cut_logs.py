"""Tells at once of an audit log that was cut or rewritten: an agent no longer has what it had told before."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from controller.endings import State
from controller.host_report import HostReport, judged
from controller.store.audit_heads import Head
from controller.store.events import Event
from fleetmedic.v1.agent_pb2 import CheckResponse, Standing
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, Finding, Subject

FINDING = "AUDIT-LOG"
KIND = "audit"
# An agent that says so, and has read no record since its host started, has a disk that is broken: its alarm is shown.
UNREAD = ("the audit log can't be ", "the audit log takes no record: ")
NEXT = "what is missing, and since when? fleetmedic audit verify {host}"


def flaw(host: str, standing: Standing, known: Head, began: float) -> str:
    """What is wrong with a log by its head alone, for people; "" for nothing. `began` is when the agent was asked.

    Heads of two commands at once may come in any order: an older one than is known then is no flaw.
    """
    has = standing.audit_sequence
    if not has and any(alarm.startswith(UNREAD) for alarm in standing.alarms):
        return ""
    if not has:
        return f"audit log of {host} is gone: had record {known.sequence}, has none"
    if has < known.sequence and known.at < began:
        return f"audit log of {host} was cut or rewritten: had record {known.sequence}, has {has}"
    if has == known.sequence and standing.audit_head != known.hash:
        return f"audit log of {host} was cut or rewritten: record {has} is not the one that it had"
    return ""


def told(report: HostReport, known: Mapping[str, Head], began: float) -> HostReport:
    """The report, with a critical finding where its agent's log is not what it was."""
    head = known.get(report.host)
    # Of a host that has not answered nothing is known.
    if head is None or not report.answer.HasField("agent"):
        return report
    said = flaw(report.host, report.answer.standing, head, began)
    if not said:
        return report
    subject = Subject(service="fleetmedic", kind=KIND, name=report.host)
    answer = CheckResponse()
    answer.CopyFrom(report.answer)
    answer.findings.append(Finding(id=FINDING, status=STATUS_CRIT, subject=subject, summary=said, next=NEXT))
    state = judged(answer.findings) if report.state == State.OK else report.state
    return replace(report, answer=answer, state=state)


def heads(run: str, at: float, reports: Iterable[HostReport]) -> Iterator[Head]:
    """What the agents of a run told, `at` the run's end."""
    for report in reports:
        standing = report.answer.standing
        yield Head(report.host, standing.audit_sequence, standing.audit_head, at, run)


def events(run: str, at: float, actor: str, reports: Iterable[HostReport]) -> Iterator[Event]:
    """What `told` has said, for the event log."""
    for report in reports:
        for finding in report.answer.findings if report.state != State.OK else ():
            if finding.id == FINDING and finding.subject.kind == KIND:
                yield Event(at, "audit", actor, "controller", finding.summary, {"host": report.host, "run": run})
