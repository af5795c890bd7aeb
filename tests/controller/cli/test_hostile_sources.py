"""Sources made to harm, through the real command: one clear line in less than a second, and no partial fleet."""

import json
import time

import pytest

from tests.lab.agents import Desk

ALIAS_BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
DEEP = "[" * 1000 + "]" * 1000
GOOD_HOST = "[web]\nweb01\n"
TOO_LARGE = GOOD_HOST + "web02 note=harmless\n" * 500_000
FILES: dict[str, tuple[str, str | bytes, str]] = {
    "an alias bomb": ("bomb.yml", ALIAS_BOMB, "aliases stand for more than 10,000 values"),
    "deep YAML": ("deep.yml", f"web: {{hosts: {{web01: }}, vars: {{x: {DEEP}}}}}\n", "nested deeper than 100"),
    "deep JSON": ("deep.json", f'{{"web": {{"vars": {{"x": {DEEP}}}}}}}', "nested deeper than 100"),
    "deep TOML": ("deep.toml", f"[web.vars]\nx = {DEEP}\n", "nested too deep"),
    "deep INI": ("deep.ini", f"{GOOD_HOST}[web:vars]\nx={DEEP}\n", "nested too deep"),
    "a key twice in YAML": (
        "twice.yml",
        "web: {hosts: {a: }}\nweb: {hosts: {b: }}\n",
        "a second time (first in line 1)",
    ),
    "a key twice in JSON": ("twice.json", '{"web": {},\n"web": {}}', "a second time (first in line 1)"),
    "a key twice in TOML": ("twice.toml", "[web.hosts.a]\n[web.hosts.a]\n", "not TOML"),
    "more than 8 MiB of INI": ("large.ini", TOO_LARGE, "larger than 8 MiB"),
    "more than 8 MiB of YAML": ("large.yml", f"# {TOO_LARGE}", "larger than 8 MiB"),
    "NUL in INI": ("nul.ini", f"{GOOD_HOST}we\0b02\n", "a NUL byte"),
    "NUL in YAML": ("nul.yml", "web: {hosts: {a: }}\ndb: {hosts: {b\0c: }}\n", "a NUL byte"),
    "Latin-1 in INI": ("latin.ini", GOOD_HOST.encode() + b"caf\xe9\n", "not UTF-8"),
    "Latin-1 in YAML": ("latin.yml", b"web: {hosts: {web01: , caf\xe9: }}\n", "not UTF-8"),
    "UTF-16": ("wide.ini", GOOD_HOST.encode("utf-16"), "a NUL byte"),
}
NAMES = ["../x", ";$(x)", "web\n01", "web\u202e01", "web\x1b[2J", "-rf", "web/01", "web`x`", "", " "]


def refused(desk: Desk, name: str, content: str | bytes) -> str:
    """The one line that a source is refused with, by a command that lists, and by one that would ask."""
    source = desk.folder / name
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    began = time.monotonic()
    listed = desk.run("inventory", "hosts", "-i", name)
    taken = time.monotonic() - began
    assert (listed.code, listed.out) == (65, "")
    assert listed.err.startswith(f"fleetmedic: {name}:")
    assert listed.err[:-1].isprintable()
    assert taken < 1.0
    assert desk.run("check", "-i", name, "--limit", "web01").err == listed.err
    return listed.err


@pytest.mark.covers("sec:B3")
@pytest.mark.parametrize(("name", "content", "words"), FILES.values(), ids=FILES)
def test_a_hostile_source_is_one_clear_line_in_less_than_a_second(
    desk: Desk, name: str, content: str | bytes, words: str
) -> None:
    assert words in refused(desk, name, content)


@pytest.mark.covers("sec:B3")
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_hostile_name_of_a_host_or_a_group_is_one_clear_line(desk: Desk, name: str) -> None:
    host = refused(desk, "host.json", json.dumps({"web": {"hosts": {"web01": {}, name: {}}}}))
    group = refused(desk, "group.json", json.dumps({"web": {"hosts": {"web01": {}}}, name: {"hosts": {"db01": {}}}}))
    assert host.startswith("fleetmedic: host.json:1: ")
    assert group.startswith("fleetmedic: group.json:1: ")
