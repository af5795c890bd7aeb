"""How many looks and refusals are written down: a flood of them leaves the changes in the log."""

import fcntl
import json
from pathlib import Path

import pytest

from agent.journal import audit, sparing
from agent.journal.audit import Record
from agent.journal.sparing import Share

LOOK = Record("bob", "observer", "Check", "done", "include HOST-MEM")
STATE = Share.LOOKS.file
MOST = int(sparing.MOST_AT_ONCE)
DAY = 86_400


def written(run: Path, count: int, at: float = 0.0, record: Record = LOOK, share: Share = Share.LOOKS) -> list[str]:
    """Give the details of those that are written, of so many at once."""
    made: list[Record] = []
    for _ in range(count):
        sparing.write(run, record, at, made.append, share)
    return [item.detail for item in made]


@pytest.mark.covers("sec:spared")
def test_of_many_looks_at_once_some_are_written_and_the_next_says_how_many_were_not(tmp_path: Path) -> None:
    assert written(tmp_path, MOST + 7) == [LOOK.detail] * MOST
    assert written(tmp_path, 1, sparing.PAUSE) == [f"(and 7 more before, not written) {LOOK.detail}"]
    assert written(tmp_path, 1, sparing.PAUSE) == []
    assert written(tmp_path, 1, sparing.PAUSE, Record("alice", "observer", "Check", "done", "x")) == ["x"]
    assert oct((tmp_path / STATE).stat().st_mode) == "0o100600"


@pytest.mark.covers("sec:spared")
def test_one_look_a_minute_is_always_written(tmp_path: Path) -> None:
    for minute in range(500):
        assert written(tmp_path, 1, minute * 60.0) == [LOOK.detail]


@pytest.mark.covers("sec:spared")
def test_whoever_looks_or_changes_writes_less_in_a_month_than_pruning_leaves(tmp_path: Path) -> None:
    """Every user there can be, each with the longest records, as fast as they are let, and made up by a front."""
    size, step = 0, 3600
    for at in range(0, DAY, step):
        for user in range(80):
            record = Record(f"u{at} {user}", "observer", "Check", "refused", "\u2026" * 400, break_glass="\u2026" * 400)
            taken = sum(len(written(tmp_path, 6, float(at), record, share)) for share in Share)
            size += taken * 1200
    assert sparing.MOST_BYTES / 2 < size < sparing.MOST_BYTES + DAY * sparing.BYTES_A_SECOND
    assert len(json.loads((tmp_path / STATE).read_text())["each"]) <= sparing.MOST_TOLD_APART + 1
    assert sparing.MOST_BYTES + 26 * DAY * sparing.BYTES_A_SECOND < audit.LEAST_LEFT


@pytest.mark.covers("sec:spared")
@pytest.mark.parametrize("text", ["", "{", "[]", '{"together":{"left":1,"at":0}}', '{"together":{"x":1},"each":{}}'])
def test_what_was_torn_begins_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / STATE).write_text(text)
    assert written(tmp_path, 2) == [LOOK.detail] * 2


def test_of_an_earlier_boot_nothing_is_owed(tmp_path: Path) -> None:
    written(tmp_path, MOST, 1e6)
    assert written(tmp_path, 1, 5.0) == []
    assert len(written(tmp_path, 1, 5.0 + sparing.PAUSE)) == 1


def test_where_the_lock_is_held_a_look_is_not_written_and_does_not_wait(tmp_path: Path) -> None:
    written(tmp_path, 1)
    with (tmp_path / STATE).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert written(tmp_path, 1) == []
    assert written(tmp_path, 1) == [LOOK.detail]


@pytest.mark.covers("sec:spared")
def test_what_could_not_be_written_counts_among_those_before_the_next_that_is(tmp_path: Path) -> None:
    def fails(record: Record) -> None:
        raise audit.AuditError("full")

    for _ in range(3):
        with pytest.raises(audit.AuditError):
            sparing.write(tmp_path, LOOK, 0.0, fails, Share.LOOKS)
    sparing.missed(tmp_path, LOOK, 0.0, Share.LOOKS)
    assert written(tmp_path, 1) == [f"(and 4 more before, not written) {LOOK.detail}"]


@pytest.mark.covers("sec:spared")
def test_looks_use_up_nothing_of_what_changes_may_write(tmp_path: Path) -> None:
    written(tmp_path, MOST)
    assert not sparing.write(tmp_path, LOOK, 0.0, print, Share.LOOKS)
    assert sparing.write(tmp_path, LOOK, 0.0, lambda _: None, Share.CHANGES)
