"""Where text goes: terminals and pipes, colours and signs."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import pytest

from controller.render.paper import Paper, paper
from tests.controller import terminal


def terminal_paper(environment: Mapping[str, str], *, no_colour: bool = False, ascii_only: bool = False) -> Paper:
    seen: list[Paper] = []

    def write(stream: TextIO) -> None:
        seen.append(paper(stream, environment, 80, no_colour=no_colour, ascii_only=ascii_only))

    terminal.written(80, write)
    return seen[0]


@pytest.mark.covers("exp:R9")
@pytest.mark.parametrize(
    ("environment", "no_colour", "coloured"),
    [
        ({"TERM": "xterm"}, False, True),
        ({}, False, True),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, False, True),
        ({"TERM": "dumb"}, False, False),
        ({}, True, False),
    ],
)
def test_a_terminal_has_colours_unless_told_otherwise(
    environment: Mapping[str, str], no_colour: bool, coloured: bool
) -> None:
    made = terminal_paper(environment, no_colour=no_colour)
    assert made.terminal
    assert made.colour is coloured
    assert made.paint("x", "crit") == ("\x1b[31;1mx\x1b[0m" if coloured else "x")


@pytest.mark.covers("exp:R9")
def test_a_file_has_no_colours_and_no_wrapping(tmp_path: Path) -> None:
    file = tmp_path / "out"
    with file.open("w", encoding="utf-8") as stream:
        made = paper(stream, {"TERM": "xterm"}, 80, no_colour=False)
        made.hanging(made.paint("head ", "crit"), "word " * 60, 5, 5)
    assert file.read_text() == "head " + "word " * 60 + "\n"


@pytest.mark.parametrize(
    ("encoding", "text"), [("utf-8", "✗ größe\n"), ("ascii", "x gr??e\n"), ("latin-1", "x gr??e\n")]
)
def test_signs_fall_back_to_ascii_where_the_stream_knows_no_more(encoding: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "out"
    with file.open("w", encoding=encoding) as stream:
        made = paper(stream, {}, 80, no_colour=False)
        made.write(f"{made.sign('crit')} größe")
    assert file.read_text(encoding) == text


def test_a_terminal_of_the_c_locale_gets_ascii_and_a_pipe_stays_whole(tmp_path: Path) -> None:
    assert terminal_paper({}, ascii_only=True).sign("ok") == "+"
    with (tmp_path / "out").open("w", encoding="utf-8") as stream:
        assert paper(stream, {}, 80, no_colour=False, ascii_only=True).plain("größe") == "größe"


@pytest.mark.parametrize(("columns", "width"), [(20, 60), (80, 80), (110, 110), (400, 110)])
def test_lines_are_neither_too_narrow_nor_too_wide_to_read(columns: int, width: int) -> None:
    with Path(os.devnull).open("w") as stream:
        assert paper(stream, {}, columns, no_colour=False).width == width


def test_a_wrapped_text_hangs_and_a_long_word_stays_whole() -> None:
    long = "x" * 90

    def write(stream: TextIO) -> None:
        paper(stream, {}, 80, no_colour=True).hanging("head ", f"{'word ' * 14}{long} end", 5, 5)

    assert terminal.written(80, write).splitlines() == [f"head {('word ' * 14).strip()}", f"     {long}", "     end"]
