"""The event log: appended, chained, and an edit or a gap is found."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.store import database, events
from controller.store.database import connect
from controller.store.events import FIRST, Event


@pytest.fixture
def base(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Open a store with five events."""
    opened = connect(tmp_path / "a.db")
    for number in range(5):
        events.append(opened, event(number), 1000.0 + number)
    yield opened
    opened.close()


def event(number: int) -> Event:
    return Event(number, "check", "alice", "controller", f"event {number}", {"run": f"R{number}", "exit_code": 0})


def test_an_untouched_log_is_whole(base: sqlite3.Connection) -> None:
    assert list(events.broken(base)) == []
    rows = base.execute("SELECT previous_hash, hash FROM events ORDER BY sequence").fetchall()
    assert rows[0][0] == FIRST
    assert all(after[0] == before[1] for before, after in zip(rows, rows[1:], strict=False))


def test_the_head_is_the_hash_of_the_last_event(base: sqlite3.Connection) -> None:
    head = events.append(base, event(9), 2000.0)
    assert base.execute("SELECT hash FROM events ORDER BY sequence DESC LIMIT 1").fetchone() == (head,)


@pytest.mark.covers("exp:Q4")
@pytest.mark.parametrize("column", ["at", "recorded_at", "kind", "actor", "source", "text", "data", "previous_hash"])
def test_an_edit_of_any_field_is_found(base: sqlite3.Connection, column: str) -> None:
    value: object = 5.5 if column.endswith("at") else "changed"
    base.execute(f"UPDATE events SET {column} = ? WHERE sequence = 3", (value,))
    assert list(events.broken(base)) == [3]


@pytest.mark.covers("exp:Q4")
def test_an_edit_with_a_hash_of_its_own_breaks_the_next_link(base: sqlite3.Connection) -> None:
    forged = sqlite3.connect(":memory:")
    for (statement,) in base.execute("SELECT sql FROM sqlite_schema WHERE tbl_name = 'events' AND sql IS NOT NULL"):
        forged.execute(statement)
    head = events.append(forged, Event(2, "check", "mallory", "controller", "event 2", {}), 1002.0)
    forged.close()
    base.execute("UPDATE events SET actor = 'mallory', hash = ? WHERE sequence = 3", (head,))
    assert list(events.broken(base)) == [3, 4]


@pytest.mark.covers("exp:Q4")
@pytest.mark.parametrize("gone", [1, 2, 3, 4])
def test_a_missing_event_is_found(base: sqlite3.Connection, gone: int) -> None:
    base.execute("DELETE FROM events WHERE sequence = ?", (gone,))
    assert list(events.broken(base)) == [gone + 1]


@pytest.mark.covers("exp:Q4")
def test_two_events_in_the_wrong_order_are_found(base: sqlite3.Connection) -> None:
    base.execute("UPDATE events SET sequence = 99 WHERE sequence = 2")
    assert list(events.broken(base)) == [3, 99]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.builds(
            Event,
            at=st.floats(allow_nan=False, allow_infinity=False),
            kind=st.text(st.characters(codec="utf-8"), max_size=10),
            actor=st.text(st.characters(codec="utf-8"), max_size=10),
            source=st.just("controller"),
            text=st.text(st.characters(codec="utf-8"), max_size=30),
            data=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3),
        ),
        max_size=5,
    )
)
def test_whatever_happened_is_kept_whole(happened: list[Event]) -> None:
    base = sqlite3.connect(":memory:", isolation_level=None)
    database.migrate(base)
    for number, item in enumerate(happened):
        events.append(base, item, float(number))
    assert list(events.broken(base)) == []
    base.close()
