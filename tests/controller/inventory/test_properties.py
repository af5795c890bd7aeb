"""Whatever a source or a pattern holds, the answer is hosts, or one refusal of one line."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.inventory.draft import Draft
from controller.inventory.graph import Inventory
from controller.inventory.origins import InventoryError
from controller.inventory.patterns.selecting import select
from controller.inventory.sources import ini, toml_source, yaml_source

Reader = Callable[[str, str, Draft], None]
READERS: dict[str, Reader] = {"ini": ini.read, "yaml": yaml_source.read, "toml": toml_source.read}
PIECES = st.sampled_from(
    [
        *(
            "[",
            "]",
            "{",
            "}",
            ":",
            "=",
            ",",
            "\n",
            "  ",
            "#",
            "'",
            '"',
            "\\",
            "&a ",
            "*a",
            "<<: ",
            "- ",
            "!vault ",
            "%",
        ),
        *("web", "all", "hosts", "vars", "children", "[web]", "[web:vars]", "[01:03]", "x=1", "web:\n", "  hosts:\n"),
        *("0x1f", "1e999", "2026-11-24", "\u202e", "é", "\x1b", "~", "!", "$(x)", "../x", "12:30:45"),
    ]
)
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=25).map("".join))


def read(reader: Reader, text: str) -> Inventory:
    draft = Draft()
    reader(text, "source", draft)
    return draft.finish(["source"])


@pytest.mark.covers("sec:B3", "inv:S5", "inv:S16", "inv:S19")
@pytest.mark.parametrize("kind", READERS)
@settings(database=None, max_examples=400, deadline=1000)
@given(text=TEXTS)
def test_any_text_is_an_inventory_or_one_line_that_refuses_it(kind: str, text: str) -> None:
    try:
        inventory = read(READERS[kind], text)
        for host in inventory.resolved(inventory.hosts):
            assert host.name.isprintable()
    except InventoryError as refusal:
        said = str(refusal)
    else:
        return
    assert said.isprintable()
    assert "; " in said


FLEET = read(ini.read, "lone\n[web]\nweb[01:04]\n[db]\ndb[1:3]\n[eu:children]\nweb\n[maint]\nweb02\ndb1\n")
TERMS = st.sampled_from(
    [*("web", "db", "eu", "maint", "lone", "web01", "w*", "d?1", "~db", "~^web0[12]", "web[0]", "web[1:]", "db[-1]")]
)
SIGNS = st.sampled_from(["", "&", "!"])


@pytest.mark.covers("inv:P204", "inv:P205", "inv:S33", "inv:S34")
@settings(database=None, max_examples=500)
@given(pattern=st.one_of(st.text(max_size=30), st.lists(PIECES, max_size=8).map("".join)))
def test_any_pattern_selects_hosts_once_each_or_is_refused_in_one_line(pattern: str) -> None:
    chosen: tuple[str, ...] = ()
    try:
        chosen = select(FLEET, pattern)
    except InventoryError as refusal:
        said = str(refusal)
    else:
        said = ""
    assert said.isprintable()
    if said:
        return
    assert chosen
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= FLEET.hosts.keys()


@pytest.mark.covers("inv:P205", "inv:S34")
@settings(database=None, max_examples=500)
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


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)
VALUES = st.one_of(st.integers(), st.booleans(), st.from_regex(r"[a-z]{1,8}", fullmatch=True))


@pytest.mark.covers("inv:S5", "inv:S16", "inv:S19")
@settings(database=None, max_examples=150)
@given(
    st.dictionaries(
        NAMES.map("g_{}".format),
        st.dictionaries(NAMES.map("h-{}".format), st.dictionaries(NAMES.map("v_{}".format), VALUES, max_size=3)),
        max_size=4,
    )
)
def test_what_is_written_in_any_format_reads_back_the_same(
    fleet: dict[str, dict[str, dict[str, int | bool | str]]],
) -> None:
    as_json = json.dumps({group: {"hosts": hosts} for group, hosts in fleet.items()})
    as_ini = "".join(
        f"[{group}]\n"
        + "".join(f"{host} {' '.join(f'{k}={v}' for k, v in own.items())}\n" for host, own in hosts.items())
        for group, hosts in fleet.items()
    )
    as_toml = "".join(
        f"[{group}.hosts]\n"
        + "".join(
            f"{host} = {{{', '.join(f'{k} = {json.dumps(v)}' for k, v in own.items())}}}\n"
            for host, own in hosts.items()
        )
        for group, hosts in fleet.items()
    )
    made = [read(yaml_source.read, as_json), read(ini.read, as_ini)]
    if all(
        abs(v) < 2**63
        for hosts in fleet.values()
        for own in hosts.values()
        for v in own.values()
        if not isinstance(v, str)
    ):
        made.append(read(toml_source.read, as_toml))
    first, *others = (
        (
            {name: group.hosts for name, group in inventory.groups.items()},
            {
                host.name: {name: variable.value for name, variable in host.variables.items()}
                for host in inventory.resolved(inventory.hosts)
            },
        )
        for inventory in made
    )
    assert all(other == first for other in others)
