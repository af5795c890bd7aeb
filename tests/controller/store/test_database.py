"""The store's file: made for one user alone, brought up to date once, and never a stranger's file."""

import contextlib
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from controller.store import database
from controller.store.database import StoreError, connect, newest

ROOT = Path(__file__).parents[3]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def schema(base: sqlite3.Connection) -> list[str]:
    return [row[0] for row in base.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")]


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    file.touch()
    base = connect(file)
    assert base.execute("PRAGMA user_version").fetchone() == (newest(),)
    assert {"events", "runs", "reports", "findings"} <= {
        row[0] for row in base.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    }
    base.close()


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    base = connect(tmp_path / "a.db")
    before = schema(base)
    database.migrate(base)
    assert schema(base) == before
    base.close()
    again = connect(tmp_path / "a.db")
    assert schema(again) == before
    again.close()


def test_the_migrations_are_numbered_without_a_gap() -> None:
    numbers = [int(file.name[:4]) for file in sorted(database.MIGRATIONS.glob("*.sql"))]
    assert numbers == list(range(1, newest() + 1))


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    base = sqlite3.connect(file, isolation_level=None)
    base.execute("CREATE TABLE findings (in_the_way TEXT)")
    before = schema(base)
    with pytest.raises(StoreError, match=r"a\.db: table findings already exists; move it away"):
        connect(file)
    assert schema(base) == before
    assert base.execute("PRAGMA user_version").fetchone() == (0,)
    base.close()


def test_a_store_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    connect(file).close()
    base = sqlite3.connect(file)
    base.execute(f"PRAGMA user_version = {newest() + 1}")
    base.commit()
    base.close()
    before = file.read_bytes()
    with pytest.raises(StoreError) as refusal:
        connect(file)
    assert str(refusal.value) == (f"{file}: is of version {newest() + 1}, this fleetmedic knows {newest()}: upgrade it")
    assert file.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("remember the milk\n" * 100)
    file.chmod(0o644)
    with pytest.raises(StoreError) as refusal:
        connect(file)
    assert str(refusal.value) == f"{file}: file is not a database; move it away, or give another place with --store"
    assert file.read_text() == "remember the milk\n" * 100
    assert mode(file) == 0o644


def test_folder_and_file_are_for_their_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "state" / "fleetmedic" / "a.db"
    base = connect(file)
    base.execute("BEGIN IMMEDIATE")
    assert mode(file.parent) == 0o700
    made = sorted(file.parent.iterdir())
    assert [path.name for path in made] == ["a.db", "a.db-shm", "a.db-wal"]
    assert {mode(path) for path in made} == {0o600}
    base.close()


READER = """
import sqlite3, sys
base = sqlite3.connect(sys.argv[1])
base.execute("SELECT count(*) FROM sqlite_master").fetchall()
base.close()
"""


def test_a_second_connection_of_one_command_leaves_the_first_one_its_locks(tmp_path: Path) -> None:
    """Else another command's end takes the log away from under the first one, which then writes into nothing."""
    file = tmp_path / "a.db"
    with contextlib.closing(connect(file)) as first:
        connect(file).close()
        subprocess.run([sys.executable, "-c", READER, file], check=True)
        assert (tmp_path / "a.db-wal").exists()
        first.execute("SELECT count(*) FROM sqlite_master").fetchall()


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/a\.db: .*; give another place with --store"):
        connect(tmp_path / "file" / "a.db")
    with pytest.raises(StoreError, match=r"give another place with --store"):
        connect(tmp_path)


MAKER = """
import sys
from pathlib import Path
from controller.store.database import connect
sys.stdin.read()
connect(Path(sys.argv[1])).close()
"""


def test_many_commands_may_meet_a_new_store_at_once(tmp_path: Path) -> None:
    for number in range(3):
        file = tmp_path / f"{number}.db"
        makers = [
            subprocess.Popen(
                [sys.executable, "-c", MAKER, file], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
            )
            for _ in range(4)
        ]
        for maker in makers:
            assert maker.stdin
            maker.stdin.close()
        said = [maker.stderr.read() for maker in makers if maker.stderr]
        codes = [maker.wait(60) for maker in makers]
        for maker in makers:
            if maker.stderr:
                maker.stderr.close()
        assert (codes, said) == ([0] * 4, [""] * 4)
