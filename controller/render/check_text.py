"""A check for people: bad first, equal results folded, services, totals last; plain whole lines off a terminal."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from controller import services
from controller.endings import ACHIEVED, BAD, BROKEN, NOT_HEARD, SILENT, State
from controller.host_report import HARMLESS, HostReport, standings
from controller.render import frozen_text
from controller.render.escape import LONGEST, line
from controller.render.host_ranges import fold
from controller.render.next_step import silence, step
from controller.render.paper import Paper
from controller.snoozing import NONE, Rest, Resting
from controller.store.runs import Run
from controller.store.snoozes import Snooze
from fleetmedic.v1.finding_pb2 import (
    STATUS_CRIT,
    STATUS_ERROR,
    STATUS_INFO,
    STATUS_OK,
    STATUS_SKIPPED,
    STATUS_WARN,
    Finding,
)

# What is shown, worst first; a status this version does not know is never taken for well.
WORDS = {
    STATUS_CRIT: "crit",
    STATUS_ERROR: "error",
    STATUS_WARN: "warn",
    STATUS_INFO: "info",
    STATUS_OK: "ok",
    STATUS_SKIPPED: "skipped",
}
ORDER = (STATUS_CRIT, STATUS_ERROR, STATUS_WARN, STATUS_INFO, STATUS_SKIPPED, STATUS_OK)
# What nobody has to act on. A status this version does not know is none of them.
WELL = frozenset({STATUS_OK, STATUS_INFO})
QUIET = HARMLESS - {STATUS_WARN}
STATE_WIDTH = 10
HOST_WIDTH = 16
INDENT = STATE_WIDTH + HOST_WIDTH
CLOCK_TOLERANCE = 1.0
# Of one result over many hosts, each of which may have its own.
MOST_LINKS = 6
# Reasons that there is nothing to look at; more of them are one line.
MOST_ABSENCES = 2


Links = tuple[tuple[str, str], ...]
"""Titles, which may be empty, and addresses."""
Linked = Mapping[str, Mapping[str, Links]]
"""By host and service."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A result, the hosts that have it alike, and the names it is about."""

    finding: Finding
    hosts: tuple[str, ...]
    names: tuple[str, ...]
    links: Links = ()


@dataclass(frozen=True, slots=True)
class Again:
    """What commands printed here are made of, so that they work for whoever copies them.

    `command` asks once more, with `{hosts}` where there is an inventory; `fleet` and `store` are the flags, as given,
    by which another command finds the same hosts and the same store, and `limit` the one of the pattern. `silent` are
    those for hosts that gave no answer: empty where there is no other way to ask them.
    """

    command: str
    fleet: str = ""
    store: str = ""
    limit: str = ""
    silent: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """`everything` shows what is well too."""

    everything: bool
    folded: bool
    again: Again
    now: float
    rest: Rest = NONE


def head(paper: Paper, pattern: str, hosts: int, inventory: str, forks: int, deadline: float) -> None:
    """The line before the first call; on a terminal only, where somebody waits."""
    if paper.terminal:
        where = f"   inventory {line(inventory)}   forks {forks}" if inventory else ""
        paper.write(paper.paint(f"{line(pattern)}: {counted(hosts, 'host')}{where}   deadline {deadline:g}s", "dim"))
        paper.write()


def body(paper: Paper, run: Run, view: View) -> None:
    """Everything after it, in one go."""
    shown = list(_shown(run.reports, view, folded=view.folded and paper.terminal))
    for item in shown:
        if item.finding.status not in HARMLESS:
            _result(paper, item, view)
    # A host that says nothing is worse than one that warns.
    for cause, state, hosts in _silent(run.reports, folded=view.folded and paper.terminal):
        silent_line(paper, cause, state, hosts)
    _other_ways(paper, run, view.again)
    for item in shown:
        if item.finding.status == STATUS_WARN or (view.everything and item.finding.status in QUIET - {STATUS_SKIPPED}):
            _result(paper, item, view)
    _clocks(paper, run.reports)
    _not_checked(paper, shown, everything=view.everything)
    resting(paper, view)
    _well(paper, run.reports, view.rest.quiet)
    if paper.terminal:
        paper.write()
    frozen_text.write(paper, standings(run.reports), alarms=True)
    _services(paper, run.reports)
    totals(paper, run, view)


def _shown(reports: Sequence[HostReport], view: View, *, folded: bool) -> Iterator[Shown]:
    """What may be shown, grouped; what is well is passed over early, unless it is wanted: it is nearly everything."""
    groups: dict[tuple[object, ...], tuple[Finding, list[str], list[str]]] = {}
    for report in reports:
        if report.statuses <= WELL and not view.everything:
            continue
        for finding in report.answer.findings:
            if finding.status in WELL and not view.everything:
                continue
            subject = finding.subject
            key: tuple[object, ...] = (finding.id, finding.status, subject.service, subject.kind, finding.summary)
            if not folded:
                key = (*key, subject.name, report.host)
            _, hosts, names = groups.setdefault(key, (finding, [], []))
            hosts.append(report.host)
            names.append(subject.name)
    linked = linked_hosts(reports)
    made = [
        Shown(finding, tuple(dict.fromkeys(hosts)), tuple(dict.fromkeys(names)), links_of(finding, hosts, linked))
        for finding, hosts, names in groups.values()
    ]
    rank = {status: place for place, status in enumerate(ORDER)}
    yield from sorted(made, key=lambda item: (rank.get(item.finding.status, -1), item.finding.id))


def linked_hosts(reports: Iterable[HostReport]) -> Linked:
    return {report.host: report.links for report in reports if report.links}


def links_of(finding: Finding, hosts: Iterable[str], linked: Linked) -> Links:
    """What the inventories' owners would have people look at, each once over the hosts."""
    service = finding.subject.service
    return tuple(dict.fromkeys(link for host in hosts if host in linked for link in linked[host].get(service, ())))


def _result(paper: Paper, item: Shown, view: View) -> None:
    finding = item.finding
    word = WORDS.get(finding.status, "")
    state = f"{paper.sign(word) if word else '?'} {(word or '?').upper()}"
    hosts = fold(item.hosts) if paper.terminal and view.folded else " ".join(item.hosts)
    on = about(finding, item.names, everything=view.everything)
    text = f"{line(finding.id)}  {on}: {line(finding.summary[:LONGEST])}{first_seen(finding, view.now)}"
    if len(item.hosts) > 1 and paper.terminal:
        text += f" (same on {len(item.hosts)} hosts)"
    lines(paper, state, word, hosts, text)
    if finding.status not in QUIET:
        advice(paper, item, view.again)


def about(finding: Finding, names: Iterable[str], *, everything: bool = False) -> str:
    """The service and the names a result is about, harmless."""
    service = finding.subject.service
    others = [name for name in names if name not in ("", service)]
    return line(" ".join([service, _ids(others, everything)]) if others else service)


def lines(paper: Paper, state: str, word: str, hosts: str, text: str) -> None:
    painted = paper.paint(state, word) + " " * max(1, STATE_WIDTH - len(state))
    if not paper.terminal:
        # One whole line for each result, so that a search for a host or an id finds it.
        paper.write(f"{state.partition(' ')[2]} {hosts} {text}")
    elif len(hosts) < HOST_WIDTH:
        paper.hanging(f"{painted}{hosts:<{HOST_WIDTH}}", text, INDENT, INDENT)
    else:
        paper.hanging(painted, hosts, STATE_WIDTH, STATE_WIDTH)
        paper.hanging(" " * INDENT, text, INDENT, INDENT)


def advice(paper: Paper, item: Shown, again: Again) -> None:
    finding = item.finding
    if finding.next:
        said = step(finding.next, item.hosts, again.fleet)
        paper.hanging(" " * INDENT + paper.paint("next: ", "dim"), said, INDENT + 6, INDENT + 6)
    see = " " * INDENT + paper.paint("see: ", "dim")
    most = MOST_LINKS if paper.terminal else len(item.links)
    for title, address in item.links[:most]:
        paper.hanging(see, line(f"{title} {address}".strip()), INDENT, INDENT)
    if more := item.links[most:]:
        paper.hanging(see, f"{len(more)} more, each for some of these hosts: --json has them", INDENT, INDENT)


def first_seen(finding: Finding, now: float) -> str:
    if finding.status in QUIET or not finding.HasField("first_seen_time"):
        return ""
    # By hand: a hostile agent's date may be none, and the converters raise.
    since = finding.first_seen_time.seconds + finding.first_seen_time.nanos / 1e9
    try:
        clock = datetime.fromtimestamp(since, UTC)
    except (ValueError, OverflowError, OSError):
        return "   since when is no date"
    day = "" if now - since < 86400 else f"{clock:%Y-%m-%d} "
    return f"   since {day}{clock:%H:%M}Z ({ago(now - since)})"


def ago(seconds: float) -> str:
    whole = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def _silent(reports: Iterable[HostReport], *, folded: bool) -> list[tuple[str, State, list[str]]]:
    groups: dict[tuple[object, ...], list[str]] = {}
    for report in reports:
        if report.cause:
            key: tuple[object, ...] = (
                (report.cause, report.state) if folded else (report.cause, report.state, report.host)
            )
            groups.setdefault(key, []).append(report.host)
    return [(str(key[0]), State(str(key[1])), hosts) for key, hosts in groups.items()]


def silent_line(paper: Paper, cause: str, state: State, hosts: Sequence[str]) -> None:
    names = {
        State.UNREACHABLE: ("UNREACH", "unreach"),
        State.TIMEOUT: ("TIMEOUT", "unreach"),
        State.UNKNOWN: ("UNKNOWN", "unreach"),
        State.SKIPPED: ("SKIPPED", "skipped"),
        State.CANCELLED: ("CANCEL", "skipped"),
    }
    word, colour = names.get(state, ("ERROR", "error"))
    text = line(cause) + (f" (same on {len(hosts)} hosts)" if len(hosts) > 1 and paper.terminal else "")
    lines(paper, f"{paper.sign(colour)} {word}", colour, fold(hosts) if paper.terminal else " ".join(hosts), text)


def _other_ways(paper: Paper, run: Run, again: Again) -> None:
    """What else can be asked of hosts that gave no answer."""
    hosts = [report.host for report in run.reports if report.state in SILENT]
    if hosts and again.silent:
        said = silence(hosts, run.id, again.silent)
        paper.hanging(" " * INDENT + paper.paint("next: ", "dim"), said, INDENT + 6, INDENT + 6)


def _clocks(paper: Paper, reports: Iterable[HostReport]) -> None:
    for report in reports:
        offset = report.clock_offset
        if offset is not None and abs(offset) > CLOCK_TOLERANCE:
            text = f"its clock is {offset:+z.1f}s off ours: mind it when you read its logs"
            lines(paper, f"{paper.sign('warn')} CLOCK", "warn", report.host, text)


def _not_checked(paper: Paper, shown: Iterable[Shown], *, everything: bool) -> None:
    """What was not looked at, by reason: a check that was skipped is never counted as well."""
    reasons: dict[str, tuple[set[str], set[str]]] = {}
    for item in shown:
        if item.finding.status == STATUS_SKIPPED:
            ids, hosts = reasons.setdefault(item.finding.reason or item.finding.summary, (set(), set()))
            ids.add(item.finding.id)
            hosts.update(item.hosts)
    absent = {} if everything or not paper.terminal else {key: row for key, row in reasons.items() if _is_absence(key)}
    if len(absent) > MOST_ABSENCES:
        ids = set().union(*(row[0] for row in absent.values()))
        hosts = set().union(*(row[1] for row in absent.values()))
        areas = ", ".join(sorted({identity.partition("-")[0] for identity in ids}))
        said = f"{counted(len(ids), 'check')} with nothing to look at there ({areas}): --show all has the reasons"
        lines(paper, f"{paper.sign('skipped')} SKIPPED", "dim", _hosts(paper, hosts), line(said))
        reasons = {key: row for key, row in reasons.items() if key not in absent}
    for reason, (ids, hosts) in sorted(reasons.items()):
        lines(
            paper,
            f"{paper.sign('skipped')} SKIPPED",
            "dim",
            _hosts(paper, hosts),
            f"{line(reason)}: {line(_ids(ids, everything))}",
        )


def _is_absence(reason: str) -> bool:
    """Nothing of the kind is there or named; a right that is missing is another matter, and always told."""
    return reason.startswith(("no ", "found by its port", "agent.toml names no"))


def resting(paper: Paper, view: View) -> None:
    """What is snoozed: not among the bad, and never left unsaid; then the snoozes that end soon or ended."""
    groups: dict[tuple[str, str], list[Resting]] = {}
    for item in view.rest.resting:
        subject = item.finding.subject
        groups.setdefault((item.snooze.id, "" if paper.terminal else f"{item.host} {subject.name}"), []).append(item)
    for same in groups.values():
        finding, snooze = same[0].finding, same[0].snooze
        on = about(finding, dict.fromkeys(item.finding.subject.name for item in same), everything=view.everything)
        word = WORDS.get(max(item.finding.status for item in same), "")
        why = f"{line(snooze.reason)}, by {line(snooze.actor)} {until(snooze, view.now)}   snooze {snooze.id}"
        hosts = _hosts(paper, {item.host for item in same})
        lines(paper, f"{paper.sign('skipped')} SNOOZED", "dim", hosts, f"{line(finding.id)}  {on} ({word}): {why}")
    for snooze in (*view.rest.ended, *view.rest.ending):
        text = f"snooze {snooze.id} of {line(snooze.finding)} {said_end(snooze, view.now)}: {line(snooze.reason)}"
        hosts = _hosts(paper, snooze.hosts)
        lines(paper, f"{paper.sign('warn')} SNOOZE", "dim", hosts, f"{text} (snoozed by {line(snooze.actor)})")


def until(snooze: Snooze, now: float) -> str:
    """Until when, by the clock and from now."""
    clock = datetime.fromtimestamp(snooze.end, UTC)
    day = "" if snooze.end - now < 86400 else f"{clock:%Y-%m-%d} "
    return f"until {day}{clock:%H:%M}Z ({ago(snooze.end - now)} left)"


def said_end(snooze: Snooze, now: float) -> str:
    by = f" by {line(snooze.ended_by)}" if snooze.ended_at is not None else ""
    return f"ended {ago(now - snooze.end)} ago{by}" if snooze.end <= now else f"ends in {ago(snooze.end - now)}"


def _hosts(paper: Paper, hosts: Iterable[str]) -> str:
    return fold(sorted(hosts)) if paper.terminal else " ".join(sorted(hosts))


def _ids(ids: Iterable[str], everything: bool) -> str:  # noqa: FBT001 - one place, one meaning
    names = sorted(ids)
    return ", ".join(names) if everything or len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"


def _looked_at_nothing(report: HostReport) -> bool:
    """Every check was skipped: that is not ok, it is nothing."""
    return report.state == State.OK and report.statuses == {STATUS_SKIPPED}


def _well(paper: Paper, reports: Sequence[HostReport], quiet: frozenset[str]) -> None:
    well = [
        report.host
        for report in reports
        if report.state in ACHIEVED and not report.warns and not _looked_at_nothing(report) and report.host not in quiet
    ]
    if not well:
        return
    if paper.terminal:
        lines(paper, f"{paper.sign('ok')} OK", "ok", counted(len(well), "host"), fold(well))
        return
    for host in well:
        paper.write(f"OK {host}")


def _services(paper: Paper, reports: Sequence[HostReport]) -> None:
    seen = services.scope(reports)
    parts = []
    if seen.affected:
        parts.append("affected: " + ", ".join(f"{line(name)} ({bad}/{there})" for name, bad, there in seen.affected))
    if seen.watched:
        parts.append("warned: " + ", ".join(map(line, seen.watched)))
    if seen.unaffected:
        parts.append("not affected: " + ", ".join(map(line, seen.unaffected)))
    if parts:
        paper.hanging("", f"services {'   '.join(parts)}", 0, 0)


def totals(paper: Paper, run: Run, view: View) -> None:
    reports = run.reports
    said = "  ".join(f"{count} {word}" for count, word in tally(reports, view.rest) if count)
    name = run.id or "not kept"
    checks = f"{counted(run.checks + len(view.rest.resting), 'check')} in {run.seconds:.1f}s"
    paper.write(f"{counted(len(reports), 'host')}: {said}   {checks}   run {name}")
    bad = [report.host for report in reports if report.state not in ACHIEVED or report.warns]
    # There is nothing to ask of a host without an agent, or without what was asked for.
    anew = [report for report in reports if report.host in set(bad) and report.state != State.SKIPPED]
    whole = view.again.command.replace("{hosts}", f"{shlex.quote(run.pattern)}{view.again.limit}")
    kept = f"details: fleetmedic runs show {run.id}{view.again.store}"
    details = kept if run.id and (bad or not whole) else f"all of it: {whole} --show all"
    paper.hanging("", f"{details}   exit code {run.exit_code}", 0, 0)
    if anew and "{hosts}" in view.again.command:
        # By the run's name where that says it all: warnings alone are no bad host.
        by_run = run.id and all(report.state in BAD for report in anew)
        them = f"bad@{run.id}" if by_run else shlex.quote(",".join(report.host for report in anew))
        paper.hanging("", f"again: {view.again.command.replace('{hosts}', them)}", 0, 0)


def tally(reports: Sequence[HostReport], rest: Rest) -> tuple[tuple[int, str], ...]:
    """Every host counted once, by how it ended."""
    quiet = rest.quiet
    well = [report.warns for report in reports if report.state in ACHIEVED]
    blind = sum(_looked_at_nothing(report) and report.host not in quiet for report in reports)
    return (
        (len(well) - sum(well) - blind - len(quiet), "ok"),
        (sum(well), "warn"),
        (sum(report.state in BROKEN for report in reports), "failed"),
        (sum(report.state in SILENT for report in reports), "unreachable"),
        (
            sum(report.state in NOT_HEARD or report.state == State.NOT_ATTEMPTED for report in reports) + blind,
            "not checked",
        ),
        (len(quiet), "snoozed"),
    )


def counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
