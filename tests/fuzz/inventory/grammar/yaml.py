"""Draws YAML: whole sources, and mappings of variables, with anchors, merge keys and every kind of scalar."""

from random import Random

from tests.fuzz.inventory.grammar import values
from tests.fuzz.inventory.grammar.names import Names
from tests.fuzz.inventory.grammar.tree import Body, bodies, variables


def source(rng: Random, names: Names) -> str:
    """A whole file of groups."""
    lines: list[str] = []
    if rng.random() < 0.5:
        lines.append(rng.choice(("---", "%YAML 1.1\n---", "# a comment\n---", "--- # c")))
    for name, body in bodies(rng, names, scalar).items():
        lines += _group(rng, name, body, "")
    if rng.random() < 0.1:
        lines.append("...")
    return "\n".join(lines) + "\n"


def mapping(rng: Random, *, most: int = 4) -> str:
    """A file of variables; now and then an empty one."""
    if rng.random() < 0.08:
        return rng.choice(("", "---\n", "# nothing\n", "~\n", "{}\n"))
    lines = ["---"] if rng.random() < 0.5 else []
    lines += _variables(rng, variables(rng, scalar, most) or {"v1": "1"}, "")
    return "\n".join(lines) + "\n"


def scalar(rng: Random) -> object:
    """A value as it is written, several lines of it included."""
    return rng.choice(values.YAML_SCALARS)


def _group(rng: Random, name: str, body: Body, indent: str) -> list[str]:
    parts: list[list[str]] = []
    inner, deeper = indent + "  ", indent + "    "
    if body.hosts or rng.random() < 0.1:
        bare = list(body.hosts) if all(value is None for value in body.hosts.values()) else []
        if len(bare) == 1 and rng.random() < 0.2:
            parts.append([f"{inner}hosts: {values.quoted(bare[0])}"])
        else:
            lines = [f"{inner}hosts:"]
            for host, own in body.hosts.items():
                lines += _host(rng, host, own, deeper)
            parts.append(lines)
    if body.variables or rng.random() < 0.1:
        parts.append([f"{inner}vars:", *_variables(rng, body.variables, deeper)])
    if body.children:
        lines = [f"{inner}children:"]
        for child, below in body.children.items():
            lines += _group(rng, child, below, deeper)
        parts.append(lines)
    rng.shuffle(parts)
    return [f"{indent}{_key(rng, name)}:", *(line for part in parts for line in part)]


def _host(rng: Random, host: str, own: dict[str, object] | None, indent: str) -> list[str]:
    head = f"{indent}{_key(rng, host)}:"
    if not own:
        return [head + rng.choice(("", "", " {}", " ~", " null"))]
    return [head, *_variables(rng, own, indent + "  ")]


def _variables(rng: Random, own: dict[str, object], indent: str) -> list[str]:
    lines = []
    for name, value in own.items():
        lines += _pair(_key(rng, name), str(value), indent)
    if own and rng.random() < 0.12:
        lines += _merged(rng, indent)
    return lines


def _pair(key: str, text: str, indent: str) -> list[str]:
    if not text.endswith("\n"):
        # The second line of a plain or quoted text must stand deeper than the key.
        first, *rest = text.split("\n")
        return [f"{indent}{key}: {first}".rstrip(), *(f"{indent}{line}" for line in rest)]
    first, *rest = text.rstrip("\n").split("\n")
    if first in ("|", ">-"):
        return [f"{indent}{key}: {first}", *(f"{indent}{line}" for line in rest)]
    return [f"{indent}{key}:", *(f"{indent}  {line}" for line in (first, *rest))]


def _merged(rng: Random, indent: str) -> list[str]:
    anchor = f"a{rng.randrange(10**6)}"
    lines = [f"{indent}base: &{anchor} {{v1: base, x: 1, y: [1]}}"]
    kind = rng.randrange(4)
    if kind == 0:
        return [*lines, f"{indent}derived: {{<<: *{anchor}, x: 2}}"]
    if kind == 1:
        return [*lines, f"{indent}derived: {{x: 2, <<: [*{anchor}, {{x: 3, z: 4}}]}}"]
    if kind == 2:
        return [*lines, f"{indent}same: *{anchor}"]
    return [*lines, f"{indent}derived:", f"{indent}  <<: *{anchor}", f"{indent}  z: yes"]


def _key(rng: Random, text: str) -> str:
    is_plain = text[0].isalpha() and text.isascii() and text.replace("_", "").replace("-", "").isalnum()
    if is_plain and text.lower() not in ("true", "false", "yes", "no", "on", "off", "null") and rng.random() < 0.9:
        return text
    return values.quoted(text)
