"""A run as a few plain lines for the incident's channel: redacted, short, and nobody is pinged by it."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from controller import redacted, services
from controller.endings import State
from controller.host_report import HARMLESS, HostReport
from controller.render.check_text import ORDER, WORDS, ago, counted, tally
from controller.render.escape import line
from controller.render.host_ranges import fold
from controller.snoozing import NONE, Rest
from controller.store.runs import Run
from fleetmedic.v1.finding_pb2 import STATUS_WARN, Finding, Status

MOST_LINES = 15
WIDEST = 120
HOSTS_WIDEST = 36
# Of a host's text no more than this is even read: a line has no room for it.
READ = 1000
# What calls a person or a whole channel, in Slack's own form and as it is typed; "＠" is read as "@" by some.
_MARKUP = re.compile(r"[<＜](?=\S)|(?<=\S)[>＞]")
_CALL = re.compile(r"[@＠](?=(?:channel|here|everyone|all|room|team|group)\b)|(?<!\w)[@＠]", re.IGNORECASE)


def lines(run: Run, rest: Rest = NONE, store: str = "") -> list[str]:
    """15 lines of 120 characters at most: worst first, totals and run last; `store` is the flag that finds the run."""
    found = list(_found(run.reports))
    tail = list(_tail(run, rest, store))
    room = MOST_LINES - 1 - len(tail)
    if len(found) > room:
        more = len(found) - (room - 1)
        found = [*found[: room - 1], f"... and {more} more like these"]
    return [cut(harmless(said)) for said in (_head(run), *found, *tail)]


def harmless(text: str) -> str:
    """One plain line without secrets, mentions, markup, control and bidi characters."""
    plain = redacted.text(line(text[:READ]))
    called = _CALL.sub("(at)", plain)
    return _MARKUP.sub(lambda found: "(" if found[0] in "<＜" else ")", called)


def cut(text: str, most: int = WIDEST) -> str:
    return text if len(text) <= most else text[: most - 3].rstrip() + "..."


def _head(run: Run) -> str:
    when = datetime.fromtimestamp(run.started_at, UTC)
    return f"fleetmedic {run.kind} of {cut(run.pattern, 60)} at {when:%Y-%m-%d %H:%M:%SZ}"


def _found(reports: Sequence[HostReport]) -> Iterator[str]:
    """Bad results, then hosts without an answer, then warnings."""
    groups: dict[tuple[object, ...], tuple[Finding, list[str]]] = {}
    for report in reports:
        if report.state == State.OK and not report.warns:
            continue
        for finding in report.answer.findings:
            if finding.status in HARMLESS and finding.status != STATUS_WARN:
                continue
            key = (finding.id, finding.status, finding.subject.service, finding.summary)
            groups.setdefault(key, (finding, []))[1].append(report.host)
    ranked = sorted(groups.values(), key=lambda item: (_rank(item[0].status), item[0].id))
    yield from (_result(finding, hosts) for finding, hosts in ranked if finding.status != STATUS_WARN)
    yield from _silent(reports)
    yield from (_result(finding, hosts) for finding, hosts in ranked if finding.status == STATUS_WARN)


def _rank(status: "Status.ValueType") -> int:
    return ORDER.index(status) if status in ORDER else -1


def _result(finding: Finding, hosts: Iterable[str]) -> str:
    word = WORDS.get(finding.status, "?").upper()
    return f"{word} {_hosts(hosts)}  {finding.id}  {finding.subject.service}: {finding.summary}"


def _silent(reports: Iterable[HostReport]) -> Iterator[str]:
    groups: dict[tuple[State, str], list[str]] = {}
    for report in reports:
        if report.cause and report.state != State.SKIPPED:
            groups.setdefault((report.state, report.cause), []).append(report.host)
    for (state, cause), hosts in groups.items():
        yield f"{state.value.upper().replace('_', ' ')} {_hosts(hosts)}  {cause}"


def _hosts(hosts: Iterable[str]) -> str:
    names = list(dict.fromkeys(hosts))
    folded = fold(names)
    return folded if len(folded) <= HOSTS_WIDEST else f"{cut(folded, HOSTS_WIDEST)} ({counted(len(names), 'host')})"


def _tail(run: Run, rest: Rest, store: str) -> Iterator[str]:
    """Snoozes, services, totals, and where the rest is."""
    if rest.resting:
        now = run.started_at + run.seconds
        first = rest.resting[0]
        left = ago(first.snooze.end - now)
        others = f", and {len(rest.resting) - 1} more" if len(rest.resting) > 1 else ""
        yield (
            f"snoozed: {first.finding.id} on {first.host} by {first.snooze.actor} for {left} more"
            f" ({cut(first.snooze.reason, 40)}){others}"
        )
    affected = ", ".join(f"{name} ({bad}/{there})" for name, bad, there in services.scope(run.reports).affected)
    if affected:
        yield f"services affected: {affected}"
    yield _totals(run, rest)
    yield f"all of it: fleetmedic runs show {run.id}{store}" if run.id else "this run is not kept"


def _totals(run: Run, rest: Rest) -> str:
    said = "".join(f"  {count} {word}" for count, word in tally(run.reports, rest) if count)
    return f"{counted(len(run.reports), 'host')}:{said}   run {run.id or 'not kept'}"
