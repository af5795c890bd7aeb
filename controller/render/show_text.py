"""A table over all hosts for people: aligned, cut to the terminal, whole in a file or pipe; for programs as JSON."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from controller.moments import span
from controller.render.check_text import counted
from controller.render.escape import line
from controller.render.host_ranges import fold
from controller.render.paper import Paper
from controller.tables import Table
from controller.tables.kind import Column, Row, Value

SCHEMA = "fleetmedic-show/1"
UNKNOWN = "-"
GAP = 2
# Of a column of text on a terminal.
NARROWEST = 8


def body(paper: Paper, name: str, table: Table, hosts: int, left_out: int) -> None:
    """The rows, what could not be looked at, and the totals last; `left_out` rows are beyond --most."""
    if table.rows:
        hosts_of = [fold(seen.hosts) if paper.terminal else " ".join(seen.hosts) for seen in table.rows]
        rows = [(named, *seen.row) for named, seen in zip(hosts_of, table.rows, strict=True)]
        grid(paper, (Column("host"), *table.kind.columns), rows)
    for host, why in table.unseen:
        sign = f"{paper.sign('error')} " if paper.terminal else ""
        paper.hanging(paper.paint(f"{sign}NOT SEEN", "error") + f"  {host}  ", line(why), 4, len(host) + 14)
    _absent(paper, table.absent)
    more = f", {left_out} more left out" if left_out else ""
    paper.write(f"{name}: {counted(len(table.rows), 'row')} from {counted(hosts, 'host')}{more}")


def grid(paper: Paper, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """One row or more under the columns' names; columns that nobody has anything for are left out."""
    cells = [[_cell(value, column) for value, column in zip(row, columns, strict=True)] for row in rows]
    # A column nobody has anything for tells nothing.
    kept = [place for place in range(len(columns)) if any(row[place] not in ("", UNKNOWN) for row in cells)]
    if paper.terminal and len(rows) > 1 and _width(columns, cells, kept) > paper.width:
        kept = _without_shared(paper, columns, cells, kept)
    shown = [[columns[place].name for place in kept], *([row[place] for place in kept] for row in cells)]
    right = [columns[place].unit not in ("text", "time") for place in kept]
    widths = [max(len(row[place]) for row in shown) for place in range(len(kept))]
    if paper.terminal:
        widths = _fitted(widths, right, paper.width)
        shown = [[_cut(cell, width) for cell, width in zip(row, widths, strict=True)] for row in shown]
    paper.write(paper.paint(_line(shown[0], widths, right), "dim"))
    for row in shown[1:]:
        paper.write(_line(row, widths, right))


def _width(columns: Sequence[Column], cells: Sequence[Sequence[str]], kept: Sequence[int]) -> int:
    widest = (max(len(columns[place].name), *(len(row[place]) for row in cells)) for place in kept)
    return sum(widest) + GAP * (len(kept) - 1)


def _without_shared(
    paper: Paper, columns: Sequence[Column], cells: Sequence[Sequence[str]], kept: Sequence[int]
) -> list[int]:
    """What all rows share is said once above them, where they are too wide; what they differ in stays."""
    same = [place for place in kept if columns[place].unit == "text" and len({row[place] for row in cells}) == 1]
    left = [place for place in kept if place not in same]
    if not left or not same:
        return list(kept)
    said = "   ".join(f"{columns[place].name} {cells[0][place]}" for place in same)
    paper.hanging("", said, 0, 0)
    return left


def _fitted(widths: Sequence[int], right: Sequence[bool], room: int) -> list[int]:
    """The widest columns of text give way first; numbers are never cut."""
    made = list(widths)
    while sum(made) + GAP * (len(made) - 1) > room:
        texts = [place for place in range(len(made)) if not right[place] and made[place] > NARROWEST]
        if not texts:
            break
        made[max(texts, key=lambda place: made[place])] -= 1
    return made


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    columns = zip(cells, widths, right, strict=True)
    return (
        (" " * GAP).join(f"{cell:>{width}}" if flush else f"{cell:<{width}}" for cell, width, flush in columns).rstrip()
    )


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _cell(value: Value, column: Column) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, str):
        return line(value)
    if not math.isfinite(value):
        # A time without end, of an agent that is odd or worse.
        return UNKNOWN
    if column.unit == "bytes":
        return size(value)
    if column.unit == "percent":
        return f"{value:.0f}%" if value >= 10 or value == 0 else f"{value:.1f}%"
    if column.unit == "seconds":
        return _age(value)
    if column.unit == "time":
        return _moment(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def size(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _age(value: float) -> str:
    if value < 0:
        return f"-{_age(-value)}"
    if value < 1:
        return f"{1000 * value:.3g}ms" if value else "0s"
    return f"{value:.1f}s" if value < 10 else span(value)


def _moment(value: float) -> str:
    try:
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return "no date"


def _absent(paper: Paper, absent: Iterable[tuple[str, str]]) -> None:
    by_reason: dict[str, list[str]] = {}
    for host, why in absent:
        by_reason.setdefault(why, []).append(host)
    for why, hosts in by_reason.items():
        named = fold(hosts) if paper.terminal else " ".join(hosts)
        paper.hanging(f"- {named}  ", line(why), 4, len(named) + 4)


def records(name: str, table: Table) -> Iterator[str]:
    """JSON lines: a record for each row with its values as they are, then one for what was not seen."""
    keys = ["host", *(_key(column) for column in table.kind.columns)]
    for seen in table.rows:
        values = (" ".join(seen.hosts), *map(_finite, seen.row))
        yield json.dumps({"type": "row", **dict(zip(keys, values, strict=True))})
    yield json.dumps(
        {
            "type": "summary",
            "schema": SCHEMA,
            "table": name,
            "rows": len(table.rows),
            "unseen": [{"host": host, "cause": why} for host, why in table.unseen],
            "absent": [{"host": host, "cause": why} for host, why in table.absent],
        }
    )


def _finite(value: Value) -> Value:
    """JSON knows neither infinity nor "not a number"."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _key(column: Column) -> str:
    unit = {"seconds": "_seconds", "bytes": "_bytes", "percent": "_percent", "time": "_time"}.get(column.unit, "")
    return column.name.replace(" ", "_") + unit
