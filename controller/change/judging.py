"""Whether a change cured what it was for: the same rules before and after, compared; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fleetmedic.v1.finding_pb2 import (
    STATUS_CRIT,
    STATUS_ERROR,
    STATUS_INFO,
    STATUS_OK,
    STATUS_SKIPPED,
    STATUS_WARN,
    Finding,
    Subject,
)

WORDS = {
    STATUS_OK: "ok",
    STATUS_INFO: "info",
    STATUS_WARN: "warn",
    STATUS_CRIT: "crit",
    STATUS_ERROR: "error",
    STATUS_SKIPPED: "skipped",
}
RANKS = {STATUS_OK: 0, STATUS_INFO: 0, STATUS_SKIPPED: 0, STATUS_WARN: 1}
# Of crit, of what could not be looked at, and of what this version does not know.
WORST = 2
LONGEST = 300


class Cure(StrEnum):
    """What became of the finding that a change was to cure."""

    CURED = "cured"
    NOT_CURED = "not cured"
    WORSE = "worse"
    # Nobody looked, or nobody could: never taken for cured.
    NOT_VERIFIED = "not verified"
    # The action names no rule.
    NO_RULE = "no rule"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`lines` are one for each rule and subject, before -> after; their text is a host's."""

    cure: Cure
    lines: tuple[str, ...] = ()
    why: str = ""

    @property
    def passed(self) -> bool:
        return self.cure in (Cure.CURED, Cure.NO_RULE)


Key = tuple[str, str, str, str]


def judge(
    rules: Sequence[str], subject: Subject, before: Iterable[Finding] | None, after: Iterable[Finding] | None
) -> Verdict:
    """None for `before` or `after` where that look gave no answer."""
    if not rules:
        return Verdict(Cure.NO_RULE)
    if after is None:
        return Verdict(Cure.NOT_VERIFIED, why="there was no answer afterwards")
    then = _by_subject(rules, before or ())
    now = _by_subject(rules, after)
    lines = tuple(_lines(then, now))
    unlooked = [rule for rule in rules if not _looked(rule, now)]
    if before is not None and (worse := [key for key in now if _rank(now[key]) > _rank(then.get(key))]):
        return Verdict(Cure.WORSE, lines, f"{worse[0][0]} is worse than before")
    still = [key for key, finding in now.items() if _rank(finding) and concerns(finding.subject, subject)]
    if still:
        return Verdict(Cure.NOT_CURED, lines, f"{still[0][0]} is still {_word(now[still[0]])}")
    bad_then = {key[0] for key, finding in then.items() if _rank(finding) and concerns(finding.subject, subject)}
    missing = [rule for rule in unlooked if rule in bad_then or len(unlooked) == len(rules)]
    if missing:
        return Verdict(Cure.NOT_VERIFIED, lines, f"{missing[0]} did not look afterwards")
    return Verdict(Cure.CURED, lines)


def concerns(found: Subject, treated: Subject) -> bool:
    """Whether a finding is about what was treated: another container's is not, another session's of the server is."""
    if not treated.name and not treated.service:
        return True
    if found.kind == treated.kind == "container":
        return found.name == treated.name
    return found.name == treated.name or not treated.service or found.service in ("", treated.service)


def _by_subject(rules: Sequence[str], findings: Iterable[Finding]) -> Mapping[Key, Finding]:
    """Of several about one subject the worst."""
    made: dict[Key, Finding] = {}
    for finding in findings:
        if finding.id in rules:
            key = (finding.id, finding.subject.service, finding.subject.kind, finding.subject.name)
            if _rank(finding) >= _rank(made.get(key)):
                made[key] = finding
    return made


def _looked(rule: str, now: Mapping[Key, Finding]) -> bool:
    return any(key[0] == rule and finding.status != STATUS_SKIPPED for key, finding in now.items())


def _rank(finding: Finding | None) -> int:
    return 0 if finding is None else RANKS.get(finding.status, WORST)


def _word(finding: Finding | None) -> str:
    return "nothing" if finding is None else WORDS.get(finding.status, "?")


def _lines(then: Mapping[Key, Finding], now: Mapping[Key, Finding]) -> Iterable[str]:
    """What was bad or is; of a rule that is well throughout one word is enough, and that is the verdict."""
    for key in dict.fromkeys((*then, *now)):
        before, after = then.get(key), now.get(key)
        if _rank(before) or _rank(after):
            told = after or next((item for other, item in now.items() if other[0] == key[0]), None)
            about = " ".join(dict.fromkeys(part for part in (key[1], key[3]) if part))
            now_word = _word(told) if after is None else _word(after)
            yield f"{key[0]} {about}: {_word(before)} -> {now_word}  {'' if told is None else told.summary[:LONGEST]}"
