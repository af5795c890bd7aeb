"""What changed since another run, for programs: a record for each change, and what was not shown counted."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from controller.changes import Change, Changes, FindingChange, HostChange
from controller.render import check_json
from controller.snoozing import Rest
from controller.store.runs import Run

SCHEMA = "fleetmedic-changes/1"


def records(changes: Changes) -> Iterator[Mapping[str, object]]:
    """One for each change, worst first."""
    for item in changes.findings:
        yield _finding(item)
    for moved in changes.hosts:
        yield _host(moved)


def transitions(changes: Changes, run: str, at: float) -> Iterator[Mapping[str, object]]:
    """As `records`, for who watches."""
    for record in records(changes):
        yield {"type": "transition", "at": check_json.moment(at), "run": run, **record}


def _finding(item: FindingChange) -> Mapping[str, object]:
    subject = item.finding.subject
    made: dict[str, object] = {
        "change": item.change.value,
        "host": item.host,
        "id": item.finding.id,
        "service": subject.service,
        "kind": subject.kind,
        "name": subject.name,
        "was": None if item.was is None else check_json.status(item.was),
        "now": None if item.now is None else check_json.status(item.now),
    }
    if item.change != Change.GONE:
        made["summary"] = item.finding.summary
    return made


def _host(moved: HostChange) -> Mapping[str, object]:
    return {
        "change": moved.change.value,
        "host": moved.host,
        "was": None if moved.was is None else moved.was.value,
        "now": moved.now.value,
        "cause": moved.cause,
    }


def summary(run: Run, changes: Changes, rest: Rest | None, code: int) -> Mapping[str, object]:
    """The later run's totals beside those of the comparison; `code` is the exit code of what is new or worse."""
    return {
        **check_json.summary(replace(run, exit_code=code), rest),
        "schema": SCHEMA,
        "baseline": changes.before or None,
        "counts": {kind.value: changes.count(kind) for kind in Change},
        "standing": changes.standing,
        "standing_hosts": changes.standing_hosts,
        "not_looked_at": changes.untold,
        "same_question": changes.same_question,
    }


def document(run: Run, changes: Changes, rest: Rest | None, code: int) -> str:
    whole = {**summary(run, changes, rest, code), "type": "changes", "changes": list(records(changes))}
    return json.dumps(whole, ensure_ascii=True, indent=2)
