"""Draws sources that are a document of values: JSON, TOML, and what an executable prints."""

import json
import shlex
from random import Random

from tests.fuzz.inventory.grammar import values
from tests.fuzz.inventory.grammar.names import Names
from tests.fuzz.inventory.grammar.tree import Body, bodies, variables


def json_source(rng: Random, names: Names) -> str:
    """A static file of groups as JSON."""
    made = {name: _plain(body) for name, body in bodies(rng, names, value).items()}
    return json.dumps(made, indent=rng.choice((None, 2, "\t")), ensure_ascii=rng.random() < 0.5)


def json_mapping(rng: Random) -> str:
    """A file of variables as JSON."""
    return json.dumps(variables(rng, value, 4), indent=2)


def toml_source(rng: Random, names: Names) -> str:
    """A static file of groups as TOML."""
    lines: list[str] = []
    for name, body in bodies(rng, names, _toml_value).items():
        _toml_group(lines, name, body)
    return "\n".join(lines) + "\n"


def script(rng: Random, names: Names) -> str:
    """An executable that answers --list, and --host where it has no _meta."""
    made: dict[str, object] = {}
    known: dict[str, dict[str, object]] = {}
    for name, body in bodies(rng, names, value, is_expanded=True).items():
        made[name] = _listed(rng, body)
        known.update({host: own for host, own in body.hosts.items() if own})
        for child, below in body.children.items():
            made.setdefault(child, _listed(rng, below))
            known.update({host: own for host, own in below.hosts.items() if own})
    has_meta = rng.random() < 0.6
    if has_meta:
        ghost: dict[str, dict[str, object]] = {"ghost": {"v1": 1}} if rng.random() < 0.2 else {}
        made["_meta"] = {"hostvars": known | ghost}
    lines = ["#!/bin/sh", 'case "$1" in', "--list) cat <<'JSON'", json.dumps(made, indent=1), "JSON", ";;", "--host)"]
    lines.append('case "$2" in')
    if not has_meta:
        for host, own in known.items():
            lines.append(f"{shlex.quote(host)}) printf '%s' {shlex.quote(json.dumps(own))} ;;")
    lines += [f"*) {rng.choice((':', 'echo {}'))} ;;", "esac ;;", "esac"]
    if rng.random() < 0.2:
        lines.insert(1, "echo 'a word on standard error' >&2")
    return "\n".join(lines) + "\n"


def value(rng: Random) -> object:
    """A value that JSON has."""
    return rng.choice(values.JSON_VALUES)


def _plain(body: Body) -> object:
    made: dict[str, object] = {}
    if body.hosts:
        made["hosts"] = body.hosts
    if body.variables:
        made["vars"] = body.variables
    if body.children:
        made["children"] = {name: _plain(below) for name, below in body.children.items()}
    return made or None


def _listed(rng: Random, body: Body) -> object:
    hosts = list(body.hosts)
    if not body.variables and not body.children and hosts and rng.random() < 0.2:
        return hosts
    made: dict[str, object] = {"hosts": hosts}
    if body.variables or rng.random() < 0.3:
        made["vars"] = body.variables
    if body.children or rng.random() < 0.3:
        made["children"] = list(body.children)
    return made


def _toml_value(rng: Random) -> object:
    return rng.choice(values.TOML_VALUES)


def _toml_group(lines: list[str], name: str, body: Body) -> None:
    key = values.quoted(name)
    lines.append(f"[{key}]")
    if body.children:
        lines.append(f"children = [{', '.join(values.quoted(child) for child in body.children)}]")
    if body.variables:
        lines.append(f"[{key}.vars]")
        lines += [f"{values.quoted(field)} = {text}" for field, text in body.variables.items()]
    if body.hosts:
        lines.append(f"[{key}.hosts]")
        for host, own in body.hosts.items():
            inner = ", ".join(f"{values.quoted(field)} = {text}" for field, text in (own or {}).items())
            lines.append(f"{values.quoted(host)} = {{{inner}}}")
