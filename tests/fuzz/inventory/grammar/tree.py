"""Draws what YAML, JSON, TOML and script sources have in common: groups with hosts, variables and children."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.fuzz.inventory.grammar import values
from tests.fuzz.inventory.grammar.names import Names

Value = Callable[[Random], object]


@dataclass
class Body:
    """One group; `hosts` has entries as written with their variables, None where nothing is written."""

    hosts: dict[str, dict[str, object] | None] = field(default_factory=dict)
    variables: dict[str, object] = field(default_factory=dict)
    children: dict[str, "Body"] = field(default_factory=dict)


def bodies(rng: Random, names: Names, value: Value, *, is_expanded: bool = False) -> dict[str, Body]:
    """Groups by name. With `is_expanded` hosts are plain names, without ranges and ports."""
    used = rng.sample(names.groups, rng.randint(1, len(names.groups)))
    made = {group: _body(rng, names, value, is_expanded=is_expanded) for group in used}
    for group in used:
        for child in names.children[group]:
            if child in used and rng.random() < 0.9:
                made[group].children[child] = _body(rng, names, value, is_expanded=is_expanded)
    for group in ("all", "ungrouped"):
        if rng.random() < 0.25:
            made[group] = _body(rng, names, value, is_expanded=is_expanded)
    if "all" in made and rng.random() < 0.5:
        below = rng.choice(used)
        made["all"].children[below] = made.pop(below)
    order = rng.sample(list(made), len(made))
    return {name: made[name] for name in order}


def variables(rng: Random, value: Value, most: int = 3) -> dict[str, object]:
    """A few variables; a priority is always a whole number."""
    made: dict[str, object] = {}
    for _ in range(rng.randint(0, most)):
        name = values.name(rng)
        made[name] = values.priority(rng) if name == "ansible_group_priority" else value(rng)
    return made


def _body(rng: Random, names: Names, value: Value, *, is_expanded: bool) -> Body:
    body = Body()
    for entry in rng.sample(names.entries, rng.randint(0, min(3, len(names.entries)))):
        if is_expanded:
            texts = list(entry.names)
        elif entry.takes_port and rng.random() < 0.15:
            texts = [entry.with_port(rng.randint(1, 65535))]
        else:
            texts = [entry.text]
        for text in texts:
            body.hosts[text] = variables(rng, value) if rng.random() < 0.6 else None
    if rng.random() < 0.5:
        body.variables = variables(rng, value)
        if rng.random() < 0.2:
            body.variables["ansible_group_priority"] = values.priority(rng)
    return body
