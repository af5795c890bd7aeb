"""The store as a check uses it: snoozes and an earlier run before, this run after."""

import contextlib
import random
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from controller import cut_logs
from controller.cli import kept
from controller.cli.options import Desk
from controller.store import audit_heads, database, runs, snoozes
from controller.store.audit_heads import Head
from controller.store.database import StoreError
from controller.store.runs import Run
from controller.store.snoozes import Snooze


class Keeping:
    """Opened when first needed, and tried no more than once: a store that is in the way must not hold a check up."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._place = Path(desk.text("store"))
        self._base: sqlite3.Connection | None = None
        self._error: StoreError | None = None

    def __enter__(self) -> "Keeping":
        return self

    def __exit__(self, *_: object) -> None:
        if self._base is not None:
            self._base.close()

    def snoozes(self) -> tuple[Snooze, ...]:
        """Those that hold, or ended since the last run; none where the store can't be read, which `keep` will say."""
        with contextlib.suppress(StoreError), self._opened() as base:
            return snoozes.since_last_run(base)
        return ()

    def heads(self) -> Mapping[str, Head]:
        """Of each host's audit log what it had at the last look; none where the store can't be read."""
        with contextlib.suppress(StoreError), self._opened() as base:
            return audit_heads.last(base)
        return {}

    def keep(self, run: Run, *, audited: bool) -> Run:
        """The run with its name in the store. StoreError where it can't be kept. `audited`: with its agents' heads."""
        actor, now = self._desk.actor(), time.time()
        with self._opened() as base:
            named = replace(run, id=runs.new_id(base, random.SystemRandom().choice))
            runs.save(base, named, actor, now)
            if audited:
                heads = cut_logs.heads(named.id, now, named.reports)
                audit_heads.save(base, heads, cut_logs.events(named.id, now, actor, named.reports), now)
        return named

    def named(self, name: str) -> Run:
        """A kept run, or `last`. InventoryError where there is none, StoreError where the store can't be read."""
        with self._opened() as base:
            return kept.run(base, name)

    def last_alike(self, pattern: str, inventory: str, asked: str) -> Run | None:
        """The last run of the same pattern, inventory and question."""
        with self._opened() as base:
            name = runs.last_alike(base, pattern, inventory, asked)
            return None if name is None else runs.load(base, name)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        if self._error is not None:
            raise self._error
        if self._base is None:
            try:
                self._base = database.connect(self._place)
            except StoreError as error:
                self._error = error
                raise
        with database.telling(self._place):
            yield self._base
