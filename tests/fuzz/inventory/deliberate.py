"""Where we answer otherwise than Ansible on purpose: each as a predicate that says beforehand what we must do."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.fuzz.inventory import model
from tests.fuzz.inventory.comparing import ABSENT, Difference, exact
from tests.fuzz.inventory.drawn import ROOT, Draw, Question
from tests.fuzz.inventory.grammar.values import RESERVED

SECRET = re.compile(r"pass|pwd|secret|token|api_?key|credential|private_key_content", re.IGNORECASE)
MASK = "***"


@dataclass(frozen=True)
class Value:
    """A difference between two values of a variable: must ours be what it is?"""

    name: str
    clause: str
    holds: Callable[[Difference], bool]


@dataclass(frozen=True)
class Refusal:
    """A question that we refuse: when we must, and what our message then says."""

    name: str
    clause: str
    must: Callable[["Asked"], bool]
    message: re.Pattern[str]


@dataclass(frozen=True)
class Asked:
    """A question, the terms in it, and what the oracle says of the inventory and of the question."""

    question: Question
    terms: tuple[str, ...]
    listing: Mapping[str, Any]
    hosts: tuple[str, ...]
    unmatched: bool


def _is_masked(difference: Difference) -> bool:
    return exact(_masked(difference.where[-1], difference.theirs)) == exact(difference.ours)


def _masked(name: str, value: object) -> object:
    """What may be printed of a value: nothing below a secret name, but whether something is so."""
    secret = SECRET.search(name) is not None
    if isinstance(value, dict) and set(value) != {"__ansible_unsafe"}:
        return {key: _masked(name if secret else key, inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_masked(name, inner) for inner in value]
    return MASK if secret and not isinstance(value, bool | None) else value


def _is_marked_otherwise(difference: Difference) -> bool:
    """The same texts, of which only one side says that they are no templates."""
    both = (difference.theirs, difference.ours)
    return any(map(_has_wrapper, both)) and exact(_unwrapped(both[0])) == exact(_unwrapped(both[1]))


def _has_wrapper(value: object) -> bool:
    return "__ansible_unsafe" in exact(value)


def _unwrapped(value: object) -> object:
    if isinstance(value, dict):
        if set(value) == {"__ansible_unsafe"}:
            return value["__ansible_unsafe"]
        return {key: _unwrapped(inner) for key, inner in value.items()}
    return [_unwrapped(inner) for inner in value] if isinstance(value, list) else value


def _is_dropped(difference: Difference) -> bool:
    return difference.kind == "vars" and difference.where[-1] in RESERVED and difference.ours == ABSENT


def _is_other_priority(difference: Difference) -> bool:
    """In an export Ansible shows the priority of a group's source over what group_vars says, which changes none."""
    values = (difference.theirs, difference.ours)
    is_of_group = difference.kind == "vars" and difference.where[-1] == "ansible_group_priority"
    return is_of_group and all(isinstance(value, int) for value in values) and difference.theirs != 1


VALUES = (
    Value("secret masked", "S22, escape at every sink", _is_masked),
    Value("priority that group_vars says otherwise", "S29", _is_other_priority),
    Value("reserved name dropped from a group", "S32", _is_dropped),
)


def _is_empty(asked: Asked) -> bool:
    texts = (asked.question.pattern, asked.question.limit)
    return any(text is not None and not model.split(text) for text in texts)


def _names_nothing(asked: Asked) -> bool:
    return any(model.bare(term)[:1] in ("", "&", "!") for term in asked.terms)


def _is_bare_regex(asked: Asked) -> bool:
    return any(model.bare(term) == "~" for term in asked.terms)


def _leaves_out_a_file(asked: Asked) -> bool:
    return any(term.startswith("!@") for term in asked.terms)


def _has_unmatched(asked: Asked) -> bool:
    return asked.unmatched


def _has_odd_subscript(asked: Asked) -> bool:
    return any(re.search(r"\[(:[0-9]*|-[0-9]+:-?[0-9]*|[0-9]+-[0-9]+)\]$", term) for term in asked.terms)


def _has_empty_range(asked: Asked) -> bool:
    found = [re.search(r"\[([0-9]+):([0-9]+)\]$", term) for term in asked.terms if model.bare(term)[:1] != "~"]
    return any(each is not None and int(each[2]) < int(each[1]) for each in found)


def _is_out_of_range(asked: Asked) -> bool:
    return any(model.is_out_of_range(asked.listing, model.bare(term)) for term in asked.terms)


def _is_ambiguous(asked: Asked) -> bool:
    both = model.hosts(asked.listing) & model.groups(asked.listing)
    return any(model.bare(term) in both for term in asked.terms)


def _selects_none(asked: Asked) -> bool:
    if asked.question.limit is None and asked.terms in (("all",), ("*",)) and not model.hosts(asked.listing):
        return False
    return not asked.hosts


def _has_port(asked: Asked) -> bool:
    return any(re.fullmatch(r"[^\s:,]+:[0-9]+", text) for text in (asked.question.pattern, asked.question.limit or ""))


REFUSALS = (
    Refusal(
        "empty pattern or limit", "1.11, P205", _is_empty, re.compile(r"an empty (pattern|limit)|its value is empty")
    ),
    Refusal("sign without a name", "1.11", _names_nothing, re.compile("names nothing")),
    Refusal("empty regex", "0.4", _is_bare_regex, re.compile("empty regular expression")),
    Refusal("exclusion of a file", "0.4", _leaves_out_a_file, re.compile(r"!@")),
    Refusal("term without a match", "1.11, P204", _has_unmatched, re.compile("matches nothing")),
    Refusal("subscript that is a class", "S36, 1.11", _has_odd_subscript, re.compile("is not a subscript")),
    Refusal("reversed subscript", "S36, 1.11", _has_empty_range, re.compile("is empty")),
    Refusal("subscript out of range", "S36, 1.11", _is_out_of_range, re.compile("out of range")),
    Refusal("host and group of one name", "S25, 1.11", _is_ambiguous, re.compile("is ambiguous")),
    Refusal("no host selected", "S37, 1.11", _selects_none, re.compile("selects no host|no host is left")),
    Refusal("host and port as a pattern", "S33", _has_port, re.compile("host:port is not a pattern")),
)


TOML_CHILD = re.compile(r"group '[^']*', a child of '[^']*', is not declared; add a table")


def value(difference: Difference, *, reads_toml: bool) -> str | None:
    """The name of the deliberate difference that one between two listings is."""
    if difference.kind == "refused" and reads_toml and TOML_CHILD.search(str(difference.ours)):
        return "refused: undeclared child in TOML (0.2)"
    if difference.kind == "refused" and "Invalid section entry" in str(difference.theirs):
        # It leaves the file out, as it does with all it can't read; nothing of it is ours to answer.
        return "refused by both: a line in brackets" if "is not a section" in str(difference.ours) else None
    if difference.kind not in ("vars", "hostvars"):
        return None
    # Ansible takes TOML's texts for no templates, and then loses or finds that mark beside other sources.
    if reads_toml and _is_marked_otherwise(difference):
        return "mark of unsafe beside TOML"
    return next((each.name for each in VALUES if each.holds(difference)), None)


def refusals(asked: Asked) -> list[Refusal]:
    """Why we must refuse a question; for at least one of these reasons where there are several."""
    return [each for each in REFUSALS if each.must(asked)]


def terms(draw: Draw, question: Question) -> Iterator[str]:
    """The terms of the pattern and of the limit, those of a limit's file included."""
    yield from model.split(question.pattern)
    files = {file.path: file for file in draw.files}
    for term in model.split(question.limit or ""):
        if term.startswith(f"@{ROOT}"):
            yield from filter(None, map(str.strip, files[term[1 + len(ROOT) :]].content.decode().splitlines()))
        else:
            yield term
