"""Names: of hosts, alone and as ranges that stand for several, of groups, and which group is in which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
PLAIN_GROUPS = ("web", "db", "cache", "eu", "us", "prod", "canary", "g_1", "Web", "db2", "late", "x")
ODD_GROUPS = ("web-eu", "db.main", "1st", "größe", "a+b", "x^y", "mid~dle", "at@home", "_", "9", "тест", "a.b-c")
FAMILIES = ("web", "db", "h", "n-", "stg.", "Big", "ü", "web0")
SUFFIXES = ("", "", ".example", ".eu.example", "-a")
LONE = ("alpha", "beta.example", "gamma_1", "7", "0x1f", "solo", "Zed", "größer", "true", "a.b.c", "web1-old", "h_2")
DEEPEST = 4


@dataclass(frozen=True)
class Entry:
    """A host entry as it is written, without a port, and the names it stands for."""

    text: str
    names: tuple[str, ...]
    is_ipv6: bool = False

    @property
    def takes_port(self) -> bool:
        """With an empty beginning of a range Ansible reads the port as a part of the name."""
        return "[:" not in self.text

    def with_port(self, port: int) -> str:
        return f"[{self.text}]:{port}" if self.is_ipv6 else f"{self.text}:{port}"


@dataclass(frozen=True)
class Names:
    """What the sources of one draw have in common: group names with their children, and host entries."""

    groups: tuple[str, ...]
    children: Mapping[str, tuple[str, ...]]
    entries: tuple[Entry, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for entry in self.entries for name in entry.names))


def names(rng: Random) -> Names:
    """A pool of names, with a graph of groups at most DEEPEST deep in which diamonds are common."""
    groups = rng.sample(PLAIN_GROUPS, rng.randint(2, 7)) + rng.sample(ODD_GROUPS, rng.choice((0, 0, 1, 2)))
    rng.shuffle(groups)
    # Now and then a host has the name of a group.
    taken = set(groups) if rng.random() < 0.97 else set[str]()
    entries = []
    for _ in range(rng.randint(3, 8)):
        entry = _entry(rng)
        if not taken & set(entry.names):
            taken.update(entry.names)
            entries.append(entry)
    return Names(tuple(groups), _graph(rng, groups), tuple(entries))


def _graph(rng: Random, groups: Sequence[str]) -> dict[str, tuple[str, ...]]:
    level = {name: rng.randrange(DEEPEST) for name in groups}
    share = rng.choice((0.0, 0.3, 0.5, 0.8))
    return {
        parent: tuple(
            name
            for name in rng.sample(list(groups), len(groups))
            if level[name] > level[parent] and rng.random() < share
        )
        for parent in groups
    }


def _entry(rng: Random) -> Entry:
    made = rng.choices(
        (_lone, _numbers, _letters, _twice, _ipv4, _octets, _ipv6, _groups_of_ipv6), (4, 5, 2, 2, 1, 1, 1, 1)
    )[0]
    return made(rng)


def _lone(rng: Random) -> Entry:
    name = rng.choice(LONE)
    return Entry(name, (name,))


def _numbers(rng: Random) -> Entry:
    prefix, suffix = rng.choice(FAMILIES), rng.choice(SUFFIXES)
    text, values = _number_range(rng)
    return Entry(f"{prefix}{text}{suffix}", tuple(f"{prefix}{value}{suffix}" for value in values))


def _number_range(rng: Random) -> tuple[str, list[str]]:
    first = rng.choice((0, 1, 2, 8, 9, 98))
    last = first + rng.randint(0, 4)
    step = rng.choice((None, None, 1, 2, 3))
    width = rng.choice((0, 0, 2, 3))
    begin = str(first).zfill(width)
    end = str(last).zfill(width)
    if not begin.startswith("0") or begin == "0":
        width = 0
    if first == 0 and not width and rng.random() < 0.3:
        begin = ""
    if width and len(begin) != len(end):
        end = begin
        last = first
    values = [str(number).zfill(width) for number in range(first, last + 1, step or 1)]
    return f"[{begin}:{end}{'' if step is None else f':{step}'}]", values


def _letters(rng: Random) -> Entry:
    prefix, suffix = rng.choice(FAMILIES), rng.choice(SUFFIXES)
    first = rng.choice((0, 3, 24, 25, 26, 48))
    last = first + rng.randint(0, 3)
    step = rng.choice((None, None, 2))
    text = f"[{LETTERS[first]}:{LETTERS[last]}{'' if step is None else f':{step}'}]"
    values = LETTERS[first : last + 1 : step or 1]
    return Entry(f"{prefix}{text}{suffix}", tuple(f"{prefix}{value}{suffix}" for value in values))


def _twice(rng: Random) -> Entry:
    left, lefts = _number_range(rng)
    right, rights = _number_range(rng)
    prefix = rng.choice(FAMILIES)
    return Entry(f"{prefix}{left}-r{right}", tuple(f"{prefix}{one}-r{two}" for one in lefts for two in rights))


def _ipv4(rng: Random) -> Entry:
    name = f"192.0.2.{rng.randint(0, 255)}"
    return Entry(name, (name,))


def _octets(rng: Random) -> Entry:
    first = rng.randint(1, 9)
    return Entry(f"10.0.[0:1].[{first}:{first + 1}]", tuple(f"10.0.{a}.{first + b}" for a in (0, 1) for b in (0, 1)))


def _ipv6(rng: Random) -> Entry:
    name = rng.choice(("2001:db8::1", "fe80::a:b", "::2", "2001:DB8:0:0:0:0:0:9"))
    return Entry(name, (name,), is_ipv6=True)


def _groups_of_ipv6(rng: Random) -> Entry:
    return Entry("2001:db8::7:[1:3]", tuple(f"2001:db8::7:{n}" for n in (1, 2, 3)), is_ipv6=True)
