"""The catalogue of rules: found by their files, chosen by patterns of their ids."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from types import ModuleType

import agent.rules
from agent.rule import Limit, Limits, Seen
from fleetmedic.v1.finding_pb2 import Finding, Status


class UnknownRule(Exception):
    """A pattern that no rule's id matches; the message suggests some that exist."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One catalogue row. `unanswered`, for the rule that owns a probe: the status of a target that gave no answer."""

    id: str
    title: str
    why: str
    needs: tuple[str, ...]
    # Probes whose snapshots it uses where there are any, and does not miss where there are none.
    may_use: tuple[str, ...]
    limits: tuple[Limit, ...]
    judge: Callable[[Seen, Limits], Iterable[Finding]]
    unanswered: "Status.ValueType | None"
    next_steps: tuple[str, ...]


def load(rules: ModuleType = agent.rules) -> tuple[Rule, ...]:
    """Every rule under a package, by id. A file that is no rule stops the agent with a TypeError that names it."""
    found = []
    for area in pkgutil.iter_modules(rules.__path__, rules.__name__ + "."):
        package = importlib.import_module(area.name)
        for entry in pkgutil.iter_modules(package.__path__, area.name + "."):
            found.append(_rule(importlib.import_module(entry.name)))
    return tuple(sorted(found, key=lambda rule: rule.id))


def _rule(module: ModuleType) -> Rule:
    identity = module.__name__.rpartition(".")[2].upper().replace("_", "-")
    title, _, why = (module.__doc__ or "").partition("\n")
    if not title.strip() or not hasattr(module, "judge") or not hasattr(module, "NEEDS"):
        raise TypeError(f"{module.__name__}: a rule has a docstring that begins with the good state, NEEDS and judge()")
    limits = tuple(value for value in vars(module).values() if isinstance(value, Limit))
    return Rule(
        id=identity,
        title=title.strip(),
        why=why.strip(),
        needs=tuple(module.NEEDS),
        may_use=tuple(getattr(module, "MAY_USE", ())),
        limits=limits,
        judge=module.judge,
        unanswered=getattr(module, "UNANSWERED", None),
        next_steps=tuple(value for name, value in vars(module).items() if name.startswith("NEXT") and value),
    )


def select(rules: Sequence[Rule], include: Sequence[str], exclude: Sequence[str]) -> tuple[Rule, ...]:
    """The rules whose id matches a pattern of `include` (none: all) and none of `exclude`."""
    for pattern in (*include, *exclude):
        _must_match(rules, pattern)
    return tuple(
        rule
        for rule in rules
        if (not include or _matches(rule.id, include)) and not (exclude and _matches(rule.id, exclude))
    )


def _matches(identity: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(identity, pattern.upper()) for pattern in patterns)


def _must_match(rules: Sequence[Rule], pattern: str) -> None:
    ids = [rule.id for rule in rules]
    if _matches_any(ids, pattern):
        return
    close = get_close_matches(pattern.upper(), ids, n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(close)}?" if close else "; `fleetmedic describe` lists what this agent knows"
    raise UnknownRule(f"no check is named {pattern!r}{hint}")


def _matches_any(ids: Iterable[str], pattern: str) -> bool:
    return any(fnmatchcase(identity, pattern.upper()) for identity in ids)


def owner(rules: Sequence[Rule], probe: str) -> Rule | None:
    """The rule that speaks for a target whose probe brought nothing."""
    return next((rule for rule in rules if rule.needs == (probe,) and rule.unanswered is not None), None)
