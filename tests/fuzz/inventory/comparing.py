"""Takes two listings apart into single differences, each with where it is and both values."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ABSENT = "(absent)"


@dataclass(frozen=True)
class Difference:
    """One thing that the two say differently.

    `kind` is hosts, children, vars, hostvars, refused, broken, oracle or pattern.
    `name` is that of the deliberate difference it is, None for one that nothing explains.
    """

    kind: str
    where: tuple[str, ...]
    theirs: object
    ours: object
    name: str | None = None


def listings(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[Difference]:
    """Every difference between two listings in the shape of --list."""
    for group in sorted((theirs.keys() | ours.keys()) - {"_meta"}):
        one, other = theirs.get(group, {}), ours.get(group, {})
        for key in ("hosts", "children"):
            if list(one.get(key, ())) != list(other.get(key, ())):
                yield Difference(key, (group,), one.get(key, []), other.get(key, []))
        yield from _variables("vars", group, one.get("vars", {}), other.get("vars", {}))
    hosts = _hostvars(theirs), _hostvars(ours)
    for host in sorted(hosts[0].keys() | hosts[1].keys()):
        yield from _variables("hostvars", host, hosts[0].get(host, {}), hosts[1].get(host, {}))


def _hostvars(listing: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = listing.get("_meta", {}).get("hostvars", {})
    return found


def _variables(kind: str, owner: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[Difference]:
    for name in sorted(theirs.keys() | ours.keys()):
        one, other = theirs.get(name, ABSENT), ours.get(name, ABSENT)
        if exact(one) != exact(other):
            yield Difference(kind, (owner, name), one, other)


def exact(value: object) -> str:
    """The value as a text in which 1, 1.0, "1" and true differ, and so does not a number from itself."""
    return json.dumps(value, sort_keys=True)
