"""The catalogue: rules found by their files, chosen by patterns, and files that are no rule."""

import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from agent import registry
from agent.registry import UnknownRule, load, owner, select

RULES = load()
RULE = '"""The good state."""\nNEEDS = ("redis",)\ndef judge(seen, limits):\n    return []\n'


def chosen(include: Sequence[str] = (), exclude: Sequence[str] = ()) -> list[str]:
    return [rule.id for rule in select(RULES, include, exclude)]


def test_without_patterns_every_rule_is_chosen_in_the_order_of_ids() -> None:
    assert chosen() == sorted(rule.id for rule in RULES)


def test_patterns_choose_without_regard_to_case_and_exclusion_wins() -> None:
    assert chosen(["dns-*", "PG-UP"]) == ["DNS-RESOLVE", "PG-UP"]
    assert chosen(["PG-C*", "PG-UP"], ["*-up"]) == ["PG-CONN-HOG", "PG-CONN-SATURATION"]
    assert chosen((), ["*"]) == []


@pytest.mark.parametrize(
    ("pattern", "suggested"),
    [("PG-LOCKROOT", "PG-LOCK-ROOT"), ("redis-upp", "REDIS-UP"), ("TLS-EXPIRES", "TLS-EXPIRED")],
)
def test_an_unknown_pattern_is_refused_with_what_was_perhaps_meant(pattern: str, suggested: str) -> None:
    for include, exclude in (([pattern], []), ([], [pattern]), (["PG-UP", pattern], [])):
        with pytest.raises(UnknownRule, match=f"no check is named '{pattern}'; did you mean .*{suggested}"):
            chosen(include, exclude)


def test_a_pattern_like_nothing_points_at_the_list() -> None:
    with pytest.raises(UnknownRule, match="fleetmedic describe"):
        chosen(["qqqqqqqq"])


def test_a_probe_has_one_owner_among_the_rules_that_were_chosen() -> None:
    found = owner(RULES, "redis")
    assert found is not None
    assert found.id == "REDIS-UP"
    assert owner(select(RULES, ["PG-*"], []), "redis") is None


@pytest.fixture
def package(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Make an importable package with one area: the area's folder and the package's name."""
    name = f"rules_{tmp_path.name.replace('-', '_')}"
    area = tmp_path / name / "area"
    area.mkdir(parents=True)
    for folder in (area.parent, area):
        (folder / "__init__.py").write_text('"""Test."""\n')
    sys.path.insert(0, str(tmp_path))
    yield area, name
    sys.path.remove(str(tmp_path))
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


def imported(name: str) -> ModuleType:
    importlib.invalidate_caches()
    return importlib.import_module(name)


def test_a_file_is_a_rule_with_its_name_as_id_its_docstring_and_its_limits(package: tuple[Path, str]) -> None:
    area, name = package
    more = 'from agent.rule import Limit\nWARN = Limit("warn", 1, "count", "own")\nNEXT = "do this"\nNEXT_OTHER = ""\n'
    (area / "new_rule_one.py").write_text(
        f'"""Good.\n\nWhy so.\n"""\nNEEDS = ("redis", "docker")\n{more}def judge(s, l):\n    return []\n'
    )
    (made,) = load(imported(name))
    assert (made.id, made.title, made.why, made.needs) == ("NEW-RULE-ONE", "Good.", "Why so.", ("redis", "docker"))
    assert [limit.name for limit in made.limits] == ["warn"]
    assert (made.next_steps, made.unanswered) == (("do this",), None)


@pytest.mark.parametrize(
    "text",
    [
        RULE.replace('"""The good state."""\n', ""),
        RULE.replace("The good state.", ""),
        RULE.replace("NEEDS", "NEEDED"),
        RULE.replace("def judge", "def judged"),
        "",
    ],
    ids=["no docstring", "empty docstring", "no NEEDS", "no judge", "empty file"],
)
def test_a_file_that_is_no_rule_stops_the_agent_and_is_named(package: tuple[Path, str], text: str) -> None:
    area, name = package
    (area / "odd_one.py").write_text(text)
    with pytest.raises(TypeError, match=rf"{name}\.area\.odd_one: a rule has a docstring"):
        load(imported(name))
    assert registry.load() == RULES
