"""Deployments as the agents of a run told of them (DEPLOY-RECENT), each once however many runs saw it."""

import math
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from controller.host_report import HostReport
from fleetmedic.v1.finding_pb2 import STATUS_INFO, Finding

RULE = "DEPLOY-RECENT"
# One that two runs tell of is not measured to the second.
SAME = 60.0
# Of one host in one run, and of one release: an agent that lies must not fill the disk.
MOST_ROWS = 200
LONGEST = 200


@dataclass(frozen=True, slots=True)
class Deployment:
    """`release` is its image, and what its labels say of it; `at` in epoch seconds; `run` the first that saw it."""

    host: str
    service: str
    name: str
    release: str
    at: float
    run: str


def rows(run: str, now: float, report: HostReport) -> Iterator[tuple[object, ...]]:
    """What is kept of one report; nothing is gone through of those that tell no news."""
    if STATUS_INFO not in report.statuses:
        return
    told = (item for item in report.answer.findings if item.id == RULE and item.status == STATUS_INFO)
    for finding in islice(told, MOST_ROWS):
        ago = next((item.value for item in finding.metrics if item.name == "seconds"), math.nan)
        if math.isfinite(ago):
            subject = finding.subject
            yield run, report.host, subject.service, subject.name, _release(finding), now - ago


def _release(finding: Finding) -> str:
    known = {row.cells[0]: row.cells[1] for row in finding.table.rows if len(row.cells) > 1}
    said = [known.get("image", "")] + ([f"release {known['release']}"] if known.get("release") else [])
    return ", ".join(filter(None, said))[:LONGEST]


def between(base: sqlite3.Connection, start: float, end: float) -> tuple[Deployment, ...]:
    """By time; of those that are told of by several runs the first telling."""
    known: dict[tuple[str, str, str], list[Deployment]] = {}
    for row in base.execute(
        "SELECT host, service, name, release, at, run FROM deployments JOIN runs ON runs.id = run"
        " WHERE at BETWEEN ? AND ? ORDER BY started_at, at",
        (start, end),
    ):
        made = Deployment(*row)
        same = known.setdefault((made.host, made.service, made.name), [])
        if not any(abs(made.at - earlier.at) <= SAME for earlier in same):
            same.append(made)
    return tuple(sorted((item for items in known.values() for item in items), key=lambda item: (item.at, item.host)))
