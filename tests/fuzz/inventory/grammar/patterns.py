"""Draws patterns over the names of a draw: unions, intersections, exclusions, globs, regexes, subscripts, limits."""

import re
from collections.abc import Sequence
from random import Random

from tests.fuzz.inventory.drawn import ROOT, File, Question
from tests.fuzz.inventory.grammar.names import Names

UNKNOWN = ("nosuch", "nosuch*", "~nosuch", "ZZZ?", "all2")
REFUSED = ("", ",", " ", ":", "~", "!@{file}", "x:!", "all[1:0]", "all[0-2]", "all[:2]", "all[99]", "h:22", "all[-99]")


def question(rng: Random, names: Names, number: int) -> tuple[Question, list[File]]:
    """A pattern, mostly with a few terms, now and then narrowed by a limit; and the limit's file where it has one."""
    asked = pattern(rng, names)
    if rng.random() < 0.65:
        return Question(asked), []
    if rng.random() < 0.6:
        return Question(asked, pattern(rng, names)), []
    path = f"limits/{number}"
    terms = [_term(rng, names) for _ in range(rng.randint(1, 4))]
    ending = rng.choice(("\n", "  \n", "\r\n"))
    limit = f"@{ROOT}{path}"
    if rng.random() < 0.2:
        limit = f"{_name(rng, names)},{limit}"
    return Question(asked, limit), [File(path, "".join(term + ending for term in terms).encode())]


def pattern(rng: Random, names: Names) -> str:
    """One to four terms."""
    if rng.random() < 0.05:
        return rng.choice(REFUSED)
    terms = [_signed(rng, _term(rng, names)) for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4)))]
    has_colon = any(":" in term for term in terms)
    joint = rng.choice((",", ", ")) if has_colon else rng.choice((":", ",", " ", ":", ", "))
    return joint.join(terms)


def _signed(rng: Random, term: str) -> str:
    return rng.choices(("", "!", "&"), (6, 2, 2))[0] + term


def _term(rng: Random, names: Names) -> str:
    made = rng.choices((_name, _glob, _regex, _subscript, _everything, _unknown), (10, 4, 3, 4, 2, 1))[0]
    return made(rng, names)


def _pool(names: Names) -> Sequence[str]:
    return (*names.groups, *names.groups, *names.hosts, "ungrouped", "all")


def _name(rng: Random, names: Names) -> str:
    return rng.choice(_pool(names))


def _glob(rng: Random, names: Names) -> str:
    name = _name(rng, names)
    cut = rng.randint(1, len(name))
    return rng.choice(
        (
            f"{name[:cut]}*",
            f"*{name[-cut:]}",
            f"{name[:cut]}?",
            f"{name[: cut - 1]}?{name[cut:]}",
            f"{name[: cut - 1]}[{name[cut - 1]}x]{name[cut:]}",
            f"{name[: cut - 1]}[!q]{name[cut:]}",
        )
    )


def _regex(rng: Random, names: Names) -> str:
    name = _name(rng, names)
    cut = rng.randint(1, len(name))
    start, end = re.escape(name[:cut]), re.escape(name[-cut:])
    return rng.choice((f"~{start}", f"~.*{end}$", f"~^{start}.?", f"~({start}|x)", f"~[{name[0]}x]", f"~{start}.+"))


def _subscript(rng: Random, names: Names) -> str:
    group = rng.choice((*names.groups, "all", "ungrouped"))
    glob = f"{group[0]}*"
    place = rng.choice(("[0]", "[-1]", "[1]", "[0:1]", "[1:]", "[0:]", "[2:9]", "[-2]", "[0:0]", "[1:2]"))
    return rng.choice((group, group, glob)) + place


def _everything(rng: Random, names: Names) -> str:
    return rng.choice(("all", "*", "al*", "ungrouped", "a??", "~.", "*.*", "?*"))


def _unknown(rng: Random, names: Names) -> str:
    return rng.choice(UNKNOWN)
