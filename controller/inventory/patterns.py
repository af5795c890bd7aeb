"""Selects hosts by pattern: names, groups, globs, `~regex`, subscripts, and `:` `,` `&` `!` between them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import translate

from controller.inventory.graph import Host, Inventory, InventoryError
from controller.inventory.names import is_ipv6, shown

_TERM = re.compile(r"(?:[^\s:\[\]]|\[[^\]]*\])+")
_BLANKS_AND_COLONS = re.compile(r"[\s:]*")
_HOST_AND_PORT = re.compile(r"[^\s:]+:[0-9]+")
_SUBSCRIPT = re.compile(r"(.+)\[(?:(-?[0-9]+)|([0-9]+):([0-9]*))\]", re.DOTALL)
_NEARLY_SUBSCRIPT = re.compile(r"(.+)\[([0-9:-]*)\]", re.DOTALL)
_EVERYTHING = ("all", "*")


@dataclass(frozen=True, slots=True)
class _Question:
    """A pattern and the inventory it is asked of."""

    inventory: Inventory
    pattern: str
    kind: str = "pattern"

    def wrong(self, what: str, mend: str) -> InventoryError:
        return InventoryError(f"{self.kind} {shown(self.pattern)}: {what}; {mend}")


def select(inventory: Inventory, pattern: str, limit: str | None = None) -> tuple[Host, ...]:
    """The hosts that a pattern names, each once, narrowed to those that a limit (a pattern too) names.

    Plain terms are a union in their order, then all `&` narrow it, then all `!` take away, wherever they stand. Raises
    InventoryError for an empty pattern, for a term that matches nothing, and where no host is left. Only `all` and `*`
    of an empty inventory answer with no host.
    """
    names = _names(_Question(inventory, pattern))
    if limit is not None:
        kept = set(_names(_Question(inventory, limit, "limit")))
        names = [name for name in names if name in kept]
        if not names and inventory.hosts:
            raise InventoryError(
                f"pattern {shown(pattern)} with limit {shown(limit)}: no host is left; widen one of them"
            )
    return tuple(inventory.hosts[name] for name in names)


def _names(question: _Question) -> list[str]:
    terms = _split(question)
    plain = [term for term in terms if term[0] not in "&!"]
    chosen: dict[str, None] = {}
    for term in plain or ["all"]:
        chosen.update(dict.fromkeys(_matches(question, term)))
    for term in terms:
        if term[0] == "&":
            both = set(_matches(question, term[1:]))
            chosen = {name: None for name in chosen if name in both}
    for term in terms:
        if term[0] == "!":
            for name in _matches(question, term[1:], is_exclusion=True):
                chosen.pop(name, None)
    if not chosen and not (terms[0] in _EVERYTHING and len(terms) == 1 and not question.inventory.hosts):
        raise question.wrong("selects no host", "name hosts or groups that have some")
    return list(chosen)


def _split(question: _Question) -> list[str]:
    """The terms of a pattern: between commas if it has one, else between colons and blanks; at least one."""
    pattern = question.pattern
    if "," in pattern:
        terms = [term.strip() for term in pattern.split(",")]
    elif is_ipv6(pattern.strip()):
        terms = [pattern.strip()]
    elif _HOST_AND_PORT.fullmatch(pattern.strip()):
        raise question.wrong("host:port is not a pattern", "leave the port out")
    else:
        terms = _TERM.findall(pattern)
        if not _BLANKS_AND_COLONS.fullmatch(_TERM.sub("", pattern)):
            raise question.wrong("a bracket without its other half", "close it; ':' and ',' split patterns")
    terms = [term for term in terms if term]
    if not terms:
        raise question.wrong(f"an empty {question.kind}", "write all for every host")
    for term in terms:
        _check(question, term)
    return terms


def _check(question: _Question, term: str) -> None:
    bare = term[1:] if term[0] in "&!" else term
    if not bare or bare[0] in "&!":
        raise question.wrong(f"{shown(term)} names nothing", "put a host or group after it")
    if bare == "~":
        raise question.wrong("an empty regular expression matches everything", "write all for every host")
    if bare[0] == "@":
        if term[0] == "!":
            raise question.wrong("'!@file' is not supported", "leave hosts out with !host or !group")
        raise question.wrong("limit files (@file): a later version reads them", "write the hosts with commas")


def _matches(question: _Question, term: str, *, is_exclusion: bool = False) -> list[str]:
    """The hosts of one term without its sign, in order, before duplicates are taken out."""
    inventory = question.inventory
    if term in inventory.hosts:
        if term in inventory.groups:
            raise question.wrong(
                f"{shown(term)} is ambiguous: a host and a group have this name", f"write ~^{re.escape(term)}$ for both"
            )
        return [term]
    if term[0] == "~":
        expression, regex = term, _regex(question, term)
        is_wide = True
    else:
        expression = _without_subscript(question, term)
        regex = re.compile(translate(expression))
        is_wide = any(char in expression for char in ".?*[")
    groups = [name for name in inventory.groups if regex.match(name)]
    names = [host for name in groups for host in inventory.members(name)]
    if is_wide or not groups:
        hosts = [name for name in inventory.declared if regex.match(name)]
        names += hosts
        if not groups and not hosts:
            raise _nothing(question, expression, is_exclusion=is_exclusion)
    return names if expression == term else _subscripted(question, term, names)


def _regex(question: _Question, term: str) -> re.Pattern[str]:
    try:
        return re.compile(term[1:])
    except re.error as error:
        mend = "',' splits patterns" if "," in question.pattern else "':' and blanks split patterns"
        raise question.wrong(
            f"bad regular expression {shown(term[1:])}: {error}", f"correct it ({mend}, inside one too)"
        ) from None


def _without_subscript(question: _Question, term: str) -> str:
    """The term before its `[…]`, or the term itself where it has no subscript."""
    found = _SUBSCRIPT.fullmatch(term)
    if found is None:
        nearly = _NEARLY_SUBSCRIPT.fullmatch(term)
        if nearly is not None:
            raise question.wrong(f"'[{nearly[2]}]' is not a subscript", "write [0], [-1], [0:2] or [2:]")
        return term
    if _NEARLY_SUBSCRIPT.fullmatch(found[1]):
        raise question.wrong(f"{shown(term)} has two subscripts", "keep one")
    return found[1]


def _subscripted(question: _Question, term: str, names: list[str]) -> list[str]:
    found = _SUBSCRIPT.fullmatch(term)
    assert found is not None
    if found[2] is not None:
        position = int(found[2])
        if -len(names) <= position < len(names):
            return [names[position]]
    else:
        first, last = int(found[3]), int(found[4]) if found[4] else len(names)
        if last < first < len(names):
            raise question.wrong(f"the range in {shown(term)} is empty", "write the smaller number first")
        if first < len(names):
            return names[first : last + 1]
    raise question.wrong(
        f"subscript out of range: {shown(term)} of {len(names)}", "count from 0, or write a glob as name[1-2]*"
    )


def _nothing(question: _Question, term: str, *, is_exclusion: bool) -> InventoryError:
    if is_exclusion:
        what = f"exclusion {shown(term)} matches nothing (a typo here would widen the target)"
    else:
        what = f"{shown(term)} matches nothing"
    if "@" in term:
        return question.wrong(
            what, "selections of earlier runs (bad@RUN) are for a later version; name hosts or groups"
        )
    if term in ("localhost", "127.0.0.1", "::1"):
        return question.wrong(what, "there is no implicit localhost; leave -i out to look at this machine")
    if "," in question.pattern and ":" in term:
        return question.wrong(what, "where a ',' splits, a ':' does not: use one of them")
    near = _near(term, question.inventory)
    if near:
        return question.wrong(what, f"did you mean {' or '.join(near)}?")
    splits = "':' separates terms; " if ":" in question.pattern else ""
    return question.wrong(what, splits + "see `fleetmedic inventory list` for the names")


def _near(term: str, inventory: Inventory) -> list[str]:
    import difflib  # only where a name is wrong

    names: Iterable[str] = dict.fromkeys([*inventory.groups, *inventory.hosts])
    return difflib.get_close_matches(term, names, n=2)
