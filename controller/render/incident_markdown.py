"""An incident report for people: a post-mortem in Markdown; what the runs know is filled in, the rest asked for."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from controller.moments import span
from controller.render import incident_json
from controller.render.check_text import counted
from controller.render.host_ranges import fold
from controller.render.incident_json import stamp
from controller.render.markdown import code, fence, listed, table, text
from controller.render.next_step import fleet_of, step
from controller.reports.episodes import NO_ANSWER
from controller.reports.found import Found
from controller.reports.incident import Incident
from controller.reports.prompts import ACTIONS, OPEN
from controller.reports.timeline import DEPLOYED, Entry

SECTIONS = (
    "Summary",
    "Timeline",
    "Root cause",
    "Contributing factors",
    "What went well",
    "What could be improved",
    "Action items",
)
LIGHT_SECTIONS = ("Summary", "What we change", "Actions")
MARK = "TO FILL"
WHYS = 5
# Of a cell; the evidence has it whole.
LONGEST_CELL = 320
SHORT = 120
MOST_NAMED = 5


def document(incident: Incident) -> str:
    """The same incident gives the same bytes."""
    writer = _Writer(incident)
    lines = writer.light() if incident.asked.light else writer.full()
    return "\n".join(lines) + "\n"


class _Writer:
    """One incident, the names its parts go by, and the day that its bare times are of."""

    def __init__(self, incident: Incident) -> None:
        self._incident = incident
        window = incident.asked.window
        self._day = (stamp(window.end if window.start is None else window.start) or "")[:10]
        self._found = {item.key: item for item in incident.found}
        self._links = {link.effect: link for link in incident.links}
        self._fleets = {look.id: fleet_of(look.inventory) for look in incident.runs}

    def full(self) -> Iterator[str]:
        yield from self._front()
        yield from self._head()
        for heading, body in zip(
            SECTIONS,
            (
                self._summary(),
                self._timeline(),
                self._root_cause(),
                self._contributing(),
                self._well(),
                self._improve(),
                self._actions(),
            ),
            strict=True,
        ):
            yield from _section(heading, body)
        if self._found:
            yield from _section("Evidence", self._evidence("###"))

    def light(self) -> Iterator[str]:
        yield from self._front()
        yield from self._head()
        yield from _section(LIGHT_SECTIONS[0], self._light_summary())
        yield from _section(LIGHT_SECTIONS[1], _prompts("what_we_change"))
        yield from _section(LIGHT_SECTIONS[2], self._actions())

    def _light_summary(self) -> Iterator[str]:
        yield from self._summary()
        if self._incident.timeline:
            yield from ("", "### In order", "", *self._entries())
        if self._found:
            yield from ("", "### Quoted", "", *self._evidence("####"))

    def _front(self) -> Iterator[str]:
        """YAML that a program reads back."""
        incident = self._incident
        record = incident_json.record(incident)
        milestones = record["milestones"]
        assert isinstance(milestones, Mapping)
        yield "---"
        for name in ("schema", "title", "severity", "state"):
            yield f"{name}: {_yaml(str(record[name]))}"
        for name in ("start", "end", "duration_seconds", "review_due"):
            yield f"{name}: {record[name] or 'null'}"
        yield "milestones:"
        for name, value in milestones.items():
            # Times stand bare, so that YAML reads them as such; runs are names.
            yield f"  {name}: {_yaml(value) if value and name.endswith('run') else value or 'null'}"
        yield f"services: {_yaml_list(name for name, _, _ in incident.services.affected)}"
        yield f"hosts: {_yaml_list(_bad_hosts(incident))}"
        yield f"runs: {_yaml_list(look.id for look in incident.runs)}"
        yield from ("commander: null", "owner: null")
        yield f"made: {record['made']}"
        yield f"generator: {_yaml(str(record['generator']))}"
        yield "---"

    def _head(self) -> Iterator[str]:
        asked, incident = self._incident.asked, self._incident
        level, window = asked.severity, asked.window
        lasted = "start not known" if window.seconds is None else span(window.seconds)
        times = (
            f"{self._dated(window.start)} to {self._dated(window.end)}"
            if window.start is not None
            else "until " + (self._dated(window.end))
        )
        yield from ("", f"# {text(asked.title)}", "")
        yield f"**{level.name}** ({level.impact}), **{lasted}**: {times}."
        due = incident_json.review_due(incident)
        review = f"the review is due by {due[:16].replace('T', ' ')}Z" if due else "no date for a review is demanded"
        yield f"For {level.name} the response is due {level.response}, updates {level.cadence}; {review}."
        yield ""
        taken = [f"its start was taken from {window.start_from}"] if window.start_from else []
        taken += [f"its end is {window.end_from}"] if window.end_from else []
        if taken:
            yield from (f"Not given: {'; '.join(taken)}.", "")
        made = f"made {self._dated(asked.made_at)} from {counted(len(incident.runs), 'run')} that fleetmedic kept"
        yield f"*Draft, {made}. What stands after {MARK} waits for a person; all else is what the runs saw.*"

    # Section 1

    def _summary(self) -> Iterator[str]:
        yield from self._facts()
        yield ""
        if self._incident.asked.window.start is None:
            yield f"> - {MARK}: when it began (or make the report again with --start-time)"
        yield from _prompts("summary")
        if self._found:
            yield from ("", "### What was found", "")
            yield from table(
                ("evidence", "finding", "where", "first seen", "well again", "at its worst"), self._findings()
            )

    def _facts(self) -> Iterator[str]:
        incident, window = self._incident, self._incident.asked.window
        if not incident.runs:
            since = f"between {self._dated(window.start)} and {self._dated(window.end)}" if window.start else ""
            yield f"No runs were kept {since or 'in this time'}: fleetmedic knows nothing of this incident."
            return
        if not incident.leads:
            yield f"In {counted(len(incident.runs), 'run')} nothing critical began that belongs to this time."
        else:
            bad, hosts = _bad_hosts(incident), incident.hosts
            yield f"{len(bad)} of {counted(len(hosts), 'host')} had something critical: {_on(bad)}. {self._ending()}"
            yield self._outline()
        yield ""
        yield from self._services()

    def _ending(self) -> str:
        marks = self._incident.milestones
        if marks.well is not None:
            return f"All of it had been found well again by {self._time(marks.well)} (run {marks.well_by})."
        still = [item for item in self._incident.leads if item.gone is None]
        named = "; ".join(f"{item.id} on {fold(item.still)}" for item in still[:MOST_NAMED])
        more = f" and {len(still) - MOST_NAMED} more" if len(still) > MOST_NAMED else ""
        return f"Not seen well again by any run: {text(named)}{more}."

    def _outline(self) -> str:
        """What nothing explains stands first, and what likely follows from it behind."""
        leads = self._incident.leads
        first = [item for item in leads if item.key not in self._links]
        named = "; ".join(f"{_what(item)} ({self._time(item.onset)}, {_ref(item.key)})" for item in first[:MOST_NAMED])
        more = f" and {len(first) - MOST_NAMED} more" if len(first) > MOST_NAMED else ""
        said = f"First seen: {named}{more}."
        later = [item for item in leads if item.key in self._links]
        if later:
            said += f" Likely in consequence: {'; '.join(_what(item) for item in later[:MOST_NAMED])}"
            said += f" and {len(later) - MOST_NAMED} more." if len(later) > MOST_NAMED else "."
        return said

    def _services(self) -> Iterator[str]:
        seen = self._incident.services
        if seen.affected:
            said = (
                f"**{text(name)}** on {_on(hosts)} ({_share(len(hosts), there)})"
                for name, hosts, there in seen.affected
            )
            yield f"Services affected: {', '.join(said)}."
        if seen.since_before:
            yield f"Critical since long before, and not counted: {text(', '.join(seen.since_before))}."
        if seen.warned:
            yield f"With warnings, or with checks that could not look: {text(', '.join(seen.warned))}."
        if seen.unaffected:
            yield f"Looked at and not affected: {text(', '.join(seen.unaffected))}."
        if not (seen.affected or seen.since_before or seen.warned or seen.unaffected):
            yield "No service was looked at."

    def _findings(self) -> Iterator[Sequence[str]]:
        for item in self._incident.found:
            gone = self._time(item.gone.at) if item.gone else f"no ({fold(item.still)})"
            yield (
                _ref(item.key),
                text(item.id) if item.id != NO_ANSWER else "gave no answer",
                text(f"{fold(item.hosts)} {item.service}"),
                self._time(item.onset),
                text(gone),
                "could not look" if item.word == "error" else item.word,
            )

    # Section 2

    def _timeline(self) -> Iterator[str]:
        yield f"All times are UTC; those without a date are of {self._day}."
        yield ""
        if self._incident.timeline:
            yield from self._entries()
        else:
            yield "No runs were kept in this time."
        yield ""
        yield from _prompts("timeline")

    def _entries(self) -> Iterator[str]:
        yield from table(("UTC", "kind", "what", "source"), map(self._entry, self._incident.timeline))

    def _entry(self, entry: Entry) -> Sequence[str]:
        where = f"**{text(fold(entry.hosts))}**: " if entry.hosts else ""
        said = _cut(entry.text, LONGEST_CELL)
        source = f"run {entry.run}" + (f", {_ref(entry.evidence)}" if entry.evidence else "")
        return self._time(entry.at), entry.kind, where + text(said), source

    # Section 3

    def _root_cause(self) -> Iterator[str]:
        leads = self._incident.leads
        yield from ("### What the evidence points at", "")
        if leads:
            yield (
                "In the order in which it was first seen; of what one look saw, the deepest first. "
                "This is evidence and no verdict."
            )
            yield ""
            for number, item in enumerate(leads, 1):
                yield f"{number}. {self._lead(item)}"
                yield f"   - {self._place_in_chain(item)}"
        else:
            yield "No run of this time saw anything critical begin."
        yield ""
        yield from _prompts("root_cause")
        yield from ("", "### Five whys", "", *self._whys())

    def _lead(self, item: Found) -> str:
        name = "no answer" if item.id == NO_ANSWER else f"**{text(item.id)}**"
        seen = f"first seen {self._time(item.onset)}{self._bound(item)}"
        return f"{name} on {_on(item.hosts)} ({_ref(item.key)}), {seen}. It says: {text(item.summary)}"

    def _bound(self, item: Found) -> str:
        """Between which two looks it began: the first sight is no more than the latest that it can have."""
        if item.well_before is None:
            return ""
        return f" (run {item.well_before.run} had found it well at {self._time(item.well_before.at)})"

    def _place_in_chain(self, item: Found) -> str:
        link = self._links.get(item.key)
        if link:
            cause = self._found[link.cause]
            return f"**Likely a consequence** of {text(cause.id)} ({_ref(link.cause)}): {text(link.why)}."
        follow = [key for key, link in self._links.items() if link.cause == item.key]
        if follow:
            return "Nothing that was seen explains it, and it may explain " + ", ".join(map(_ref, follow)) + "."
        return "Nothing else that was seen explains it, and it explains nothing else."

    def _whys(self) -> Iterator[str]:
        """The longest chain of likely consequences, from what users reach downwards; people ask on from its end."""
        chain = max((self._chain(item) for item in self._incident.leads), key=len, default=[])
        apart = [item for item in self._incident.leads if item.key not in self._links]
        if len(apart) > 1:
            # Which of several that nothing links it was, is for people to say.
            named = "; ".join(f"{_what(item)} ({_ref(item.key)})" for item in apart[:MOST_NAMED])
            yield f"> {MARK}: which of these it began with, and whether they have to do with each other: {named}"
            yield ""
            chain = []
        for number in range(1, WHYS + 1):
            above = chain[number - 2] if 1 < number <= len(chain) + 1 else None
            asked = (
                "Why were users affected?"
                if number == 1
                else f"Why was there {_what(above)}?"
                if above and above.id == NO_ANSWER
                else f"Why was {_what(above)} bad?"
                if above
                else "Why?"
            )
            if number > 1:
                yield ""
            if number <= len(chain):
                item = chain[number - 1]
                said = "" if item.id == NO_ANSWER else f": {text(_cut(item.summary, SHORT))}"
                yield f"{number}. {asked} As the evidence has it, because of {_what(item)} ({_ref(item.key)}){said}"
            else:
                yield from (f"{number}. {asked}", "", f"   > {MARK}: because ..., which is known from ...")

    def _chain(self, item: Found) -> list[Found]:
        made = [item]
        while (link := self._links.get(made[-1].key)) and self._found[link.cause] not in made:
            made.append(self._found[link.cause])
        return made

    # Sections 4 to 7

    def _contributing(self) -> Iterator[str]:
        incident = self._incident
        facts = [
            f"A change {self._before_onset(entry)}: {text(_cut(entry.text, LONGEST_CELL))} on {_on(entry.hosts)}, "
            f"{self._time(entry.at)} (run {entry.run})."
            for entry in incident.timeline
            if entry.kind == DEPLOYED
        ]
        facts += [
            f"Critical since long before the start: {self._short(item)}. It is there without this incident too, "
            "but may have made it possible or worse."
            for item in incident.background
        ]
        facts += [f"Warned of in this time: {self._short(item)}." for item in incident.warnings]
        yield from listed(facts)
        yield from _prompts("contributing_factors")

    def _before_onset(self, entry: Entry) -> str:
        """How long before the first sight of anything critical: cause comes before effect, and is no proof of it."""
        onset = self._incident.milestones.onset
        if onset is None:
            return "in this time"
        return f"{span(onset - entry.at)} before the first sight" if entry.at <= onset else "after the first sight"

    def _short(self, item: Found) -> str:
        what = f"{item.id} on {fold(item.hosts)}: {item.summary}".rstrip(".")
        return f"{text(what)}, first seen {self._time(item.onset)} ({_ref(item.key)})"

    def _well(self) -> Iterator[str]:
        incident, marks = self._incident, self._incident.milestones
        facts = []
        if marks.seen is not None and marks.onset is not None and incident.leads:
            first = [item for item in incident.leads if item.first_run == marks.seen_by]
            named = ", ".join(dict.fromkeys(f"{item.id} on {fold(item.hosts)}" for item in first[:4]))
            facts.append(f"The first check after it began named it (run {marks.seen_by}): {text(named)}.")
        if incident.runs and not any(item.id == NO_ANSWER for item in incident.found):
            facts.append(f"Every host answered in every run ({counted(len(incident.runs), 'run')}).")
        if marks.well is not None:
            facts.append(f"The cure was looked at: run {marks.well_by} asked again and found all of it well.")
        yield from listed(facts)
        yield from _prompts("what_went_well")
        yield from ("", "### Where we got lucky", "", *_prompts("where_we_got_lucky"))

    def _improve(self) -> Iterator[str]:
        for heading, facts, prompts in (
            ("Detection", self._detection(), "detection"),
            ("Response", self._response(), "response"),
            ("Tooling", self._tooling(), "tooling"),
        ):
            if heading != "Detection":
                yield ""
            yield from (f"### {heading}", "", *listed(facts), *_prompts(prompts))

    def _detection(self) -> list[str]:
        facts: list[str] = []
        marks = self._incident.milestones
        if marks.onset is None or marks.seen is None:
            return facts
        first = min(self._incident.leads, key=lambda item: item.onset)
        if first.well_before is None:
            facts.append("No run had looked there before: how long it had been bad by then is not known.")
        else:
            facts.append(
                f"It began between {self._time(first.well_before.at)}, when run {first.well_before.run} found it well, "
                f"and {self._time(first.onset)}, when it was first seen: nobody looked in those "
                f"{span(first.onset - first.well_before.at)}."
            )
        if marks.seen - marks.onset >= 1:
            facts.append(f"The first check came {span(marks.seen - marks.onset)} after the first sight on the host.")
        return facts

    def _response(self) -> list[str]:
        facts, marks = [], self._incident.milestones
        if marks.seen is not None and marks.well is not None:
            lasted = span(marks.well - marks.seen)
            facts.append(f"From the first check that saw it to the one that found it well again: {lasted}.")
        looks = self._incident.runs
        gaps = [(later.at - sooner.at, sooner, later) for sooner, later in zip(looks, looks[1:], strict=False)]
        if gaps:
            longest, sooner, later = max(gaps, key=lambda gap: gap[0])
            facts.append(f"The longest time between two checks was {span(longest)} (runs {sooner.id} and {later.id}).")
        return facts

    def _tooling(self) -> list[str]:
        incident = self._incident
        facts = [f"Could not look: {self._short(item)}." for item in incident.blind]
        facts += [
            f"No answer from {text(fold(item.hosts))} from {self._time(item.onset)}: {text(item.summary)}."
            for item in incident.found
            if item.id == NO_ANSWER
        ]
        facts += [
            f"The clock of {text(host)} was {abs(offset):.1f}s {'ahead' if offset > 0 else 'behind'}; its times are "
            "corrected here, those in its own logs are not."
            for host, offset in incident.clocks
        ]
        return facts

    def _actions(self) -> Iterator[str]:
        rows = []
        for item in self._incident.leads:
            if item.still:
                task = f"end what was not seen well again: {item.id} on {fold(item.still)}"
                rows.append((f"{text(task)} ({_ref(item.key)})", "fix"))
        rows = rows[:5] + [(f"{MARK}: {task}", kind) for task, kind in ACTIONS]
        yield from table(
            ("id", "task", "type", "owner", "due", "state"),
            ((f"A{number}", task, kind, MARK, MARK, "open") for number, (task, kind) in enumerate(rows, 1)),
        )

    def _evidence(self, level: str) -> Iterator[str]:
        for place, item in enumerate(self._incident.found):
            if place:
                yield ""
            yield from self._quote(item, level)

    def _quote(self, item: Found, level: str) -> Iterator[str]:
        held = item.evidence
        names = ", ".join(item.names[:3]) + (f" and {len(item.names) - 3} more" if len(item.names) > 3 else "")
        about = f"{item.id} ({item.word}) on {held.host}: {item.service} {names}".rstrip(" :")
        others = [host for host in item.hosts if host != held.host]
        yield from (f"{level} {item.key}", "", f"{text(about)}. Run {held.run}, {self._time(held.at)}.")
        if others:
            yield f"Alike on {text(fold(others))}."
        yield from ("", *fence(held.quote))
        if held.command:
            yield from ("", f"The same by hand, on {text(held.host)}:", "", *fence(held.command, "sh"))
        yield ""
        if held.next:
            yield f"- next, says the check: {text(step(held.next, (held.host,), self._fleets.get(held.run, '')))}"
        yield f"- whole: {code(f'fleetmedic runs show {held.run} --host {shlex.quote(held.host)}')}"
        yield f"- sha256 of the quote: {code(held.sha256)}"

    def _time(self, at: float) -> str:
        """With its date where that is another day's."""
        said = (stamp(at) or "").replace("T", " ")
        return said.removeprefix(f"{self._day} ")

    def _dated(self, at: float | None) -> str:
        return (stamp(at) or "").replace("T", " ")


def _yaml(said: str) -> str:
    """A quoted string in which nothing but letters, digits and plain signs stands for itself."""
    plain = (
        sign if sign.isalnum() or (" " <= sign <= "~" and sign not in '"\\') else f"\\U{ord(sign):08x}" for sign in said
    )
    return f'"{"".join(plain)}"'


def _yaml_list(items: Iterable[str]) -> str:
    return f"[{', '.join(map(_yaml, items))}]"


def _on(hosts: Sequence[str]) -> str:
    """Hosts in running text."""
    folded = fold(hosts)
    return text(folded if "," in folded else folded.replace(" ", ", "))


def _share(bad: int, there: int) -> str:
    if there == 1:
        return "its only host"
    return f"all its {there} hosts" if bad == there else f"{bad} of its {there} hosts"


def _cut(said: str, most: int) -> str:
    return said if len(said) <= most else said[: most - 1] + "…"


def _what(item: Found) -> str:
    hosts = text(fold(item.hosts))
    return f"no answer from {hosts}" if item.id == NO_ANSWER else f"{text(item.id)} on {hosts}"


def _bad_hosts(incident: Incident) -> list[str]:
    return sorted({host for item in incident.leads for host in item.hosts})


def _ref(key: str) -> str:
    return f"[{key}](#{key.lower()})"


def _section(heading: str, body: Iterable[str]) -> Iterator[str]:
    yield from ("", f"## {heading}", "", *body)


def _prompts(section: str) -> Iterator[str]:
    """What a person is to write; nobody takes it for content, and it is found by its mark."""
    asked = OPEN[section]
    if len(asked) == 1:
        yield f"> {MARK}: {asked[0]}"
        return
    for item in asked:
        yield f"> - {MARK}: {item}"
