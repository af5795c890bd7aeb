"""Opens the store's file and brings it up to this version's schema."""

import re
import sqlite3
from pathlib import Path

MIGRATIONS = Path(__file__).parent / "migrations"
WAIT_SECONDS = 5.0


class StoreError(Exception):
    """The store can't be used; one line says why and what to do."""


def connect(file: Path) -> sqlite3.Connection:
    """The open store, for this user alone. StoreError where it can't be made, is no store, or is a newer version's."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        base = sqlite3.connect(file, timeout=WAIT_SECONDS, isolation_level=None)
        file.chmod(0o600)
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA synchronous = NORMAL")
        base.execute("PRAGMA foreign_keys = ON")
        migrate(base)
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{file}: {error}; move it away, or give another place with --store") from error
    except OSError as error:
        raise StoreError(f"{file}: {error.strerror}; give another place with --store") from error
    return base


def migrate(base: sqlite3.Connection) -> None:
    """Runs the numbered migrations that this file has not had, each in a transaction of its own."""
    (version,) = base.execute("PRAGMA user_version").fetchone()
    steps = sorted(MIGRATIONS.glob("[0-9]*.sql"))
    newest = _number(steps[-1])
    if version > newest:
        raise StoreError(f"the store is of version {version}, this fleetmedic knows {newest}: upgrade it")
    for step in steps:
        number = _number(step)
        if number > version:
            base.executescript(f"BEGIN IMMEDIATE; {step.read_text()}; PRAGMA user_version = {number:d}; COMMIT;")


def _number(step: Path) -> int:
    found = re.match(r"\d+", step.name)
    assert found is not None
    return int(found[0])
