"""A share of what `make soak` does with malformed requests, hostile answers and broken inventories."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fuzz.hostile import answers, messages, sources
from tests.lab.authority import Authority


@pytest.mark.covers("sec:B7")
def test_five_hundred_hostile_answers_leave_the_controller_alive_and_its_folder_alone(
    tmp_path: Path, authority: Authority
) -> None:
    desk = tmp_path / "desk"
    desk.mkdir()
    with contextlib.chdir(desk):
        seen = answers.run(500, authority, desk / "out")
    assert sum(seen.values()) == 500
    assert seen["check failed"]
    assert seen["check ok"]
    assert seen["describe failed"]
    assert seen["describe ok"]
    hosts = [f"evil{number:02d}" for number in range(answers.HOSTS)]
    assert {file.relative_to(desk) for file in tmp_path.rglob("*") if file.is_file()} == {
        Path("out") / f"{name}.{kind}" for name in (*hosts, "summary") for kind in ("json", "txt")
    }


@pytest.mark.covers("sec:B1")
def test_malformed_requests_are_invalid_and_whole_ones_never_end_in_a_bug(tmp_path: Path) -> None:
    """A hundred for each method; test_access.py has ten thousand random ones in the handler itself."""
    seen = messages.to_front(100, tmp_path, datetime.now(UTC))  # noqa: TID251 - certificates of now
    assert seen["INVALID_ARGUMENT"] > 500
    assert seen["OK"] > 20


@pytest.mark.covers("sec:B1")
def test_five_thousand_broken_streams_are_frames_or_refused() -> None:
    seen = messages.to_frames(5000)
    assert seen["refused"] > 4000
    assert seen["read"] > 100


@pytest.mark.covers("sec:B3")
def test_inventories_that_nearly_are_one_are_read_or_refused_in_one_line() -> None:
    seen = sources.run(1.0)
    assert sum(count for what, count in seen.items() if what.endswith("refused")) > 5
