"""Whatever a source or a pattern says, the answer is an inventory, hosts of it, or one line; and formats agree."""

import json
import random
import re
import shlex
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.inventory.graph import Inventory
from controller.inventory.listing import listing
from controller.inventory.loading import load
from controller.inventory.origins import InventoryError
from controller.inventory.patterns.selecting import select
from tests.fuzz.inventory.grammar import documents, ini, patterns
from tests.fuzz.inventory.grammar import yaml as yaml_grammar
from tests.fuzz.inventory.grammar.names import names

SECONDS = 3.0
"""Of processor time, for one source of a few KiB; a range may stand for a hundred thousand hosts."""
GRAMMARS = {
    "hosts.ini": ini.source,
    "hosts": ini.source,
    "hosts.yml": yaml_grammar.source,
    "hosts.json": documents.json_source,
    "hosts.toml": documents.toml_source,
}
SIGNS_OF_SOURCES = """
    [ ] [[ { } : = # ; ' " \\ *a <<: ! !! ~ [0:99999999] [a:z] [::] :vars] :children] _meta 1e400 {{x}}
"""
PIECES = (
    *SIGNS_OF_SOURCES.split(),
    *("&a ", "- ", "\t", "\n", "\r", "\0", "\ufeff", "\u202e", "\x85", "\u2028", "---\n", "plugin: x\n"),
    *("!vault |\n  $ANSIBLE_VAULT;1.1;AES256\n", "9" * 5000, "0x" + "f" * 5000, "(" * 300),
)


def written(inventory: Inventory, *, export: bool = False) -> str:
    """The whole inventory as JSON, so that everything in it was read and can be shown."""
    return json.dumps(listing(inventory, inventory.hosts, lambda _, value: value, export=export), sort_keys=True)


def read(name: str, content: bytes) -> Inventory:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / name
        source.write_bytes(content)
        return load([str(source)])


def refuses_in_one_line(refusal: InventoryError) -> None:
    """A refusal is one printable line that ends with a mend."""
    assert str(refusal).isprintable()
    assert "; " in str(refusal)


def holds_for(name: str, content: bytes) -> None:
    """The source is read, or refused with one line that ends with a mend, in bounded time."""
    start = time.process_time()
    try:
        inventory = read(name, content)
        written(inventory)
    except InventoryError as error:
        refuses_in_one_line(error)
    assert time.process_time() - start < SECONDS


@pytest.mark.covers("inv:PROPERTIES")
@pytest.mark.parametrize("name", list(GRAMMARS))
@settings(database=None, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode(errors="replace")))
def test_any_bytes_are_an_inventory_or_one_line(name: str, content: bytes) -> None:
    holds_for(name, content)


@pytest.mark.covers("inv:PROPERTIES")
@pytest.mark.parametrize("name", list(GRAMMARS))
@settings(database=None, deadline=None)
@given(
    st.integers(0, 10**9), st.lists(st.tuples(st.floats(0, 1), st.sampled_from(PIECES), st.integers(0, 3)), max_size=4)
)
def test_nearly_an_inventory_is_one_or_one_line(name: str, seed: int, edits: list[tuple[float, str, int]]) -> None:
    rng = random.Random(seed)
    text = GRAMMARS[name](rng, names(rng))
    for place, piece, cut in edits:
        at = int(place * len(text))
        text = text[:at] + piece + text[at + cut :]
    holds_for(name, text.encode())


@pytest.mark.covers("inv:PROPERTIES")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("hosts.ini", "[g]\nh x=0x{}\n"),
        ("hosts.ini", "[g]\nh\n[g:vars]\nx=[1, {{'a': 0x{}}}]\n"),
        ("hosts.yml", "g: {{hosts: {{h: {{x: 0x{}}}}}}}"),
        ("hosts.json", '{{"g": {{"hosts": {{"h": {{"x": {}}}}}}}}}'),
        ("hosts.toml", "[g.hosts.h]\nx = {}\n"),
        ("hosts.toml", "[g.hosts.h]\nx = 0x{}\n"),
        ("hosts.toml", "[g.hosts.h]\nx = [{{y = 0x{}}}]\n"),
    ],
)
def test_a_number_that_nobody_could_print_is_refused_with_its_line(name: str, content: str) -> None:
    line = content.count("\n", 0, content.index("{}")) + 1
    with pytest.raises(InventoryError, match=f"{name}:{line}: a number of more than 1000 characters; put it in quotes"):
        read(name, content.format("9" * 5000).encode())


@pytest.mark.covers("inv:S17", "inv:PROPERTIES")
@pytest.mark.parametrize("ensure_ascii", [True, False])
@pytest.mark.parametrize(
    "text", ["a\x85b", "a \u2028 b", " \u2029 ", "\x7f\x80", "\U0001f600", "\ue000", "/", "\\ud83d"]
)
def test_a_json_source_holds_whatever_json_may(text: str, ensure_ascii: bool) -> None:
    source = json.dumps({"g": {"hosts": {"h": {f"v{text}": text}}}}, ensure_ascii=ensure_ascii)
    assert read("hosts.json", source.encode()).host("h").variables[f"v{text}"].value == text


@pytest.mark.covers("inv:PROPERTIES")
def test_a_json_key_that_yaml_has_no_room_for_is_refused_by_name() -> None:
    with pytest.raises(InventoryError, match="hosts.json:1: a key of more than 1,024 characters; shorten it"):
        read("hosts.json", json.dumps({"g": {"hosts": {"h": {"x" * 2000: 1}}}}).encode())


FLEET = read(
    "hosts", b"solo\n[web]\nweb[01:03]\n[db]\ndb01\ndb-2.example\n[eu:children]\nweb\n[odd-1]\n2001:db8::1\nweb01\n"
)
SIGNS_OF_PATTERNS = """
    all * web db eu odd-1 ungrouped solo web01 db-2.example 2001:db8::1 nosuch ! & ~ : ,
    [0] [-1] [0:] [1:0] [0-2] [ ] ~[[w] ? . w @ @x 100% 0% ( |
"""
WORDS = (*SIGNS_OF_PATTERNS.split(), " ", "9" * 5000, "(" * 3000, "{99999999999999999}")


def may_match(term: str) -> set[str]:
    """The most that a plain term can stand for: by its whole text, or by what stands before a subscript."""
    found: set[str] = set()
    for text in {term, re.sub(r"\[[^\]]*\]$", "", term)}:
        for name in (*FLEET.groups, *FLEET.hosts):
            if name == text or (_by_regex(text, name) if text[:1] == "~" else fnmatchcase(name, text)):
                found.update(FLEET.members(name) if name in FLEET.groups else (name,))
    return found


def _by_regex(text: str, name: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return text != "~" and re.match(text[1:], name) is not None
    except (re.error, OverflowError, RecursionError):
        return False


def says_everybody(pattern: str) -> bool:
    """Whether the plain terms of a pattern can stand for all hosts together."""
    terms = [term.strip() for term in (pattern.split(",") if "," in pattern else re.split(r"[\s:]+", pattern))]
    plain = [term for term in (*terms, pattern.strip()) if term and term[0] not in "&!"] or ["all"]
    return pattern.strip() == "100%" or set().union(*map(may_match, plain)) == set(FLEET.hosts)


@pytest.mark.covers("inv:PROPERTIES")
@settings(database=None, deadline=None, max_examples=400)
@given(st.lists(st.sampled_from(WORDS), max_size=7).map("".join) | st.text(max_size=30))
def test_any_pattern_gives_hosts_once_or_one_line_and_everybody_only_where_it_says_so(pattern: str) -> None:
    try:
        chosen = select(FLEET, pattern)
    except InventoryError as error:
        refuses_in_one_line(error)
        return
    assert set(chosen) <= set(FLEET.hosts)
    assert len(set(chosen)) == len(chosen) > 0
    assert set(chosen) != set(FLEET.hosts) or says_everybody(pattern)


@pytest.mark.covers("inv:PROPERTIES")
@settings(database=None, deadline=None)
@given(st.integers(0, 10**9))
def test_a_pattern_of_the_grammar_over_its_inventory_keeps_to_the_hosts_it_has(seed: int) -> None:
    rng = random.Random(seed)
    common = names(rng)
    inventory = read("hosts.ini", ini.source(rng, common).encode())
    limit = patterns.pattern(rng, common) if rng.random() < 0.5 else None
    try:
        chosen = select(inventory, patterns.pattern(rng, common), limit)
    except InventoryError as error:
        refuses_in_one_line(error)
        return
    assert set(chosen) <= set(inventory.hosts)
    assert len(set(chosen)) == len(chosen)


@dataclass(frozen=True)
class Fleet:
    """Groups with their hosts, children and variables, and hosts with theirs, as plain data."""

    hosts: Mapping[str, list[str]]
    children: Mapping[str, list[str]]
    of_group: Mapping[str, dict[str, object]]
    of_host: Mapping[str, dict[str, object]]

    def as_ini(self) -> str:
        lines: list[str] = []
        told: set[str] = set()
        for group, hosts in self.hosts.items():
            lines.append(f"[{group}]")
            for host in hosts:
                own = {} if host in told else self.of_host.get(host, {})
                told.add(host)
                lines.append(" ".join([host, *(f"{key}={shlex.quote(repr(value))}" for key, value in own.items())]))
        for group, children in self.children.items():
            lines += [f"[{group}:children]", *children, f"[{group}:vars]"]
            lines += [f"{key}={value!r}" for key, value in self.of_group.get(group, {}).items()]
        return "\n".join(lines) + "\n"

    def as_toml(self) -> str:
        lines: list[str] = []
        for group, hosts in self.hosts.items():
            lines += [f"[{group}]", f"children = {toml_value(self.children[group])}"]
            lines += [f"vars = {toml_value(self.of_group[group])}"]
            lines += [f"hosts.{host} = {toml_value(self.of_host[host])}" for host in hosts]
        return "\n".join(lines) + "\n"

    def as_mapping(self) -> dict[str, object]:
        return {
            group: {
                "hosts": {host: self.of_host.get(host) for host in hosts},
                "vars": self.of_group.get(group, {}),
                "children": dict.fromkeys(self.children[group]),
            }
            for group, hosts in self.hosts.items()
        }


TERMS = st.sampled_from(
    ["web", "db", "eu", "odd-1", "solo", "w*", "d?*", "~db", "~^web0[12]", "web[0]", "web[1:]", "db[-1]"]
)
SIGNS = st.sampled_from(["", "&", "!"])


@pytest.mark.covers("inv:PROPERTIES", "inv:P205", "inv:S34")
@settings(database=None, deadline=None, max_examples=400)
@given(terms=st.lists(st.tuples(SIGNS, TERMS), min_size=1, max_size=5), by=st.sampled_from([":", ",", " "]))
def test_a_pattern_is_the_union_then_the_intersections_then_the_exclusions(
    terms: list[tuple[str, str]], by: str
) -> None:
    chosen = set(FLEET.hosts) if all(sign for sign, _ in terms) else set()
    for sign, term in sorted(terms, key=lambda pair: "&!".find(pair[0]) if pair[0] else -1):
        these = set(select(FLEET, term))
        chosen = chosen & these if sign == "&" else chosen - these if sign == "!" else chosen | these
    try:
        assert set(select(FLEET, by.join(sign + term for sign, term in terms))) == chosen
    except InventoryError:
        assert not chosen


Values = st.SearchStrategy[object]
PLAIN: Values = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)


def nested_values(leaves: Values) -> Values:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    )


@st.composite
def fleets(draw: st.DrawFn, leaves: Values) -> Fleet:
    """Up to six groups, none inside itself, and eight hosts."""
    variables = st.dictionaries(
        st.sampled_from(("a", "b_1", "ansible_host", "http-port")), nested_values(leaves), max_size=3
    )
    groups = [f"g{number}" for number in range(draw(st.integers(1, 6)))]
    some = st.lists(st.sampled_from([f"h{number}" for number in range(8)]), unique=True, max_size=5)
    later = {group: groups[number + 1 :] for number, group in enumerate(groups)}
    return Fleet(
        {group: draw(some) for group in groups},
        {g: draw(st.lists(st.sampled_from(later[g]), unique=True)) if later[g] else [] for g in groups},
        {group: draw(variables) for group in groups},
        {f"h{number}": draw(variables) for number in range(8)},
    )


@pytest.mark.covers("inv:PROPERTIES", "inv:S5", "inv:S16")
@settings(database=None, deadline=None)
@given(fleets(PLAIN | st.none()))
def test_one_fleet_written_as_ini_yaml_and_json_reads_back_equal(fleet: Fleet) -> None:
    read_back_equal(
        fleet,
        {
            "hosts.ini": fleet.as_ini(),
            "hosts.yml": yaml.safe_dump(fleet.as_mapping(), sort_keys=False),
            "hosts.json": json.dumps(fleet.as_mapping()),
        },
    )


@pytest.mark.covers("inv:PROPERTIES", "inv:S19")
@settings(database=None, deadline=None)
@given(fleets(PLAIN))
def test_one_fleet_without_nulls_written_as_toml_and_json_reads_back_equal(fleet: Fleet) -> None:
    read_back_equal(fleet, {"hosts.toml": fleet.as_toml(), "hosts.json": json.dumps(fleet.as_mapping())})


def toml_value(value: object) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{toml_value(key)} = {toml_value(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_back_equal(fleet: Fleet, texts: Mapping[str, str]) -> None:
    read_back = [read(name, text.encode()) for name, text in texts.items()]
    for inventory in read_back:
        assert {name: inventory.groups[name].hosts for name in fleet.hosts} == {
            name: tuple(hosts) for name, hosts in fleet.hosts.items()
        }
    assert len({written(inventory, export=True) for inventory in read_back}) == 1
    assert len({written(inventory) for inventory in read_back}) == 1
    assert len({tuple(inventory.hosts) for inventory in read_back}) == 1


def nested(rng: random.Random) -> Fleet:
    """Forty groups on four levels, full of diamonds, each telling its name in the variable `who`."""
    levels = [[f"l{level}g{rng.randrange(10**6)}" for _ in range(10)] for level in range(4)]
    groups = [group for level in levels for group in level]
    children: dict[str, list[str]] = {group: [] for group in groups}
    for level, below in zip(levels, levels[1:], strict=False):
        for group in level:
            children[group] = rng.sample(below, rng.randint(0, 4))
    return Fleet(
        {group: [f"h{rng.randrange(200)}" for _ in range(rng.randint(0, 6))] for group in groups},
        children,
        {group: {"who": group} for group in groups},
        {},
    )


@pytest.mark.covers("inv:I129")
def test_a_nested_graph_has_one_order_in_twenty_processes_and_parents_before_children(tmp_path: Path) -> None:
    fleet = nested(random.Random(129))
    source = tmp_path / "hosts.ini"
    source.write_text(fleet.as_ini())
    program = (
        "import json, sys; from controller.inventory.loading import load; i = load(sys.argv[1:]);"
        "h = [i.host(name) for name in i.hosts];"
        "print(json.dumps([[x.name, list(x.groups), x.variables['who'].value] for x in h]))"
    )
    answers = {_answer(program, source, seed) for seed in range(20)}
    assert len(answers) == 1
    for host, groups, winner in json.loads(answers.pop()):
        assert not set(fleet.children[winner]) & set(groups), f"{host}: {winner} has a child that knows better"


def _answer(program: str, source: Path, seed: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, str(source)],
        cwd=Path(__file__).parents[3],
        env={"PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
