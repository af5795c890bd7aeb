"""The command that begins a post-mortem: with a store or without, and what it refuses."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.lab.agents import Desk

BASIC = ("report", "--title", "Database connection pool exhaustion", "--severity", "SEV2")
SLUG = "database-connection-pool-exhaustion"


def names(folder: Path) -> list[str]:
    return sorted(place.name for place in folder.iterdir())


@pytest.mark.covers("exp:I7")
def test_title_severity_and_output_dir_alone_write_two_files_and_print_where_they_are(tmp_path: Path) -> None:
    done = Desk(tmp_path).run(*BASIC, "--output-dir", "post/mortems")
    assert (done.code, done.err) == (0, "")
    made = names(tmp_path / "post/mortems")
    assert [re.sub(r"^\d{4}-\d\d-\d\d-", "", name) for name in made] == [f"{SLUG}.json", f"{SLUG}.md"]
    printed = [Path(line.removeprefix("wrote ")) for line in done.out.splitlines() if line.startswith("wrote ")]
    assert sorted(place.name for place in printed) == made
    assert all(place.is_absolute() and place.is_file() for place in printed)


@pytest.mark.covers("exp:I7", "exp:J3")
def test_without_a_store_none_is_made_and_the_report_says_that_no_runs_were_kept(tmp_path: Path) -> None:
    done = Desk(tmp_path).run(*BASIC, "--output-dir", ".")
    assert "no runs in it: there is no store" in done.out
    assert [name for name in names(tmp_path) if SLUG not in name] == []
    (text,) = [place.read_text() for place in tmp_path.glob("*.md")]
    assert "No runs were kept" in text


@pytest.mark.covers("exp:I7")
def test_the_procedures_own_line_works_as_written(tmp_path: Path) -> None:
    span = ("--start-time", "2024-01-15T14:30:00Z", "--end-time", "2024-01-15T15:15:00Z")
    done = Desk(tmp_path).run(*BASIC, *span, "--output-dir", "./post-mortems/")
    assert done.code == 0, done.err
    assert names(tmp_path / "post-mortems") == [f"2024-01-15-{SLUG}.json", f"2024-01-15-{SLUG}.md"]
    made = json.loads((tmp_path / "post-mortems" / f"2024-01-15-{SLUG}.json").read_text())
    assert (made["start"], made["end"]) == ("2024-01-15T14:30:00Z", "2024-01-15T15:15:00Z")
    text = (tmp_path / "post-mortems" / f"2024-01-15-{SLUG}.md").read_text()
    assert "**SEV2** (major degradation, most users affected), **45m00s**: 2024-01-15 14:30:00Z to" in text
    assert yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))["duration_seconds"] == 2700


@pytest.mark.covers("exp:I7")
def test_files_that_are_there_are_left_and_a_number_is_added_and_said(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    words = (*BASIC, "--start-time", "2024-01-15T14:30Z", "--end-time", "2024-01-15T15:15Z", "--output-dir", "made")
    for number in range(3):
        done = desk.run(*words)
        assert done.code == 0
        if number:
            assert f"2024-01-15-{SLUG} was there already and is left as it is: this one is" in done.out
        (tmp_path / "made" / f"2024-01-15-{SLUG}.md").write_text("mine now")
    stems = [f"2024-01-15-{SLUG}{end}" for end in ("", "-2", "-3")]
    assert names(tmp_path / "made") == sorted(f"{stem}{kind}" for stem in stems for kind in (".md", ".json"))
    assert (tmp_path / "made" / f"{stems[0]}.md").read_text() == "mine now"


@pytest.mark.covers("exp:I7", "exp:I2")
def test_a_sev3_gets_three_sections_and_all_seven_with_full(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for words in ((), ("--full",)):
        assert desk.run("report", "--title", "x", "--severity", "p3", "--output-dir", "made", *words).code == 0
    sections = [len(re.findall("^## ", place.read_text(), re.MULTILINE)) for place in (tmp_path / "made").glob("*.md")]
    assert sorted(sections) == [3, 7]


@pytest.mark.covers("exp:I7", "exp:times")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--severity", "SEV5"), "--severity: 'SEV5' is no severity: SEV1, SEV2, SEV3, SEV4"),
        (("--start-time", "90"), "--start-time: '90': a number of what? Write 90m"),
        (("--end-time", "soon"), "--end-time: 'soon' is no time"),
        (("--start-time", "30m", "--end-time", "1h"), "--start-time 30m: is not before --end-time 1h"),
        (("--start-time", "2999-01-01T00:00Z"), "--start-time 2999-01-01T00:00Z: is still to come"),
        (("--end-time", "2999-01-01T00:00Z"), "--end-time 2999-01-01T00:00Z: is still to come"),
        (("--title", " \t"), "--title: is empty"),
    ],
)
def test_wrong_use_ends_with_64_one_clear_line_and_no_file(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = Desk(tmp_path).run(*BASIC, "--output-dir", "made", *words)
    assert done.code == 64
    assert said in done.err
    assert names(tmp_path) == []


@pytest.mark.parametrize("missing", ["--title", "--severity", "--output-dir"])
def test_title_severity_and_output_dir_are_wanted(tmp_path: Path, missing: str) -> None:
    words = [*BASIC, "--output-dir", "made"]
    place = words.index(missing)
    done = Desk(tmp_path).run(*words[:place], *words[place + 2 :])
    assert (done.code, f"Missing option '{missing}'" in done.err or missing in done.err) == (64, True)


def test_a_folder_that_cannot_be_written_is_one_line_and_1(tmp_path: Path) -> None:
    (tmp_path / "made").write_text("a file")
    done = Desk(tmp_path).run(*BASIC, "--output-dir", "made/deep")
    assert done.code == 1
    assert done.err.startswith("fleetmedic: ")
    assert len(done.err.splitlines()) == 1


def test_a_store_that_is_none_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("no database at all, but long enough to be looked at as one" * 50)
    done = Desk(tmp_path).run(*BASIC, "--output-dir", "made", "--store", "a.db")
    assert done.code == 1
    assert "a.db" in done.err
    assert not (tmp_path / "made").exists()
