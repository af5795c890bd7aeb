"""Draws INI sources: sections that repeat, come late or are empty, and lines with every kind of quoting."""

from random import Random

from tests.fuzz.inventory.grammar import values
from tests.fuzz.inventory.grammar.names import Entry, Names

COMMENTS = ("# a comment", "; another", "   # indented", "", "   ", "#[web]", ";x=1")


def source(rng: Random, names: Names) -> str:
    """A whole file. Every group that it uses is declared in it, before or after."""
    used = rng.sample(names.groups, rng.randint(1, len(names.groups)))
    sections: list[list[str]] = []
    for group in used:
        for _ in range(rng.choice((1, 1, 1, 2))):
            sections.append([_head(rng, group, rng.choice(("", "", ":hosts"))), *_hosts(rng, names)])
        inside = [child for child in names.children[group] if child in used]
        if inside and rng.random() < 0.9:
            sections.append([_head(rng, group, ":children"), *(_child(rng, child) for child in inside)])
        if rng.random() < 0.5:
            sections.append([_head(rng, group, ":vars"), *_vars(rng)])
    for group in ("all", "ungrouped"):
        if rng.random() < 0.2:
            sections.append([f"[{group}]", *_hosts(rng, names)])
        if rng.random() < 0.3:
            sections.append([f"[{group}:vars]", *_vars(rng)])
    if rng.random() < 0.1:
        sections.append(["[all:children]", *rng.sample(used, 1)])
    rng.shuffle(sections)
    top = _hosts(rng, names) if rng.random() < 0.5 else []
    lines = [*top, *(line for section in sections for line in section)]
    ending = rng.choices(("\n", "\r\n"), (9, 1))[0]
    return "".join(line + ending for line in _commented(rng, lines))


def _head(rng: Random, group: str, kind: str) -> str:
    return rng.choices(
        (f"[{group}{kind}]", f"[{group}{kind}]  # c", f"  [{group}{kind}]", f"[{group}{kind}]#c"), (9, 1, 1, 1)
    )[0]


def _child(rng: Random, child: str) -> str:
    return rng.choices((child, f"{child} # c", f"  {child}", f"{child}\t"), (9, 1, 1, 1))[0]


def _hosts(rng: Random, names: Names) -> list[str]:
    entries = rng.sample(names.entries, rng.randint(0, min(3, len(names.entries))))
    return [_host(rng, entry) for entry in entries]


def _host(rng: Random, entry: Entry) -> str:
    text = entry.with_port(rng.randint(1, 65535)) if entry.takes_port and rng.random() < 0.15 else entry.text
    if len(entry.names) > 1 and rng.random() < 0.3:
        text = rng.choice(entry.names)
    words = [text]
    for _ in range(rng.choice((0, 0, 1, 2, 3))):
        words.append(_pair(rng))
    line = rng.choice((" ", " ", "  ", "\t")).join(words)
    return rng.choices((line, f"{line} # c", f"  {line}  "), (8, 1, 1))[0]


def _pair(rng: Random) -> str:
    name = values.name(rng)
    if name == "ansible_group_priority":
        return f"{name}={values.priority(rng)}"
    word = rng.choice(values.INI_WORDS)
    return f"'{name}={word}'" if rng.random() < 0.05 and not set(word) & set("'\"\\") else f"{name}={word}"


def _vars(rng: Random) -> list[str]:
    lines = []
    for _ in range(rng.randint(0, 3)):
        name = values.name(rng)
        rest = str(values.priority(rng)) if name == "ansible_group_priority" else rng.choice(values.INI_REST)
        lines.append(f"{name}{rng.choice(('=', '=', ' = ', ' ='))}{rest}")
    if rng.random() < 0.15:
        lines.append(f"ansible_group_priority={values.priority(rng)}")
    return lines


def _commented(rng: Random, lines: list[str]) -> list[str]:
    made = []
    for line in lines:
        if rng.random() < 0.08:
            made.append(rng.choice(COMMENTS))
        made.append(line)
    return made
