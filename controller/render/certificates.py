"""Certificates as the register has them: a line each for people, one whole, and a document for programs."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from controller import moments
from controller.render.escape import line
from controller.render.paper import Paper
from controller.trust.holders import Held, Standing
from controller.trust.register import BREAK_GLASS, FORM

SCHEMA = "fleetmedic-pki/1"
PAINT = {Standing.ENDED: "crit", Standing.SOON: "warn", Standing.REVOKED: "info"}
SHORT_SERIAL = 8


def table(paper: Paper, shown: Sequence[Held], there_are: int, now: datetime) -> None:
    """`there_are`: of how many; those that are left out are counted."""
    wide = max((len(_who(item)) for item in shown), default=0)
    for item in shown:
        word = PAINT.get(item.standing, "ok" if item.standing == Standing.VALID else "dim")
        head = paper.paint(f"{item.standing.value.upper():<9}", word)
        paper.write(
            f"{head}  {item.made.kind:<9}  {_who(item):<{wide}}  {_end(item, now)}  {item.made.serial[:SHORT_SERIAL]}"
        )
    left = there_are - len(shown)
    if left:
        paper.write(f"{counted(left)} more, replaced or ended: --all shows them")
    elif not shown:
        paper.write("no certificate yet")


def counted(number: int) -> str:
    return f"{number} certificate{'' if number == 1 else 's'}"


def whole(paper: Paper, shown: Sequence[Held], now: datetime) -> None:
    """Of each all that is known, the newest first."""
    for item in sorted(shown, key=lambda item: item.made.ends, reverse=True):
        made = item.made
        word = PAINT.get(item.standing, "ok" if item.standing == Standing.VALID else "dim")
        paper.write(f"{made.kind} {_who(item)}  {paper.paint(item.standing.value.upper(), word)}")
        paper.write(f"  serial  {made.serial}")
        paper.write(f"  valid   {made.begins.strftime(FORM)} to {made.ends.strftime(FORM)} ({_end(item, now)})")
        if made.what:
            paper.write(f"  {made.what:<7} {made.at.strftime(FORM)} by {line(made.actor)}{_why(made.reason)}")
        else:
            paper.write(f"  not in the register here{_why(made.reason)}")
        if item.denial is not None:
            denial = item.denial
            paper.write(f"  denied  {denial.at.strftime(FORM)} by {line(denial.actor)}{_why(denial.reason)}")


def document(shown: Sequence[Held]) -> Mapping[str, object]:
    return {"schema": SCHEMA, "certificates": [_row(item) for item in shown]}


def _row(item: Held) -> Mapping[str, object]:
    made, denial = item.made, item.denial
    return {
        "standing": item.standing.value,
        "kind": made.kind,
        "name": made.name,
        "role": made.role,
        "serial": made.serial,
        "begins": made.begins.strftime(FORM),
        "ends": made.ends.strftime(FORM),
        "what": made.what,
        "at": made.at.strftime(FORM),
        "actor": made.actor,
        "reason": made.reason,
        "denied": denial and {"at": denial.at.strftime(FORM), "actor": denial.actor, "reason": denial.reason},
    }


def _who(item: Held) -> str:
    glass = ", glass broken" if item.made.what == BREAK_GLASS else ""
    return f"{line(item.made.name)} ({item.made.role}{glass})" if item.made.role else line(item.made.name)


def _end(item: Held, now: datetime) -> str:
    seconds = (item.made.ends - now).total_seconds()
    told = f"in {moments.span(seconds)}" if seconds > 0 else f"{moments.span(-seconds)} ago"
    return f"{'ends' if seconds > 0 else 'ended'} {item.made.ends:%Y-%m-%d %H:%MZ} ({told})"


def _why(reason: str) -> str:
    return f": {line(reason)}" if reason else ""
