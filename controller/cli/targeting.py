"""Which hosts of the inventory a command is for: pattern, limit, and how many are expected."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from controller.cli.options import Desk
from controller.endings import State
from controller.inventory.graph import Host, Inventory
from controller.inventory.origins import InventoryError
from controller.inventory.patterns.matching import SELECTIONS
from controller.inventory.patterns.question import Means
from controller.inventory.patterns.selecting import select

if TYPE_CHECKING:
    import sqlite3

# A term of a pattern that speaks of the last run.
_OF_LAST = re.compile(rf"((?:^|(?<=[\s,:&!]))(?:{'|'.join(SELECTIONS)})@)(?i:last)(?=$|[\s,:])")

LIMIT = click.option(
    "-l",
    "--limit",
    metavar="PATTERN",
    help="Of these hosts only those: a pattern too, @FILE, bad@RUN (notok@, ok@, unreachable@, notstarted@), or 10%.",
)
ALLOW_UNMATCHED = click.option(
    "--allow-unmatched", is_flag=True, help="Leave out, with a warning, what matches no host; else that is an error."
)
EXPECT = click.option(
    "--expect", metavar="N", type=click.IntRange(0), help="Refuse to begin unless it is exactly this many hosts."
)
OPTIONS = (
    LIMIT,
    click.option("--list-hosts", is_flag=True, help="Only print the hosts that would be asked, a name a line."),
    EXPECT,
    ALLOW_UNMATCHED,
)


@dataclass(frozen=True, slots=True)
class Target:
    """Which hosts, as it was typed; without a pattern, all."""

    pattern: str | None = None
    limit: str | None = None
    expect: int | None = None
    allow_unmatched: bool = False

    @property
    def asked(self) -> str:
        return "all" if self.pattern is None else self.pattern

    def expected(self, count: int) -> None:
        """InventoryError where the hosts are not as many as was said."""
        if self.expect is not None and self.expect != count:
            raise InventoryError(f"--expect {self.expect}: {count} selected; nobody was asked, see --list-hosts")


def settled(desk: Desk, target: Target) -> Target:
    """With the run's own name in the place of `last`, so that what is kept and printed means the same tomorrow.

    InventoryError where no run of this inventory is kept; StoreError.
    """
    given = (target.pattern, target.limit)
    if not desk.sources() or not any(text is not None and _OF_LAST.search(text) for text in given):
        return target
    newest = _newest(desk)
    pattern, limit = (text and _OF_LAST.sub(lambda found: f"{found[1]}{newest}", text) for text in given)
    return replace(target, pattern=pattern, limit=limit)


def names(desk: Desk, inventory: Inventory, target: Target) -> tuple[str, ...]:
    """The hosts in target order. InventoryError where the pattern is wrong or fits nobody, or others are expected."""
    target = settled(desk, target)
    means = Means(lambda run: _states(desk, run), desk.warn if target.allow_unmatched else None)
    chosen = select(inventory, target.asked, target.limit, means)
    target.expected(len(chosen))
    return chosen


def listed(names: Iterable[str]) -> None:
    """A name a line, for people and for the next command."""
    for name in names:
        click.echo(name)


def hosts(desk: Desk, target: Target) -> tuple[Host, ...]:
    """Those hosts with their variables; what the inventory warns of is told."""
    inventory = desk.inventory()
    chosen = names(desk, inventory, target)
    if not chosen:
        raise InventoryError(f"{target.asked}: no host; the inventory {' '.join(inventory.sources)} is empty")
    made = inventory.resolved(chosen)
    for warning in inventory.warnings:
        desk.warn(warning)
    return made


def _states(desk: Desk, name: str) -> Mapping[str, State]:
    """Each host of a kept run and how it ended."""
    from controller.cli import kept  # noqa: PLC0415 - few ask for it

    with _store(desk) as base:
        found = kept.run(base, _newest(desk) if name.lower() == kept.LAST else name)
    if found.inventory != desk.fleet():
        whose = f"of the inventory {found.inventory}" if found.inventory else "of one machine, without an inventory"
        desk.warn(f"run {found.id} is {whose}: its hosts are looked for by name in {desk.fleet()}")
    return {report.host: report.state for report in found.reports}


def _newest(desk: Desk) -> str:
    from controller.store import runs  # noqa: PLC0415 - few ask for it

    with _store(desk) as base:
        newest = runs.newest(base, desk.fleet())
    if newest is None:
        raise InventoryError("there is no last run: none of this inventory is kept here; `fleetmedic runs list`")
    return newest


@contextlib.contextmanager
def _store(desk: Desk) -> "Iterator[sqlite3.Connection]":
    from controller.store import database  # noqa: PLC0415 - few ask for it

    with contextlib.closing(database.connect(Path(desk.text("store")))) as base:
        yield base
