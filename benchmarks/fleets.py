"""Writes inventories of a given size: 50 hosts a group, three levels of groups, three variables a host."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

PER_GROUP = 50
ROLES = 10
CENTRES = 4


def host_name(number: int) -> str:
    """The name of a host, counted from 0."""
    return f"host{number:05}.example"


def ini(folder: Path, count: int) -> Path:
    """One INI file with the variables on the host lines."""
    return _written(folder / "hosts.ini", _ini(count, with_vars=True))


def yaml(folder: Path, count: int) -> Path:
    """The same as one YAML file."""
    return _written(folder / "hosts.yml", _yaml(count))


def script(folder: Path, count: int) -> Path:
    """The same from an executable that prints a file."""
    answer: dict[str, object] = {name: {"hosts": list(hosts)} for name, hosts in _groups(count)}
    answer |= {parent: {"children": list(children)} for parent, children in _parents(count).items()}
    answer["_meta"] = {"hostvars": {host_name(number): _variables(number) for number in range(count)}}
    data = _written(folder / "answer.txt", iter([json.dumps(answer)]))
    path = _written(folder / "hosts", iter(["#!/bin/sh", f"exec cat '{data}'"]))
    path.chmod(0o755)
    return path


def ini_with_vars(folder: Path, count: int) -> Path:
    """The same with the variables in host_vars, and one file of group_vars for each role and for all."""
    path = _written(folder / "hosts.ini", _ini(count, with_vars=False))
    for number in range(count):
        lines = (f"{name}: {json.dumps(value)}" for name, value in _variables(number).items())
        _written(folder / "host_vars" / f"{host_name(number)}.yml", lines)
    for name in ("all", *(f"role{role}" for role in range(ROLES))):
        _written(folder / "group_vars" / f"{name}.yml", iter([f"of_{name}: 1", "shared: {a: 1}"]))
    return path


def memberships(folder: Path) -> Path:
    """18,000 hosts in 108 groups with 58,000 memberships, all said by ranges."""
    lines = []
    for group in range(108):
        start = group * 161
        lines += [f"[g{group}]", f"h[{start:05}:{min(start + 536, 17_999):05}]"]
    return _written(folder / "hosts.ini", iter(lines))


def groups(folder: Path) -> Path:
    """8,500 groups of one host each, below 85 others."""
    lines = []
    for parent in range(85):
        lines += [f"[p{parent}:children]", *(f"g{parent * 100 + child}" for child in range(100))]
    for group in range(8_500):
        lines += [f"[g{group}]", f"h{group} x={group}"]
    return _written(folder / "hosts.ini", iter(lines))


def clear(folder: Path) -> None:
    """Take a fleet away."""
    shutil.rmtree(folder)


def _variables(number: int) -> dict[str, object]:
    return {"ansible_host": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "rack": number % 40, "zone": "a"}


def _groups(count: int) -> Iterator[tuple[str, list[str]]]:
    for group in range((count + PER_GROUP - 1) // PER_GROUP):
        members = range(group * PER_GROUP, min(count, (group + 1) * PER_GROUP))
        yield f"g{group:04}", [host_name(number) for number in members]


def _parents(count: int) -> dict[str, list[str]]:
    """Roles hold groups; centres hold roles' groups as well, so that the two cross."""
    made: dict[str, list[str]] = {"site": [f"role{role}" for role in range(ROLES)]}
    made |= {f"role{role}": [] for role in range(ROLES)} | {f"dc{centre}": [] for centre in range(CENTRES)}
    for number, (name, _) in enumerate(_groups(count)):
        made[f"role{number % ROLES}"].append(name)
        made[f"dc{number // ROLES % CENTRES}"].append(name)
    return made


def _ini(count: int, *, with_vars: bool) -> Iterator[str]:
    number = 0
    for name, hosts in _groups(count):
        yield f"[{name}]"
        for host in hosts:
            pairs = "".join(f" {key}={value}" for key, value in _variables(number).items()) if with_vars else ""
            yield host + pairs
            number += 1
    for parent, children in _parents(count).items():
        yield f"[{parent}:children]"
        yield from children


def _yaml(count: int) -> Iterator[str]:
    number = 0
    for name, hosts in _groups(count):
        yield f"{name}:\n  hosts:"
        for host in hosts:
            yield f"    {host}:"
            for key, value in _variables(number).items():
                yield f"      {key}: {value}"
            number += 1
    for parent, children in _parents(count).items():
        yield f"{parent}:\n  children:"
        for child in children:
            yield f"    {child}:"
        if not children:
            yield "  hosts:"


def _written(path: Path, lines: Iterator[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path
