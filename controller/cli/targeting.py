"""Which hosts of the inventory a command is for: pattern, limit, and how many are expected."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from controller.cli.options import Desk
from controller.endings import State
from controller.inventory.graph import Host, Inventory
from controller.inventory.origins import InventoryError
from controller.inventory.patterns.question import Means
from controller.inventory.patterns.selecting import select

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


def names(desk: Desk, inventory: Inventory, target: Target) -> tuple[str, ...]:
    """The hosts in target order. InventoryError where the pattern is wrong or fits nobody, or others are expected."""
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
    from controller.store import database  # noqa: PLC0415

    with contextlib.closing(database.connect(Path(desk.text("store")))) as base:
        return {report.host: report.state for report in kept.run(base, name).reports}
