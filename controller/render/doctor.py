"""Diagnoses of agents, for people and as JSON: what is wrong first, each step with its evidence, the mend, totals."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from controller.doctor.ours import Ours
from controller.doctor.steps import Diagnosis, Step
from controller.render.check_text import counted
from controller.render.escape import line
from controller.render.next_step import step as advice
from controller.render.paper import Paper

SCHEMA = "fleetmedic-doctor/1"
_WIDEST = max(map(len, Step))


@dataclass(frozen=True, slots=True)
class Examined:
    """All hosts in the order of the targets; `fleet` are the flags by which a command finds them, or nothing."""

    ours: Ours
    items: Sequence[Diagnosis]
    fleet: str
    exit_code: int


def body(paper: Paper, examined: Examined) -> None:
    ours = examined.ours
    paper.hanging(
        "", f"you call as {ours.user}, {ours.role}, until {ours.ends:%Y-%m-%d %H:%MZ}: {ours.certificate}", 0, 0
    )
    for item in sorted(examined.items, key=_order):
        _host(paper, item, examined.fleet)
    paper.write(f"{_totals(examined.items)}   exit code {examined.exit_code}")


def _order(item: Diagnosis) -> int:
    if item.fault is not None:
        return list(Step).index(item.fault.step)
    return len(Step) + (0 if item.notes else 2 if item.skipped else 1)


def _host(paper: Paper, item: Diagnosis, fleet: str) -> None:
    if item.skipped:
        paper.hanging(f"{paper.sign('skipped')} {item.host}  ", line(item.skipped), 4, len(item.host) + 4)
        return
    if item.fault is not None:
        paper.write(f"{paper.paint(paper.sign('crit'), 'crit')} {item.host}  {paper.paint(item.fault.step, 'crit')}")
        for passed in item.passed:
            _row(paper, passed.step, passed.evidence, "ok")
        _row(paper, item.fault.step, item.fault.evidence, "crit")
        mend = advice(item.fault.mend, [item.host], fleet)
        paper.hanging(f"    {'mend':<{_WIDEST}}  ", mend, _WIDEST + 6, _WIDEST + 6)
    else:
        said = "; ".join(passed.evidence for passed in item.passed)
        paper.hanging(f"{paper.paint(paper.sign('ok'), 'ok')} {item.host}  well: ", line(said), 4, len(item.host) + 10)
    for note in item.notes:
        paper.hanging(f"  {paper.paint(paper.sign('warn'), 'warn')} {'note':<{_WIDEST}}  ", line(note), 14, _WIDEST + 6)


def _row(paper: Paper, step: Step, evidence: str, word: str) -> None:
    head = f"  {paper.paint(paper.sign(word), word)} {step:<{_WIDEST}}  "
    paper.hanging(head, line(evidence), _WIDEST + 6, _WIDEST + 6)


def _totals(items: Sequence[Diagnosis]) -> str:
    told = _counts(items)
    return f"{counted(len(items), 'host')}: " + "  ".join(f"{count} {name}" for name, count in told.items())


def _counts(items: Iterable[Diagnosis]) -> dict[str, int]:
    """How many of each fault, in the order of the steps, then those that are well."""
    told = Counter(_word(item) for item in items)
    return {word: told[word] for word in (*map(str, Step), "well", "skipped") if told[word]}


def _word(item: Diagnosis) -> str:
    return "skipped" if item.skipped else "well" if item.fault is None else item.fault.step.value


def document(examined: Examined) -> dict[str, object]:
    """`fault` is one of the steps, or null; a mend has its commands with this host's name in them."""
    ours = examined.ours
    return {
        "type": "doctor",
        "schema": SCHEMA,
        "you": {"user": ours.user, "role": ours.role, "certificate": ours.certificate, "ends": f"{ours.ends:%FT%TZ}"},
        "hosts": len(examined.items),
        "found": _counts(examined.items),
        "exit_code": examined.exit_code,
        "reports": [_record(item, examined.fleet) for item in examined.items],
    }


def _record(item: Diagnosis, fleet: str) -> dict[str, object]:
    fault = item.fault
    return {
        "host": item.host,
        "fault": fault.step.value if fault else None,
        "evidence": fault.evidence if fault else "",
        "mend": advice(fault.mend, [item.host], fleet) if fault else "",
        "passed": {passed.step.value: passed.evidence for passed in item.passed},
        "notes": list(item.notes),
        "skipped": item.skipped,
    }
