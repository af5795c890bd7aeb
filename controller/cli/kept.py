"""Finds a kept run by the name it was given, or as `last`."""

import sqlite3
from difflib import get_close_matches

from controller import snoozing
from controller.inventory.origins import InventoryError
from controller.snoozing import Rest
from controller.store import runs, snoozes
from controller.store.runs import Run

LAST = "last"


def run(base: sqlite3.Connection, name: str) -> Run:
    """InventoryError where there is none of that name, with the nearest."""
    wanted = runs.last(base) if name.lower() == LAST else name
    if wanted is None:
        raise InventoryError("there is no last run: none is kept here")
    found = runs.load(base, wanted)
    if found is None:
        close = get_close_matches(name.upper(), runs.names(base), n=1)
        raise InventoryError(
            f"no run {name!r}; " + (f"did you mean {close[0]}?" if close else "`fleetmedic runs list`")
        )
    return found


def rested(base: sqlite3.Connection, whole: Run) -> tuple[Run, Rest]:
    """A run as it was to be shown when it ended, with what was snoozed then."""
    when = whole.started_at + whole.seconds
    return snoozing.apply(whole, snoozes.at(base, when), when)
