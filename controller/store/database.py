"""Opens the store's file and brings it up to this version's schema."""

import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MIGRATIONS = Path(__file__).parent / "migrations"
WAIT_SECONDS = 5.0


class StoreError(Exception):
    """The store can't be used; one line says why and what to do."""


def connect(file: Path) -> sqlite3.Connection:
    """The open store, for this user alone. StoreError where it can't be made, is no store, or is a newer version's."""
    with telling(file):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Born closed to others; a file that was there before, and may be somebody's, keeps its mode. It is not opened
        # here: to close it would drop the locks of whichever connection this process has to it (POSIX).
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        base = sqlite3.connect(file, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            _prepare(base)
        except BaseException:
            base.close()
            raise
    return base


@contextmanager
def telling(file: Path) -> Iterator[None]:
    """Whatever the store's file is in the way of becomes a StoreError."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{file}: {error}; {_mend(error)}") from error
    except OSError as error:
        raise StoreError(f"{file}: {error.strerror}; give another place with --store") from error


def _mend(error: sqlite3.DatabaseError) -> str:
    # The low byte is the kind, the rest says where it happened.
    kind = error.sqlite_errorcode & 0xFF
    if kind in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return "make room, or give another place with --store"
    if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another command holds it: try again"
    return "move it away, or give another place with --store"


def _prepare(base: sqlite3.Connection) -> None:
    (version,) = base.execute("PRAGMA user_version").fetchone()
    if version > newest():
        file = base.execute("PRAGMA database_list").fetchone()[2]
        raise StoreError(f"{file}: is of version {version}, this fleetmedic knows {newest()}: upgrade it")
    _switch_to_wal(base)
    base.execute("PRAGMA synchronous = NORMAL")
    base.execute("PRAGMA foreign_keys = ON")
    migrate(base)


def _switch_to_wal(base: sqlite3.Connection) -> None:
    """Tries again while another command does the same: sqlite's own waiting does not cover this statement."""
    last = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            base.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > last:
                raise
            time.sleep(0.01)
        else:
            return


def newest() -> int:
    """The version of the schema that this fleetmedic writes."""
    return _number(_steps()[-1])


def migrate(base: sqlite3.Connection) -> None:
    """Runs the numbered migrations that this file has not had, all in one transaction or none."""
    with base:
        # The version is read under the lock: two commands may meet a new file at once.
        base.execute("BEGIN IMMEDIATE")
        (version,) = base.execute("PRAGMA user_version").fetchone()
        for step in _steps():
            if _number(step) > version:
                for statement in _statements(step.read_text()):
                    base.execute(statement)
                # A PRAGMA takes no parameters; the number is of a file of ours.
                base.execute(f"PRAGMA user_version = {_number(step):d}")  # nosemgrep: sql-from-strings


def _steps() -> list[Path]:
    return sorted(MIGRATIONS.glob("[0-9]*.sql"))


def _statements(script: str) -> Iterator[str]:
    """One by one, for executescript would end the transaction it is called in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _number(step: Path) -> int:
    found = re.match(r"\d+", step.name)
    assert found is not None
    return int(found[0])
