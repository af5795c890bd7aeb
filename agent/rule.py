"""What a rule is written with: limits that have an owner, what was seen, and the finding it yields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from fleetmedic.v1.finding_pb2 import (
    STATUS_CRIT,
    STATUS_ERROR,
    STATUS_OK,
    STATUS_SKIPPED,
    STATUS_WARN,
    Finding,
    Metric,
    Row,
    Status,
    Subject,
    Table,
)
from fleetmedic.v1.snapshot_pb2 import Snapshot, Target

Level: TypeAlias = "Status.ValueType"

__all__ = [
    "Level",
    "Limit",
    "Limits",
    "Seen",
    "age",
    "errored",
    "finding",
    "graded",
    "grown",
    "metric",
    "seconds",
    "size",
    "skipped",
    "table",
    "timestamp",
    "worst",
]


@dataclass(frozen=True, slots=True)
class Limit:
    """One threshold: `owner` is who set it (docs/checks.md), `origin` where this value of it came from."""

    name: str
    value: float
    unit: str
    owner: str
    origin: str = "default"


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one rule as they stand for this check: constants < agent.toml < the request."""

    changed: Mapping[str, tuple[float, str]]

    def of(self, limit: Limit) -> Limit:
        value, origin = self.changed.get(limit.name, (limit.value, limit.origin))
        return replace(limit, value=value, origin=origin)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the probes brought: snapshots by probe, without those that failed; `now` in seconds since the epoch."""

    snapshots: Mapping[str, Sequence[Snapshot]]
    now: float

    def of(self, probe: str) -> Sequence[Snapshot]:
        return self.snapshots.get(probe, ())


def finding(
    status: Level,
    target: Target,
    summary: str,
    *,
    kind: str | None = None,
    name: str | None = None,
    service: str | None = None,
    metrics: Sequence[Metric] = (),
    table: Table | None = None,
    excerpt: str = "",
    equal_command: str = "",
    next_step: str = "",
) -> Finding:
    """A finding about a target; its id, and since when, are added by whoever runs the rule."""
    return Finding(
        status=status,
        subject=Subject(service=service or target.service, kind=kind or target.probe, name=name or target.name),
        summary=summary,
        metrics=metrics,
        table=table,
        excerpt=excerpt,
        equal_command=equal_command,
        next="" if status == STATUS_OK else next_step,
    )


def skipped(target: Target, reason: str) -> Finding:
    made = finding(STATUS_SKIPPED, target, f"skipped: {reason}")
    made.reason = reason
    return made


def errored(target: Target, reason: str) -> Finding:
    """For what was looked at in vain, where it ought to have been possible."""
    made = finding(STATUS_ERROR, target, f"could not look at {target.name}: {reason}")
    made.reason = reason
    return made


def graded(value: float, warn: Limit, crit: Limit, *, low_is_bad: bool = False) -> tuple[Level, Limit]:
    """The status a value earns, and the limit it was held against."""
    for status, limit in ((STATUS_CRIT, crit), (STATUS_WARN, warn)):
        if value < limit.value if low_is_bad else value >= limit.value:
            return status, limit
    return STATUS_OK, warn


def grown(snapshot: Snapshot, counter: str, value: float) -> tuple[float, float] | None:
    """By how much a counter grew since the oldest sample, and over how many seconds; None where there is no sample.

    One that fell was reset, and counts from 0.
    """
    counted = [sample for sample in snapshot.earlier if counter in sample.counters]
    if not counted:
        return None
    values = [sample.counters[counter] for sample in counted] + [value]
    pairs = zip(values, values[1:], strict=False)
    more = sum(later - before if later >= before else later for before, later in pairs)
    return more, max(0.001, timestamp(snapshot.taken_time) - timestamp(counted[0].taken_time))


def worst(*statuses: Level) -> Level:
    """The worse of some judgements; only ok, info, warn and crit are compared."""
    return max(statuses, default=STATUS_OK)


def metric(name: str, value: float, unit: str, limit: Limit | None = None) -> Metric:
    if limit is None:
        return Metric(name=name, value=value, unit=unit)
    return Metric(name=name, value=value, unit=unit, limit=limit.value, owner=limit.owner, origin=limit.origin)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], most: int = 20) -> Table:
    return Table(columns=columns, rows=[Row(cells=cells) for cells in rows[:most]], omitted=max(0, len(rows) - most))


def seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def timestamp(stamp: Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9


def age(value: float) -> str:
    """A duration for people: 0.4s, 42s, 8m12s, 3h05m, 11d."""
    if value < 10:
        return f"{value:.1f}s"
    whole = int(value)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 48 * 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d"


def size(value: float) -> str:
    """Bytes for people, by 1024: 512 B, 3.4 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")
