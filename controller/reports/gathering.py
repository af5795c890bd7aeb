"""Reads of the store what belongs to an incident: the time it took, its runs, and the findings that are quoted."""

import re
import sqlite3
import unicodedata
from dataclasses import dataclass

from controller.moments import stamp
from controller.reports import incident
from controller.reports.episodes import RANK, trace
from controller.reports.found import CRITICAL
from controller.reports.incident import LONG_BEFORE, Asked, Incident, Window
from controller.reports.severity import Severity
from controller.store import deployments, history
from controller.store.history import Subject
from fleetmedic.v1.finding_pb2 import Finding

DAY = 86400.0
LONGEST_SLUG = 60


@dataclass(frozen=True, slots=True)
class Given:
    """What a person said; times in epoch seconds, None where they named none."""

    title: str
    severity: Severity
    start: float | None
    end: float | None
    light: bool


def gather(base: sqlite3.Connection | None, given: Given, now: float) -> Incident:
    """The incident as the store (None where there is none) knows it."""
    end = now if given.end is None else given.end
    end_from = "when this was made" if given.end is None else ""
    start, start_from = (given.start, "") if given.start is not None else _start(base, end)
    asked = Asked(given.title, given.severity, Window(start, end, start_from, end_from), now, given.light)
    if base is None:
        return incident.build(asked, (), None, (), _nothing)
    since = end - DAY if start is None else start
    runs = history.between(base, since, end)
    before = history.last_before(base, since, DAY)
    deployed = deployments.between(base, since - LONG_BEFORE, end)
    return incident.build(asked, runs, before, deployed, lambda run, subject: history.finding(base, run, subject))


def _nothing(_: str, __: Subject) -> Finding | None:
    return None


def _start(base: sqlite3.Connection | None, end: float) -> tuple[float | None, str]:
    """Of the first run in the 24 hours before the end that was bad: when what it found was first seen."""
    look = history.first_bad(base, end - DAY, end) if base else None
    if base is None or look is None:
        return None, ""
    before = history.last_before(base, look.at, DAY)
    onsets = [
        episode.onset
        for episode in trace([*([before] if before else []), look])
        if RANK[episode.worst.word] >= CRITICAL
        and episode.moments[-1].run == look.id
        and look.at - LONG_BEFORE <= episode.onset < look.at
    ]
    what = f"run {look.id}, the first in the 24 hours before the end that found something bad"
    return (min(onsets), f"the first sight of what was bad in {what}") if onsets else (look.at, what)


def stem(made: Incident) -> str:
    """The name of its files: the day it began (or ended, where that is not known), and the title in plain letters."""
    window = made.asked.window
    at = window.end if window.start is None else window.start
    return f"{stamp(at)[:10]}-{slug(made.asked.title)}"


def slug(title: str) -> str:
    """Letters, digits and hyphens; never empty, and never a path."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    words = "-".join(re.findall(r"[a-z0-9]+", plain))
    if len(words) > LONGEST_SLUG:
        words = words[:LONGEST_SLUG].rpartition("-")[0] or words[:LONGEST_SLUG]
    return words or "incident"
