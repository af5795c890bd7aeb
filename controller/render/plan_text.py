"""A plan for people: what would happen on which hosts, equal ones folded, and how it is applied."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from controller.change.planning import Planned
from controller.endings import State
from controller.moments import span
from controller.render.check_text import counted, silent_line
from controller.render.escape import LONGEST, line
from controller.render.host_ranges import fold
from controller.render.paper import Paper
from fleetmedic.v1.action_pb2 import RISK_HIGH, RISK_LOW, RISK_MODERATE, Amount, Plan

RISKS = {RISK_LOW: "low", RISK_MODERATE: "moderate", RISK_HIGH: "high"}
# Of one list; the JSON has all.
MOST = 12
# Where names and values begin.
LABEL = 12
VALID = "5m"
# A part's name and its line, as they stand under each other.
Rows = tuple[tuple[str, str], ...]


def risk(plans: Sequence[Plan]) -> int:
    """The highest; one that this version does not know, or that is not said, is high."""
    return max((item.risk if item.risk in RISKS else RISK_HIGH for item in plans), default=RISK_LOW)


def body(paper: Paper, name: str, title: str, planned: Sequence[Planned], *, explain: bool) -> None:
    plans = [item.plan for item in planned if item.plan is not None and item.changes]
    paper.write(
        f"PLAN {name}  {line(title)} on {counted(len(plans), 'host')} of {len(planned)}   "
        f"risk: {RISKS[max(risk(plans), RISK_LOW)]}   reversible: {_reversible(plans)}"  # type: ignore[index] # as risk() gives it
    )
    for rows, hosts in _alike(planned, explain=explain):
        paper.write()
        paper.write(f"  {_names(paper, hosts)}")
        for label, text in rows:
            paper.hanging(f"    {label:<{LABEL}}", text, 4 + LABEL, 4 + LABEL)
    if plans:
        paper.write()
    _others(paper, planned)


def _reversible(plans: Sequence[Plan]) -> str:
    undone = [bool(plan.undo) and not plan.irreversible for plan in plans]
    if not undone:
        return "-"
    return "yes" if all(undone) else "in part" if any(undone) else "no"


def _names(paper: Paper, hosts: Sequence[str]) -> str:
    return fold(hosts) if paper.terminal else " ".join(hosts)


def _alike(planned: Sequence[Planned], *, explain: bool) -> Iterator[tuple[Rows, list[str]]]:
    """Plans that say the same, with their hosts."""
    groups: dict[Rows, list[str]] = {}
    for item in planned:
        if item.plan is not None and item.changes:
            groups.setdefault(tuple(rows(item.plan, explain=explain)), []).append(item.host)
    yield from groups.items()


def rows(plan: Plan, *, explain: bool) -> Iterator[tuple[str, str]]:
    """Each part of a plan that has something to say, harmless."""
    yield "would", _said(plan.summary)
    yield from _effects(plan)
    yield from _lists(plan)
    if plan.undo:
        yield "undo", _said(plan.undo)
    if plan.irreversible or not plan.undo:
        yield "no undo", _said(plan.irreversible) or "it can't be undone"
    yield "after", _after(plan)
    if explain:
        yield from (("same as", _said(command)) for command in plan.equal_commands[:MOST])
    if plan.needs_approval:
        yield "approval", _approval(plan)


def _effects(plan: Plan) -> Iterator[tuple[str, str]]:
    doing = Counter((item.does, item.kind) for item in plan.effects)
    for (does, kind), count in doing.items():
        names = [item.name for item in plan.effects if (item.does, item.kind) == (does, kind)]
        yield _said(does)[:LABEL], f"{counted(count, _said(kind))}: {_listed(names)}"
    for amount in plan.amounts[:MOST]:
        yield "amount", _amount(amount)
    yield from _table(plan)


def _lists(plan: Plan) -> Iterator[tuple[str, str]]:
    parts = (
        ("stays", plan.kept),
        ("before", [f"kept as evidence: {item}" for item in plan.evidence]),
        ("how", plan.steps),
        ("warning", plan.warnings),
    )
    for label, texts in parts:
        for text in texts[:MOST]:
            yield label, _said(text)
        if len(texts) > MOST:
            yield label, f"and {len(texts) - MOST} more: --format json has them"


def _after(plan: Plan) -> str:
    if not plan.verified_by:
        return "no check tells whether it has cured"
    # By hand: a hostile agent's duration may be none.
    settle = min(max(plan.settle.seconds, 0), 86400)
    return f"check {_listed(plan.verified_by)} again after {span(settle)}"


def _approval(plan: Plan) -> str:
    given = [f"{'approved' if item.approved else 'denied'} by {_said(item.user)}" for item in plan.approvals]
    return ", ".join(given) or f"a second person must approve it: fleetmedic approve {_said(plan.name)}"


def _table(plan: Plan) -> Iterator[tuple[str, str]]:
    for row in plan.table.rows[:MOST]:
        cells = [f"{_said(name)} {_said(cell)}" for name, cell in zip(plan.table.columns, row.cells, strict=False)]
        yield "", "  ".join(cells)
    if left := max(0, len(plan.table.rows) - MOST) + plan.table.omitted:
        yield "", f"and {left} more"


def _amount(amount: Amount) -> str:
    value = f"{amount.value:,.0f}" if math.isfinite(amount.value) else "?"
    within = f" (may move by {amount.tolerance:.0%})" if math.isfinite(amount.tolerance) and amount.tolerance else ""
    return f"{_said(amount.name)}: {value} {_said(amount.unit)}{within}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(_said(name) for name in names[:MOST])
    return f"{shown} and {len(names) - MOST} more" if len(names) > MOST else shown


def _said(text: str) -> str:
    return line(text[:LONGEST])


def _others(paper: Paper, planned: Sequence[Planned]) -> None:
    """The hosts that have no plan, and those that need none."""
    groups: dict[tuple[str, str, State], list[str]] = {}
    for item in planned:
        if item.changes:
            continue
        kind = "nothing to do" if item.plan is not None else "refused" if item.refused else ""
        groups.setdefault((kind, item.cause, item.state), []).append(item.host)
    for (kind, cause, state), hosts in groups.items():
        if kind:
            sign = paper.paint(paper.sign("ok" if kind != "refused" else "crit"), "ok" if kind != "refused" else "crit")
            paper.hanging(f"{sign} ", f"{_names(paper, hosts)}  {kind}: {_said(cause)}", 4, 2)
        else:
            silent_line(paper, cause[:LONGEST], state, hosts)
