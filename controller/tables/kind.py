"""What a kind of table is made of."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from fleetmedic.v1.snapshot_pb2 import Snapshot, Target

# None where an agent could not tell.
Value: TypeAlias = str | int | float | None
Row: TypeAlias = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """`unit` is one of text, count, seconds, bytes, percent, time (epoch seconds)."""

    name: str
    unit: str = "text"


@dataclass(frozen=True, slots=True)
class Kind:
    """`rows` takes all snapshots of one host; `unseen` says why a probe that ran learnt nothing; `order` sorts rows.

    `also` are probes whose snapshots help, and are not missed. With `total`, rows that differ by that column alone are
    one row over their hosts, with its sum.
    """

    about: str
    same_as: str
    probes: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: Callable[[Sequence[Snapshot]], Iterator[Row]]
    unseen: Callable[[Snapshot], str]
    order: Callable[[Row], tuple[Value, ...]]
    also: tuple[str, ...] = ()
    total: int | None = None
    # What of a snapshot that has rows is missing all the same.
    partly: Callable[[Snapshot], str] = lambda _: ""


def place(target: Target) -> tuple[str, str]:
    """Service and name of what was looked at: the first two columns of most tables."""
    return target.service, target.name


def seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def timestamp(stamp: Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9


def number(value: Value) -> float:
    """For sorting: what is unknown comes last."""
    return float(value) if isinstance(value, int | float) else -1.0
