"""How the agents of a fleet stand, as one table with what is bad first, and as JSON."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from controller.doctor.standing import Stands
from controller.endings import BAD, State
from controller.render.check_text import counted
from controller.render.next_step import step
from controller.render.paper import Paper
from controller.render.ping import ORDER
from controller.render.show_text import grid
from controller.tables.kind import Column, Row

SCHEMA = "fleetmedic-agent-status/1"
COLUMNS = tuple(
    map(Column, ("host", "version", "certificate ends", "denylist", "frozen", "alarms", "worker", "clock", "answer"))
)


@dataclass(frozen=True, slots=True)
class Standings:
    """Every host in the order of the targets; `ours` is our own denylist's number, where there is one.

    `fleet` are the flags by which a command finds these hosts, or nothing.
    """

    items: Sequence[Stands]
    ours: int | None
    now: datetime
    exit_code: int
    fleet: str


def body(paper: Paper, standings: Standings) -> None:
    grid(paper, COLUMNS, [_row(item, standings.now) for item in sorted(standings.items, key=_order)])
    troubles = Counter(trouble for item in standings.items for trouble in item.troubles)
    for trouble, count in troubles.most_common():
        paper.hanging(f"{paper.paint(paper.sign('warn'), 'warn')} ", f"{counted(count, 'host')}: {trouble}", 2, 2)
    if silent := [item.host for item in standings.items if item.state in BAD]:
        paper.hanging("next: ", step("fleetmedic agent doctor {host}", silent, standings.fleet), 2, 6)
    paper.write(f"{_totals(standings)}   exit code {standings.exit_code}")


def _order(item: Stands) -> tuple[int, int, bool]:
    """Who does not answer, then who has troubles, most first, then who is frozen, then the well."""
    silent = ORDER.index(item.state) if item.state in ORDER else 0
    return silent, -len(item.troubles), item.freeze is None


def _row(item: Stands, now: datetime) -> Row:
    if item.version == "" and item.cause:
        return (item.host, "", "", "", "", "", "", "", f"{item.state}: {item.cause}")
    return (
        item.host,
        item.version[:40] + (f" ({item.skew})" if item.skew else ""),
        _until(item.ends, now),
        _denylist(item),
        "" if item.freeze is None else f"{item.freeze.user or '?'}: {item.freeze.reason}"[:200],
        "; ".join(item.alarms)[:500],
        item.worker[:200] or "there",
        f"{item.clock:+z.1f}s",
        "",
    )


def _until(ends: datetime | None, now: datetime) -> str:
    return "?" if ends is None else f"{ends:%Y-%m-%d} ({max(0, (ends - now).days)}d)"


def _denylist(item: Stands) -> str:
    if not item.behind:
        return str(item.denylist)
    return f"{item.denylist} ({'older' if item.behind > 0 else 'newer'} than ours)"


def _totals(standings: Standings) -> str:
    told = Counter("frozen" if item.freeze is not None else _word(item) for item in standings.items)
    said = "  ".join(f"{count} {word}" for word, count in told.most_common())
    return f"{counted(len(standings.items), 'host')}: {said}"


def _word(item: Stands) -> str:
    if item.state != State.OK:
        return item.state.replace("_", " ")
    return "to mend" if item.troubles else "well"


def document(standings: Standings) -> dict[str, object]:
    return {
        "type": "agent-status",
        "schema": SCHEMA,
        "hosts": len(standings.items),
        "our_denylist": standings.ours,
        "exit_code": standings.exit_code,
        "reports": [_record(item) for item in standings.items],
    }


def _record(item: Stands) -> dict[str, object]:
    freeze = item.freeze
    return {
        "host": item.host,
        "state": item.state.value,
        "cause": item.cause,
        "version": item.version or None,
        "skew": item.skew,
        "certificate_ends": None if item.ends is None else f"{item.ends:%FT%TZ}",
        "denylist": item.denylist,
        "denylist_behind": item.behind,
        "frozen": None if freeze is None else {"user": freeze.user, "reason": freeze.reason},
        "alarms": list(item.alarms),
        "worker_error": item.worker,
        "clock_offset": round(item.clock, 4),
        "troubles": list(item.troubles),
    }
