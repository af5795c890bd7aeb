"""The measured corpus: what Ansible answers where we agree, and what we say where we deliberately do not.

`inventories.json` and `patterns.json` ask, `*.expected.json` has what ansible-core 2.19.14 answered and the class of
each case. ours.json has our own: `answers` where we differ without refusing, `refusals` in the words of each.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet
from click.testing import CliRunner

from controller.cli.inventory import command
from controller.cli.inventory.secrets import hidden
from controller.inventory.listing import listing
from controller.inventory.loading import load
from controller.inventory.origins import InventoryError
from controller.inventory.patterns.selecting import select

CORPUS = Path(__file__).parent / "corpus"
OURS = json.loads((CORPUS / "ours.json").read_text())
SOURCES = "inv:S1 inv:S2 inv:S3 inv:S4 inv:S5 inv:S6 inv:S7 inv:S8 inv:S9 inv:S10 inv:S11 inv:S12 inv:S13 inv:S14"
SHAPES = "inv:S15 inv:S16 inv:S17 inv:S18 inv:S19 inv:S20 inv:S21 inv:S22 inv:S23 inv:S24 inv:S25 inv:S26"
MERGING = "inv:S27 inv:S28 inv:S29 inv:S30 inv:S31 inv:S32"
# Settings of Ansible that fleetmedic has not.
SETTINGS = frozenset({"ANSIBLE_HASH_BEHAVIOUR", "ANSIBLE_TRANSFORM_INVALID_GROUP_CHARS"})


def cases(kind: str) -> list[ParameterSet]:
    """Every case with its answer; an id of the table for each set of sources, or each pattern, in the order asked."""
    answers = json.loads((CORPUS / f"{kind}.expected.json").read_text())["results"]
    seen: dict[str, int] = {}
    made = []
    for case in json.loads((CORPUS / f"{kind}.json").read_text())["cases"]:
        same = json.dumps([case["inventory"], case.get("env")]) if kind == "inventories" else case["id"]
        number = seen.setdefault(same, len(seen) + 1)
        covers = f"inv:{'I' if kind == 'inventories' else 'P'}{number}"
        if kind == "inventories" and "limit" in case:
            covers = "inv:I118"
        made.append(pytest.param(case, answers[case["id"]], id=case["id"], marks=[pytest.mark.covers(covers)]))
    return made


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask where the sources are, so that messages name them as they were asked."""
    monkeypatch.chdir(CORPUS / "inv")


def answer(case: Mapping[str, Any]) -> object:
    """What we say to a case, in the form that its answer has."""
    if case["op"] in ("graph", "host"):
        words = [case["op"], *([case["host"], "--format", "json"] if case["op"] == "host" else [])]
        done = CliRunner().invoke(command, [*words, "-i", case["inventory"][0]], catch_exceptions=True)
        if isinstance(done.exception, InventoryError):
            raise done.exception
        return json.loads(done.stdout) if case["op"] == "host" else done.stdout.splitlines()
    inventory = load(case["inventory"])
    chosen = select(inventory, case.get("pattern", "all"), case.get("limit"))
    if case["op"] == "hosts":
        return list(chosen)
    return json.loads(json.dumps(listing(inventory, chosen, hidden, export=case["op"] == "export")))


def theirs(result: Mapping[str, Any], op: str) -> object:
    """Ansible's answer, with our order of hosts where its own is not reproducible."""
    if op == "hosts":
        return result["hosts"] if result["stable"] else result["canonical"]
    if op == "graph":
        return result["graph"]
    if op in ("list", "export"):
        result["result"]["_meta"].pop("profile")
    return result["result"]


def held(case: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    identity = case["id"]
    if identity in OURS["refusals"]:
        with pytest.raises(InventoryError) as refusal:
            answer(case)
        assert str(refusal.value) == OURS["refusals"][identity]
    elif identity in OURS["answers"]:
        assert answer(case) == OURS["answers"][identity]
    else:
        assert expected["class"] == "same" or SETTINGS & case["env"].keys()
        if expected["class"] == "same":
            assert answer(case) == theirs(dict(expected), case["op"])


@pytest.mark.covers(*SOURCES.split(), *SHAPES.split(), *MERGING.split())
@pytest.mark.parametrize(("case", "expected"), cases("inventories"))
def test_a_source_is_answered_as_its_class_says(case: dict[str, Any], expected: dict[str, Any]) -> None:
    held(case, expected)


@pytest.mark.covers("inv:S33", "inv:S34", "inv:S35", "inv:S36", "inv:S37", "inv:P204", "inv:P205")
@pytest.mark.parametrize(("case", "expected"), cases("patterns"))
def test_a_pattern_is_answered_as_its_class_says(case: dict[str, Any], expected: dict[str, Any]) -> None:
    held(case, expected)


def test_every_refusal_names_its_source_and_line_in_one_line_that_ends_with_the_mend() -> None:
    place = re.compile(r"(?:[^: ]+(?::\d+)?|pattern '.*'|limit '.*'|host list '.*'): .+; .+|[^:]+: names \d+ hosts; .+")
    odd = [text for text in OURS["refusals"].values() if not place.fullmatch(text) or not text.isprintable()]
    assert odd == []


@pytest.mark.covers("inv:I2")
def test_the_ranges_beside_the_reversed_one_are_as_ansibles() -> None:
    inventory = load(["02b_range_num_forward.ini"])
    assert inventory.groups["stride"].hosts == ("s0", "s5", "s10", "sp01", "sp05", "sp09")
    assert inventory.groups["mid"].hosts[0] == "rack1-node01.dc.example"
    assert inventory.groups["padded"].hosts == ("p01", "p02", "p03", "p3-008", "p3-009", "p3-010", "p3-011")
    assert (inventory.groups["nostart"].hosts, inventory.groups["one"].hosts) == (("z0", "z1", "z2"), ("only7",))
