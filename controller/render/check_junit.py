"""A check as JUnit's XML: a suite for each host, a case for each check; well formed whatever a host says."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from controller.endings import State
from controller.host_report import HostReport
from controller.render.check_text import WORDS, until
from controller.render.escape import LONGEST, block, line
from controller.render.next_step import fleet_of, step
from controller.snoozing import Rest, Resting
from controller.store.runs import Run
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_INFO, STATUS_OK, STATUS_SKIPPED, STATUS_WARN, Finding

ANSWER = "agent answers"
# Of an excerpt: a case is read on a page, and the run has it whole.
MOST_LINES = 40
# What XML 1.0 can't hold even as a reference; `line` has made the control characters visible before.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ELEMENTS = {"failure": "failures", "error": "errors", "skipped": "skipped"}


def document(run: Run, rest: Rest) -> str:
    """The whole document, in the order of the targets."""
    top = Element("testsuites")
    aside: dict[str, list[Resting]] = {}
    for item in rest.resting:
        aside.setdefault(item.host, []).append(item)
    now = run.started_at + run.seconds
    for place, report in enumerate(run.reports):
        top.append(_suite(run, place, report, aside.get(report.host, ()), now))
    ElementTree.indent(top)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(top, encoding="unicode")


def _suite(run: Run, place: int, report: HostReport, aside: Sequence[Resting], now: float) -> Element:
    host, fleet = _said(report.host), fleet_of(run.inventory)
    when = f"{datetime.fromtimestamp(int(run.started_at), UTC):%Y-%m-%dT%H:%M:%S}"
    suite = Element("testsuite", name=host, package="fleetmedic", id=str(place), hostname=host, timestamp=when)
    properties = SubElement(suite, "properties")
    SubElement(properties, "property", name="run", value=run.id or "not kept")
    if report.answer.agent.version:
        SubElement(properties, "property", name="agent", value=_said(report.answer.agent.version))
    for finding in report.answer.findings:
        _case(suite, host, _name(finding), *_outcome(finding, host, fleet))
    for item in aside:
        said = f"snoozed: {item.snooze.reason}, by {item.snooze.actor} {until(item.snooze, now)}"
        _case(suite, host, _name(item.finding), "skipped", said, "")
    if report.cause:
        _case(suite, host, ANSWER, "skipped" if report.state == State.SKIPPED else "error", report.cause, "")
    SubElement(suite, "system-out").text = "\n".join(_warnings(report.answer.findings))
    SubElement(suite, "system-err")
    suite.set("tests", str(len(suite.findall("testcase"))))
    for element, count in _ELEMENTS.items():
        suite.set(count, str(len(suite.findall(f"testcase/{element}"))))
    suite.set("time", f"{report.seconds:.3f}")
    return suite


def _case(suite: Element, host: str, name: str, element: str, message: str, body: str) -> None:
    case = SubElement(suite, "testcase", name=name, classname=host, time="0")
    if element:
        made = SubElement(case, element, message=_said(message))
        if element != "skipped":
            made.set("type", "crit" if element == "failure" else "error")
        made.text = body


def _name(finding: Finding) -> str:
    subject = finding.subject
    return " ".join(_said(part) for part in dict.fromkeys((finding.id, subject.service, subject.name)) if part) or "?"


def _outcome(finding: Finding, host: str, fleet: str) -> tuple[str, str, str]:
    """The element, its message and its text; a status this version does not know is an error."""
    if finding.status in (STATUS_OK, STATUS_INFO, STATUS_WARN):
        return "", "", ""
    if finding.status == STATUS_SKIPPED:
        return "skipped", finding.reason or finding.summary, ""
    return (
        "failure" if finding.status == STATUS_CRIT else "error",
        finding.summary,
        "\n".join(_evidence(finding, host, fleet)),
    )


def _evidence(finding: Finding, host: str, fleet: str) -> Iterator[str]:
    """What stands in the page of a failed case."""
    yield _said(finding.summary)
    if finding.reason:
        yield _said(finding.reason)
    for part in block(finding.excerpt)[:MOST_LINES]:
        yield f"| {_said(part)}"
    if finding.equal_command:
        yield f"same as: {_said(finding.equal_command)}"
    if finding.next:
        yield f"next: {_said(step(finding.next, (host,), fleet))}"


def _warnings(findings: Iterable[Finding]) -> Iterator[str]:
    for finding in findings:
        if finding.status == STATUS_WARN:
            yield f"{WORDS[STATUS_WARN]}: {_name(finding)}: {_said(finding.summary)}"


def _said(text: str) -> str:
    """One line that any parser takes."""
    return _FORBIDDEN.sub("", line(text[:LONGEST])).strip()
