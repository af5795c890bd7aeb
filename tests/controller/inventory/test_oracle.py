"""A fixed share of the fuzzing: drawn inventories and patterns mean to us what they mean to ansible-core."""

from pathlib import Path

import pytest

from tests.fuzz.inventory.__main__ import run
from tests.fuzz.inventory.grammar import draw

# Spread over all kinds of sources, found by what they draw; the rest is `make fuzz-inventory`.
SEEDS = (*range(9000, 9010), 9013, 9018, 51, 104)


@pytest.mark.covers("inv:FUZZ")
def test_what_is_drawn_at_random_is_answered_as_ansible_answers_or_otherwise_on_purpose(tmp_path: Path) -> None:
    unexplained = [
        f"seed {made.seed}: {each}" for made, found in run(SEEDS, tmp_path) for each in found if each.name is None
    ]
    assert not unexplained, "\n".join([*unexplained, "see python -m tests.fuzz.inventory --only SEED"])


def test_the_share_has_every_kind_of_source_a_fault_a_limit_and_group_vars() -> None:
    draws = [draw(seed) for seed in SEEDS]
    paths = [file.path for made in draws for file in made.files]
    names = {path.rpartition("/")[2].partition(".")[2] for path in paths}
    assert {"ini", "yml", "json", "toml"} <= names
    assert any(file.is_executable for made in draws for file in made.files)
    assert any("," in source for made in draws for source in made.sources)
    assert any("/group_vars/" in path for path in paths)
    assert any("/host_vars/" in path for path in paths)
    assert any(source.startswith("ROOT/d") for made in draws for source in made.sources)
    assert any(made.broken for made in draws)
    assert any(question.limit for made in draws for question in made.questions)
