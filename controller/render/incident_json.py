"""An incident report for programs: the whole model as one JSON document, schema incident-report/1."""

import json
from collections.abc import Mapping

from controller import VERSION, moments
from controller.reports.found import Found
from controller.reports.incident import Incident
from controller.reports.prompts import OPEN
from controller.reports.timeline import Entry, counts
from controller.store.history import Look

SCHEMA = "incident-report/1"


def document(incident: Incident) -> str:
    """ASCII only: control and bidi characters of a host's text stay escaped. The same incident gives the same bytes."""
    return json.dumps(record(incident), ensure_ascii=True, indent=2) + "\n"


def record(incident: Incident) -> Mapping[str, object]:
    asked, marks = incident.asked, incident.milestones
    window = asked.window
    return {
        "schema": SCHEMA,
        "generator": f"fleetmedic {VERSION}",
        "made": stamp(asked.made_at),
        "title": asked.title,
        "severity": asked.severity.name,
        "severity_means": asked.severity.impact,
        "state": "draft",
        "start": stamp(window.start),
        "start_from": window.start_from,
        "end": stamp(window.end),
        "end_from": window.end_from,
        "duration_seconds": None if window.seconds is None else round(window.seconds),
        "review_due": review_due(incident),
        "milestones": {
            "onset": stamp(marks.onset),
            "first_seen_by_a_check": stamp(marks.seen),
            "first_seen_run": marks.seen_by or None,
            "well_again": stamp(marks.well),
            "well_again_run": marks.well_by or None,
            # Only people know these.
            "detected": None,
            "acknowledged": None,
            "identified": None,
            "mitigated": None,
            "resolved": None,
        },
        "hosts": list(incident.hosts),
        "services": {
            "affected": {
                name: {"hosts": list(hosts), "of": there} for name, hosts, there in incident.services.affected
            },
            "since_before": list(incident.services.since_before),
            "warned": list(incident.services.warned),
            "unaffected": list(incident.services.unaffected),
        },
        "runs": [_run(look) for look in incident.runs],
        "run_before": _run(incident.before) if incident.before else None,
        "timeline": [_entry(entry) for entry in incident.timeline],
        "findings": [_found(item) for item in incident.found],
        "root_cause": {
            "evidence_in_order": [item.key for item in incident.leads],
            "likely_consequences": [
                {"finding": link.effect, "of": link.cause, "why": link.why} for link in incident.links
            ],
            "verdict": None,
        },
        "contributing": {
            "there_long_before": [item.key for item in incident.background],
            "warnings": [item.key for item in incident.warnings],
        },
        "could_not_look": [item.key for item in incident.blind],
        "clocks_off_seconds": {host: round(offset, 3) for host, offset in incident.clocks},
        "evidence": [_evidence(item) for item in incident.found],
        "to_fill": {section: list(prompts) for section, prompts in OPEN.items()},
    }


def _run(look: Look) -> Mapping[str, object]:
    return {
        "run": look.id,
        "kind": look.kind,
        "at": stamp(look.at),
        "seconds": round(look.seconds, 3),
        "pattern": look.pattern,
        "result": counts(look),
        "exit_code": look.exit_code,
    }


def _entry(entry: Entry) -> Mapping[str, object]:
    return {
        "at": stamp(entry.at),
        "kind": entry.kind,
        "text": entry.text,
        "hosts": list(entry.hosts),
        "run": entry.run,
        "evidence": entry.evidence or None,
    }


def _found(item: Found) -> Mapping[str, object]:
    return {
        "key": item.key,
        "id": item.id,
        "severity": item.word,
        "service": item.service or None,
        "names": list(item.names),
        "hosts": list(item.hosts),
        "summary": item.summary,
        "onset": stamp(item.onset),
        "first_run": item.first_run,
        "well_before": stamp(item.well_before.at) if item.well_before else None,
        "well_before_run": item.well_before.run if item.well_before else None,
        "gone": stamp(item.gone.at) if item.gone else None,
        "gone_run": item.gone.run if item.gone else None,
        "still_on": list(item.still),
    }


def _evidence(item: Found) -> Mapping[str, object]:
    held = item.evidence
    return {
        "key": item.key,
        "host": held.host,
        "run": held.run,
        "at": stamp(held.at),
        "quote": held.quote,
        "sha256": held.sha256,
        "command": held.command or None,
        "next": held.next or None,
    }


def review_due(incident: Incident) -> str | None:
    hours = incident.asked.severity.review_hours
    return None if hours is None else stamp(incident.asked.window.end + hours * 3600)


def stamp(at: float | None) -> str | None:
    return None if at is None else moments.stamp(at)
