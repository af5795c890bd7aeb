"""A check for programs: JSON, whole, or JSON lines in the order of completion."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from controller import compare, services
from controller.host_report import HostReport, standings
from controller.render import frozen_text
from controller.snoozing import Rest, Resting
from controller.store.runs import Run
from controller.store.snoozes import Snooze
from fleetmedic.v1.finding_pb2 import Finding, Metric, Status

SCHEMA = "fleetmedic-check/1"


def host(report: HostReport, resting: Sequence[Resting] = ()) -> Mapping[str, object]:
    """One host; made by hand, for the general converter costs ten times as much over a fleet.

    What is snoozed stands apart from its findings, where anything is.
    """
    made: dict[str, object] = {
        "type": "host",
        "host": report.host,
        "state": report.state.value,
        "cause": report.cause,
        "seconds": round(report.seconds, 4),
        "clock_offset": None if report.clock_offset is None else round(report.clock_offset, 3),
        "messages": report.messages,
        "findings": [_finding(item, report.host) for item in report.answer.findings],
    }
    if report.links:
        made["links"] = {
            service: [{"title": title, "url": address} for title, address in links]
            for service, links in report.links.items()
        }
    if report.late is not None:
        made["late"] = round(report.late, 3)
    if resting:
        made["snoozed"] = [{**_finding(item.finding, report.host), "snooze": item.snooze.id} for item in resting]
    made |= frozen_text.standing(report.answer.standing)
    agent = report.answer.agent
    if agent.name:
        made["agent"] = {"name": agent.name, "version": agent.version, "boot_id": agent.boot_id}
    return made


def late(report: HostReport) -> Mapping[str, object]:
    """A host has its line already; this one says by how many seconds its answer came too late."""
    return {"type": "late", "host": report.host, "late": round(report.late or 0.0, 3)}


def _finding(finding: Finding, host: str) -> Mapping[str, object]:
    subject = finding.subject
    made: dict[str, object] = {
        "id": finding.id,
        "status": status(finding.status),
        "service": subject.service,
        "kind": subject.kind,
        "name": subject.name,
        "summary": finding.summary,
    }
    if finding.reason:
        made["reason"] = finding.reason
    if finding.HasField("first_seen_time"):
        made["first_seen"] = _stamp(finding.first_seen_time)
    if finding.metrics:
        made["metrics"] = [_metric(item) for item in finding.metrics]
    if finding.HasField("table"):
        rows = [list(row.cells) for row in finding.table.rows]
        made["table"] = {"columns": list(finding.table.columns), "rows": rows, "omitted": finding.table.omitted}
    for name in ("excerpt", "equal_command", "next"):
        if value := getattr(finding, name):
            made[name] = value.replace("{host}", host) if name == "next" else value
    return made


def _metric(metric: Metric) -> Mapping[str, object]:
    made: dict[str, object] = {"name": metric.name, "value": _number(metric.value), "unit": metric.unit}
    if metric.HasField("limit"):
        made |= {"limit": _number(metric.limit), "owner": metric.owner, "origin": metric.origin}
    return made


def _number(value: float) -> float | None:
    """JSON knows neither infinity nor "not a number"."""
    return value if math.isfinite(value) else None


def _stamp(stamp: Timestamp) -> str | None:
    """None where an agent sent what is no date."""
    try:
        return stamp.ToJsonString()
    except (ValueError, OverflowError):
        return None


def status(value: "Status.ValueType") -> str:
    """A status of a newer agent is '?', and never ok."""
    try:
        return Status.Name(value).removeprefix("STATUS_").lower()
    except ValueError:
        return "?"


def summary(run: Run, rest: Rest | None = None) -> Mapping[str, object]:
    """The totals; with `rest` also what is snoozed, by whom, why and until when."""
    seen = services.scope(run.reports)
    states: dict[str, int] = {}
    for report in run.reports:
        states[report.state.value] = states.get(report.state.value, 0) + 1
    made: dict[str, object] = {
        "type": "summary",
        "schema": SCHEMA,
        "run": run.id,
        "hosts": len(run.reports),
        "states": states,
        "checks": run.checks + (len(rest.resting) if rest else 0),
        "seconds": round(run.seconds, 3),
        "affected": {name: {"bad": bad, "hosts": there} for name, bad, there in seen.affected},
        "warned": list(seen.watched),
        "unaffected": list(seen.unaffected),
        "odd_ones_out": _odd(run),
        "frozen": frozen_text.records(standings(run.reports)),
        "exit_code": run.exit_code,
    }
    if rest is not None:
        made["snoozed"] = [_resting(item) for item in rest.resting]
        made["snoozes_ending"] = [snooze(item) for item in rest.ending]
        made["snoozes_ended"] = [snooze(item) for item in rest.ended]
    return made


def _odd(run: Run) -> list[Mapping[str, object]]:
    """What shows only when hosts are compared, and so is in no line of a single one."""
    return [
        {"host": report.host, "id": finding.id, "name": finding.subject.name, "summary": finding.summary}
        for report in run.reports
        if report.warns
        for finding in report.answer.findings
        if finding.subject.kind == compare.KIND
    ]


def _resting(item: Resting) -> Mapping[str, object]:
    subject = item.finding.subject
    return {
        "host": item.host,
        "id": item.finding.id,
        "status": status(item.finding.status),
        "service": subject.service,
        "kind": subject.kind,
        "name": subject.name,
        "snooze": item.snooze.id,
        "reason": item.snooze.reason,
        "by": item.snooze.actor,
        "until": moment(item.snooze.end),
    }


def snooze(item: Snooze) -> Mapping[str, object]:
    made = {
        "snooze": item.id,
        "id": item.finding,
        "name": item.subject or None,
        "hosts": list(item.hosts),
        "reason": item.reason,
        "by": item.actor,
        "since": moment(item.begins_at),
        "until": moment(item.until),
    }
    if item.ended_at is not None:
        made |= {"ended": moment(item.ended_at), "ended_by": item.ended_by}
    return made


def moment(at: float) -> str:
    """Of our own clock, in whole seconds."""
    return datetime.fromtimestamp(int(at), UTC).isoformat().replace("+00:00", "Z")


def document(run: Run, rest: Rest | None = None) -> str:
    aside: dict[str, list[Resting]] = {}
    for item in rest.resting if rest else ():
        aside.setdefault(item.host, []).append(item)
    reports = [host(report, aside.get(report.host, ())) for report in run.reports]
    return json.dumps({**summary(run, rest), "type": "check", "reports": reports}, ensure_ascii=True, indent=2)


def one_line(record: Mapping[str, object]) -> str:
    """ASCII only: control and bidi characters of a host's text stay escaped."""
    return json.dumps(record, ensure_ascii=True)
