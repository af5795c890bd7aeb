"""The hosts of one term: names, groups, globs, `~regex`, subscripts, services, and hosts of an earlier run."""

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from fnmatch import translate

from controller.endings import ACHIEVED, BAD, SILENT, State
from controller.inventory.names import shown
from controller.inventory.patterns.question import Question

_SUBSCRIPT = re.compile(r"(.+)\[(?:(-?[0-9]{1,9})|([0-9]{1,9}):([0-9]{0,9}))\]", re.DOTALL)
_NEARLY_SUBSCRIPT = re.compile(r"(.+)\[([0-9:-]*)\]", re.DOTALL)
_OF_RUN = re.compile(r"(\w+)@(.+)")
_SERVICE = "service="

SELECTIONS: Mapping[str, Callable[[State], bool]] = {
    "bad": BAD.__contains__,
    "notok": lambda state: state not in ACHIEVED | {State.SKIPPED},
    "ok": ACHIEVED.__contains__,
    "unreachable": SILENT.__contains__,
    "notstarted": frozenset({State.NOT_ATTEMPTED, State.CANCELLED}).__contains__,
}
"""Which states of a run's hosts each word before `@RUN` selects."""


def matches(question: Question, term: str, *, is_exclusion: bool = False) -> list[str]:
    """The hosts of one term without its sign, in order, before duplicates are taken out.

    Raises InventoryError where it matches nothing.
    """
    inventory = question.inventory
    if term in inventory.hosts:
        if term in inventory.groups:
            raise question.wrong(
                f"{shown(term)} is ambiguous: a host and a group have this name", f"write ~^{re.escape(term)}$ for both"
            )
        return [term]
    if term.startswith(_SERVICE):
        return _with_service(question, term)
    of_run = _OF_RUN.fullmatch(term)
    if of_run is not None and of_run[1] in SELECTIONS and term not in inventory.groups:
        return _of_run(question, of_run[1], of_run[2])
    return _by_name(question, term, is_exclusion=is_exclusion)


def _with_service(question: Question, term: str) -> list[str]:
    from controller.inventory.requests import services  # few ask for it, and it brings the messages to agents

    inventory, wanted = question.inventory, term.removeprefix(_SERVICE)
    known = {name: services(inventory.host(name)) for name in inventory.hosts}
    found = [name for name, of_host in known.items() if wanted in of_host]
    if found:
        return found
    near = _close(wanted, dict.fromkeys(service for of_host in known.values() for service in of_host))
    mend = f"did you mean {near}?" if near else "hosts name theirs in fleetmedic_services"
    return question.unmatched(f"no host has the service {shown(wanted)}", mend)


def _of_run(question: Question, word: str, name: str) -> list[str]:
    if question.means.runs is None:
        raise question.wrong("this command knows no earlier runs", "name hosts or groups")
    is_wanted = SELECTIONS[word]
    chosen = [host for host, state in question.means.runs(name).items() if is_wanted(state)]
    if not chosen:
        return question.unmatched(f"run {shown(name)} has no host that is {word}", "`fleetmedic runs list` lists runs")
    gone = [host for host in chosen if host not in question.inventory.hosts]
    if gone:
        others = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        question.unmatched(
            f"run {shown(name)} has {shown(gone[0])}{others}, which this inventory has not",
            "name the inventory of that run, or add --allow-unmatched",
        )
    return [host for host in chosen if host in question.inventory.hosts]


def _by_name(question: Question, term: str, *, is_exclusion: bool) -> list[str]:
    inventory = question.inventory
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
            return _nothing(question, expression, is_exclusion=is_exclusion)
    return names if expression == term else _subscripted(question, term, names)


def _regex(question: Question, term: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():  # of what a later Python may read otherwise, as `[[`
            warnings.simplefilter("ignore")
            return re.compile(term[1:])
    except (re.error, OverflowError, RecursionError) as error:
        mend = "',' splits patterns" if "," in question.pattern else "':' and blanks split patterns"
        raise question.wrong(
            f"bad regular expression {shown(term[1:])}: {error}", f"correct it ({mend}, inside one too)"
        ) from None


def _without_subscript(question: Question, term: str) -> str:
    """The term before its `[…]`, or the term itself where it has no subscript."""
    found = _SUBSCRIPT.fullmatch(term)
    if found is None:
        nearly = _NEARLY_SUBSCRIPT.fullmatch(term)
        if nearly is not None:
            raise question.wrong(f"{shown(f'[{nearly[2]}]')} is not a subscript", "write [0], [-1], [0:2] or [2:]")
        return term
    if _NEARLY_SUBSCRIPT.fullmatch(found[1]):
        raise question.wrong(f"{shown(term)} has two subscripts", "keep one")
    return found[1]


def _subscripted(question: Question, term: str, names: list[str]) -> list[str]:
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


def _nothing(question: Question, term: str, *, is_exclusion: bool) -> list[str]:
    if is_exclusion:
        what = f"exclusion {shown(term)} matches nothing (a typo here would widen the target)"
    else:
        what = f"{shown(term)} matches nothing"
    return question.unmatched(what, _mend(question, term))


def _mend(question: Question, term: str) -> str:
    if term in ("localhost", "127.0.0.1", "::1"):
        return "there is no implicit localhost; leave -i out to look at this machine"
    if "," in question.pattern and ":" in term:
        return "where a ',' splits, a ':' does not: use one of them"
    if _OF_RUN.fullmatch(term):
        return f"hosts of an earlier run are {'@RUN, '.join(SELECTIONS)}@RUN"
    near = _close(term, dict.fromkeys([*question.inventory.groups, *question.inventory.hosts]))
    if near:
        return f"did you mean {near}?"
    splits = "':' separates terms; " if ":" in question.pattern else ""
    return splits + "see `fleetmedic inventory list` for the names"


def _close(term: str, names: Iterable[str]) -> str:
    import difflib  # only where a name is wrong

    known = list(names)
    longer = [name for name in known if name.startswith(f"{term}.")]
    return " or ".join(longer[:2] or difflib.get_close_matches(term, known, n=2))
