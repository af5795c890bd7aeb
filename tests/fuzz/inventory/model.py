"""What follows from the oracle's own listing: a group's hosts level by level, and how many a term stands for."""

import re
from collections.abc import Mapping
from fnmatch import translate
from typing import Any

Listing = Mapping[str, Any]
_SUBSCRIPT = re.compile(r"(.+)\[(?:(-?[0-9]+)|([0-9]+):([0-9]*))\]")


def members(listing: Listing, group: str) -> tuple[str, ...]:
    """A group's hosts: its own, then its descendants' level by level in declared order, each once."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    level = [group]
    while level:
        fresh = [name for name in dict.fromkeys(level) if name not in seen]
        seen.update(fresh)
        for name in fresh:
            found.update(dict.fromkeys(listing.get(name, {}).get("hosts", ())))
        level = [child for name in fresh for child in listing.get(name, {}).get("children", ())]
    return tuple(found)


def groups(listing: Listing) -> set[str]:
    """All group names, those of empty groups (which have no entry of their own) included."""
    named = {name for name in listing if name != "_meta"}
    return named | {child for name in named for child in listing[name].get("children", ())} | {"all", "ungrouped"}


def hosts(listing: Listing) -> set[str]:
    """All host names."""
    return {host for name in listing if name != "_meta" for host in listing[name].get("hosts", ())}


def split(pattern: str) -> list[str]:
    """The terms of a pattern (S33); of one with an IPv6 address and no comma, the address alone."""
    if "," in pattern:
        terms = [term.strip() for term in pattern.split(",")]
    elif re.fullmatch(r"[0-9A-Fa-f:.]*::[0-9A-Fa-f:.]*|([0-9A-Fa-f]+:){7}[0-9A-Fa-f]+", pattern):
        terms = [pattern]
    else:
        terms = re.findall(r"(?:[^\s:\[\]]|\[[^\]]*\])+", pattern)
    return [term for term in terms if term]


def bare(term: str) -> str:
    """A term without its sign."""
    return term[1:] if term[:1] in ("&", "!") else term


def is_out_of_range(listing: Listing, term: str) -> bool:
    """Whether a term has a subscript that takes none of the hosts it is about."""
    found = _SUBSCRIPT.fullmatch(term)
    if found is None or term.startswith("~") or term in hosts(listing):
        return False
    count = _count(listing, found[1])
    if found[2] is not None:
        return not -count <= int(found[2]) < count
    return int(found[3]) >= count


def _count(listing: Listing, expression: str) -> int:
    """How many hosts, before duplicates are taken out."""
    if expression in hosts(listing):
        return 1
    matches = re.compile(translate(expression)).match
    chosen = [name for name in groups(listing) if matches(name)]
    count = sum(len(members(listing, name)) for name in chosen)
    if not chosen or any(char in expression for char in ".?*["):
        count += sum(1 for name in hosts(listing) if matches(name))
    return count


def taken(listing: Listing, term: str) -> tuple[str, ...] | None:
    """The hosts that a subscript takes of one group, where this is what the term is."""
    found = _SUBSCRIPT.fullmatch(term)
    if found is None or found[1] not in groups(listing) - hosts(listing):
        return None
    below = members(listing, found[1])
    if found[2] is not None:
        return (below[int(found[2])],)
    return below[int(found[3]) : int(found[4]) + 1 if found[4] else None]


def has_open_order(listing: Listing) -> bool:
    """Whether two groups or more are grandchildren of `all`: a set in Ansible, in an order of its own (S24)."""
    children = {child for name in _children(listing, "all") for child in _children(listing, name)}
    return len(children) > 1


def _children(listing: Listing, name: str) -> list[str]:
    return list(listing.get(name, {}).get("children", ()))
