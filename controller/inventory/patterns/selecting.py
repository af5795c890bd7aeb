"""Selects hosts by pattern and limit: unions, intersections and exclusions of terms, and shares of what is left."""

import re

from controller.inventory.graph import Inventory
from controller.inventory.names import shown
from controller.inventory.origins import InventoryError
from controller.inventory.patterns.matching import matches
from controller.inventory.patterns.question import Means, Question
from controller.inventory.patterns.splitting import terms_of

_EVERYTHING = ("all", "*")
_SHARE = re.compile(r"([0-9]{1,9})%")


def select(inventory: Inventory, pattern: str, limit: str | None = None, means: Means | None = None) -> tuple[str, ...]:
    """The names of the hosts that a pattern selects, each once, narrowed to those that a limit (a pattern too) names.

    Plain terms are a union in their order, then all `&` narrow it, then all `!` take away, wherever they stand. A share
    (`10%`) as the whole pattern or limit is the first of what there is else, rounded up. Raises InventoryError for an
    empty pattern, for a term that matches nothing, and where no host is left. Only `all` and `*` of an empty inventory
    answer with no host.
    """
    means = means or Means()
    names = _chosen(Question(inventory, pattern, "pattern", means), list(inventory.hosts))
    if limit is not None:
        names = _chosen(Question(inventory, limit, "limit", means), names)
        if not names and inventory.hosts:
            raise InventoryError(
                f"pattern {shown(pattern)} with limit {shown(limit)}: no host is left; widen one of them"
            )
    return tuple(names)


def _chosen(question: Question, among: list[str]) -> list[str]:
    """Those that a pattern names of all hosts, or a limit of the hosts of its pattern, in the order of these."""
    share = _SHARE.fullmatch(question.pattern.strip())
    if share is not None:
        return _first(question, int(share[1]), among)
    named = _named(question)
    if question.kind == "pattern":
        return named
    kept = set(named)
    return [name for name in among if name in kept]


def _first(question: Question, percent: int, among: list[str]) -> list[str]:
    if not 1 <= percent <= 100:
        raise question.wrong("a share of the hosts is from 1% to 100%", "write 10% for every tenth, at least one")
    if not among:
        raise question.wrong("there is no host to take a share of", "name an inventory that has some")
    return among[: -(-len(among) * percent // 100)]


def _named(question: Question) -> list[str]:
    terms = terms_of(question)
    plain = [term for term in terms if term[0] not in "&!"]
    chosen: dict[str, None] = {}
    for term in plain or ["all"]:
        chosen.update(dict.fromkeys(matches(question, term)))
    for term in terms:
        if term[0] == "&":
            both = set(matches(question, term[1:]))
            chosen = {name: None for name in chosen if name in both}
    for term in terms:
        if term[0] == "!":
            for name in matches(question, term[1:], is_exclusion=True):
                chosen.pop(name, None)
    if not chosen and not (terms[0] in _EVERYTHING and len(terms) == 1 and not question.inventory.hosts):
        raise question.wrong("selects no host", "name hosts or groups that have some")
    return list(chosen)
