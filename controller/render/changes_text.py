"""What changed since another run, for people: bad news first, good news folded after it, the unchanged counted."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from controller.changes import BAD_NEWS, Change, Changes, FindingChange, HostChange
from controller.host_report import HARMLESS
from controller.render import check_text
from controller.render.check_text import WORDS, Linked, Shown, View, about, counted, first_seen, lines
from controller.render.escape import LONGEST, line
from controller.render.host_ranges import fold
from controller.render.paper import Paper
from controller.snoozing import Rest
from controller.store.runs import Run
from fleetmedic.v1.finding_pb2 import Finding, Status

STATES = {"unreachable": "UNREACH", "timeout": "TIMEOUT"}


@dataclass(frozen=True, slots=True)
class _Alike:
    """Changes that differ in host and name alone."""

    change: FindingChange
    hosts: tuple[str, ...]
    names: tuple[str, ...]


def body(paper: Paper, run: Run, changes: Changes, view: View, code: int) -> None:
    """All of it in one go; `run` is the later one, `code` the exit code of what is new or worse."""
    alike = _grouped(changes.findings, folded=view.folded and paper.terminal)
    bad = [item for item in alike if item.change.change in BAD_NEWS and item.change.now not in HARMLESS]
    gone = [item for item in alike if item.change.change == Change.GONE]
    linked = check_text.linked_hosts(run.reports)
    for item in bad:
        _bad(paper, item, view, linked)
    # A host that says nothing is worse than one that warns.
    _silent(paper, changes.hosts)
    for item in alike:
        if item not in bad and item not in gone:
            _bad(paper, item, view, linked)
    for item in gone:
        _gone(paper, item, view)
    _back(paper, changes.hosts)
    check_text.resting(paper, view)
    if paper.terminal:
        paper.write()
    for said in standing(changes):
        paper.hanging("", said, 0, 0)
    paper.hanging("", news_line(changes, view.now), 0, 0)
    check_text.totals(paper, replace(run, exit_code=code), view)


def standing(changes: Changes) -> Iterable[str]:
    """What is not shown, counted: nothing is hidden silently."""
    if not changes.before:
        yield "no earlier run asked this of this pattern and inventory: all that is bad is new"
        return
    verb = "stands" if changes.standing == 1 else "stand"
    silent = f", {counted(changes.standing_hosts, 'host')} without an answer as then" if changes.standing_hosts else ""
    yield f"{counted(changes.standing, 'finding')} {verb} as in run {changes.before}{silent}"
    if changes.untold:
        were = "was" if changes.untold == 1 else "were"
        yield f"{counted(changes.untold, 'finding')} of run {changes.before} {were} not looked at again"
    if not changes.same_question:
        yield f"run {changes.before} asked for other checks or services: what only one of them asked can't be compared"


def news_line(changes: Changes, now: float) -> str:
    since = (
        f"since run {changes.before} ({check_text.ago(now - changes.before_at)} earlier)" if changes.before else "now"
    )
    counts = [f"{changes.count(kind)} {kind.value}" for kind in (Change.NEW, Change.WORSE, Change.BETTER, Change.GONE)]
    if fell := changes.count(Change.SILENT):
        counts.append(f"{counted(fell, 'host')} fell silent")
    if back := changes.count(Change.BACK):
        counts.append(f"{counted(back, 'host')} came back")
    return f"{since}: {'  '.join(counts)}"


def _grouped(items: Iterable[FindingChange], *, folded: bool) -> list[_Alike]:
    groups: dict[tuple[object, ...], list[FindingChange]] = {}
    for item in items:
        subject = item.finding.subject
        key: tuple[object, ...] = (item.change, item.finding.id, item.was, subject.service, subject.kind)
        if item.change != Change.GONE:
            key = (*key, item.now, item.finding.summary)
        if not folded:
            key = (*key, subject.name, item.host)
        groups.setdefault(key, []).append(item)
    return [
        _Alike(
            same[0],
            tuple(dict.fromkeys(item.host for item in same)),
            tuple(dict.fromkeys(item.finding.subject.name for item in same)),
        )
        for same in groups.values()
    ]


def _bad(paper: Paper, item: _Alike, view: View, linked: Linked) -> None:
    change, finding = item.change, item.change.finding
    links = check_text.links_of(finding, item.hosts, linked)
    was = "new" if change.change == Change.NEW else f"was {word(change.was)}"
    summary = f"{line(finding.summary[:LONGEST])}{first_seen(finding, view.now)}"
    text = f"{was}  {line(finding.id)}  {about(finding, item.names, everything=view.everything)}: {summary}"
    if len(item.hosts) > 1 and paper.terminal:
        text += f" (same on {len(item.hosts)} hosts)"
    lines(paper, *_state(paper, finding), _hosts(paper, item.hosts), text)
    check_text.advice(paper, Shown(finding, item.hosts, item.names, links), view.again)


def _gone(paper: Paper, item: _Alike, view: View) -> None:
    finding = item.change.finding
    text = f"{line(finding.id)}  {about(finding, item.names, everything=view.everything)}: was {word(item.change.was)}"
    lines(paper, f"{paper.sign('ok')} GONE", "ok", _hosts(paper, item.hosts), text)


def _silent(paper: Paper, hosts: Iterable[HostChange]) -> None:
    for moved in hosts:
        if moved.change == Change.SILENT:
            was = "new" if moved.was is None else f"was {moved.was.value}"
            state = STATES.get(moved.now.value, "ERROR")
            lines(paper, f"{paper.sign('unreach')} {state}", "unreach", moved.host, f"{was}: {line(moved.cause)}")


def _back(paper: Paper, moved: Iterable[HostChange]) -> None:
    groups: dict[str, list[str]] = {}
    for item in moved:
        if item.change == Change.BACK and item.was is not None:
            groups.setdefault(item.was.value, []).append(item.host)
    for was, hosts in groups.items():
        text = f"answer{'s' if len(hosts) == 1 else ''} again, was {was}"
        for some in [hosts] if paper.terminal else [[host] for host in hosts]:
            lines(paper, f"{paper.sign('ok')} BACK", "ok", _hosts(paper, some), text)


def transitions(paper: Paper, changes: Changes, at: float) -> None:
    """One line each, for who watches: time, sign, state, host, what it was and is."""
    clock = f"{datetime.fromtimestamp(at, UTC):%H:%M:%SZ}"
    for item in changes.findings:
        finding = item.finding
        gone = item.change == Change.GONE
        better = f"{paper.sign('ok')} {'GONE' if item.now is None else 'OK'}"
        sign, colour = (better, "ok") if gone else _state(paper, finding)
        step = f"{word(item.was)} -> {word(item.now)}"
        said = "" if gone else f": {line(finding.summary[:LONGEST])}"
        on = about(finding, (finding.subject.name,))
        _transition(paper, clock, sign, colour, item.host, f"{line(finding.id)}  {on}  {step}{said}")
    for moved in changes.hosts:
        bad = moved.change == Change.SILENT
        sign = f"{paper.sign('unreach')} {STATES.get(moved.now.value, 'ERROR')}" if bad else f"{paper.sign('ok')} BACK"
        was = "not asked" if moved.was is None else moved.was.value
        said = f": {line(moved.cause)}" if moved.cause else ""
        _transition(paper, clock, sign, "unreach" if bad else "ok", moved.host, f"{was} -> {moved.now.value}{said}")


def snooze_ends(rest: Rest, now: float) -> Iterable[str]:
    """A line for each snooze that ended since the last run."""
    for item in rest.ended:
        yield f"snooze {item.id} of {line(item.finding)} on {fold(item.hosts)} {check_text.said_end(item, now)}"


def _transition(paper: Paper, clock: str, state: str, colour: str, host: str, text: str) -> None:
    if not paper.terminal:
        paper.write(f"{clock} {state.partition(' ')[2]} {host} {text}")
        return
    painted = paper.paint(state, colour) + " " * max(1, check_text.STATE_WIDTH - len(state))
    paper.write(f"{clock}  {painted}{host:<{check_text.HOST_WIDTH}}{text}")


def word(status: "Status.ValueType | None") -> str:
    """A status in a sentence; None is a finding that was not there."""
    return "not there" if status is None else WORDS.get(status, "not understood")


def _state(paper: Paper, finding: Finding) -> tuple[str, str]:
    known = WORDS.get(finding.status, "")
    return f"{paper.sign(known) if known else '?'} {(known or '?').upper()}", known


def _hosts(paper: Paper, hosts: Iterable[str]) -> str:
    return fold(hosts) if paper.terminal else " ".join(hosts)
