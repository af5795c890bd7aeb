"""What agents saw as tables over all hosts: which there are, and their rows."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from controller.endings import State
from controller.host_report import HostReport
from controller.tables import databases, hosts
from controller.tables.kind import Kind, Row, Value, number
from fleetmedic.v1.snapshot_pb2 import FAILURE_KIND_NOT_LOOKED, Snapshot

__all__ = ["KINDS", "Kind", "Seen", "Table", "Value", "table"]

KINDS: Mapping[str, Kind] = MappingProxyType({**databases.KINDS, **hosts.KINDS})


@dataclass(frozen=True, slots=True)
class Seen:
    """A row and the hosts it was seen on: one, but of kinds that are summed over hosts."""

    hosts: tuple[str, ...]
    row: Row


@dataclass(frozen=True, slots=True)
class Table:
    """Rows in order, and by host what could not be looked at and why; `absent` is what is not there to be looked at."""

    kind: Kind
    rows: tuple[Seen, ...]
    unseen: tuple[tuple[str, str], ...]
    absent: tuple[tuple[str, str], ...]


def table(kind: Kind, reports: Iterable[HostReport], services: Collection[str] = ()) -> Table:
    """Pure over what agents sent; the same of a kept run as of a new one. With `services`, theirs alone."""
    rows: list[Seen] = []
    unseen: list[tuple[str, str]] = []
    absent: list[tuple[str, str]] = []
    for report in reports:
        if report.cause:
            # Without an agent, or without that service, there is nothing there to be seen.
            (absent if report.state == State.SKIPPED else unseen).append((report.host, report.cause))
            continue
        answered: list[Snapshot] = []
        for snapshot in report.answer.snapshots:
            if snapshot.target.probe in kind.also:
                answered += [] if snapshot.HasField("failure") else [snapshot]
            elif snapshot.target.probe not in kind.probes:
                continue
            elif snapshot.HasField("failure"):
                missing = snapshot.failure.kind == FAILURE_KIND_NOT_LOOKED
                said = f"{snapshot.target.name}: {snapshot.failure.detail}"
                (absent if missing else unseen).append((report.host, snapshot.failure.detail if missing else said))
            elif why := kind.unseen(snapshot):
                unseen.append((report.host, f"{snapshot.target.name}: {why}"))
            else:
                answered.append(snapshot)
                if missing_part := kind.partly(snapshot):
                    unseen.append((report.host, missing_part))
        found = (row for row in kind.rows(answered) if not services or _belongs(kind, row, services))
        rows += [Seen((report.host,), row) for row in found]
    if kind.total is not None:
        rows = _summed(rows, kind.total)
    rows.sort(key=lambda seen: (*kind.order(seen.row), seen.hosts))
    return Table(kind, tuple(rows), tuple(unseen), tuple(absent))


def _belongs(kind: Kind, row: Row, services: Collection[str]) -> bool:
    of = {column.name: value for column, value in zip(kind.columns, row, strict=True)}
    return of.get("service") in services or of.get("container") in services


def _summed(rows: Iterable[Seen], place: int) -> list[Seen]:
    """Rows that are equal but for the number at `place`, as one."""
    groups: dict[Row, tuple[list[str], list[float]]] = {}
    for seen in rows:
        hosts, numbers = groups.setdefault((*seen.row[:place], None, *seen.row[place + 1 :]), ([], []))
        hosts += seen.hosts
        numbers.append(number(seen.row[place]))
    return [
        Seen(tuple(dict.fromkeys(hosts)), (*row[:place], int(sum(numbers)), *row[place + 1 :]))
        for row, (hosts, numbers) in groups.items()
    ]
