"""Options that all commands have that change hosts, and what they come to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from controller.change import batches, budget
from controller.change.batches import Batch, Size
from controller.change.budget import Limit
from controller.cli import options

F = TypeVar("F", bound=Callable[..., Any])
LONGEST_REASON = 200
CODES = (
    "Exit codes: 0 done, or nothing to do; 2 some host failed or was not cured; 4 some gave no answer; 8 stopped by "
    "the budget or the canary, with hosts left as they are (added to each other); 64 wrong use, or nobody agreed; 65 "
    "no such host or plan; 75 refused, and nothing was changed; 77 our certificate can't be used; 130 interrupted."
)
AGREEING = (
    click.option("-y", "--yes", is_flag=True, help="Apply without asking, where the risk is not high."),
    click.option(
        "--confirm", metavar="NAME", help="The same where it is high: the plan's, the pattern's or one host's."
    ),
    click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the hosts' audit logs."),
    click.option("--serial", default=batches.USUAL, metavar="SIZES", help="Hosts at once, batch by batch [1,25%]."),
    click.option("--max-fail", default="0", metavar="N|N%", help="Hosts that may end badly before it stops [0]."),
    click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people, or JSON."),
    options.NO_COLOUR,
)
EXPLAIN = click.option("--explain", is_flag=True, help="Show the same by hand, command by command.")
DRY_RUN = click.option("-n", "--dry-run", is_flag=True, help="Only plan; nothing is changed.")
FORCE = click.option("--force", is_flag=True, help="Past the limit of twice in half an hour; needs --reason.")


@dataclass(frozen=True, slots=True)
class Choices:
    """As typed."""

    yes: bool
    confirm: str | None
    reason: str
    serial: str
    max_fail: str
    form: str
    no_colour: bool
    dry_run: bool = False
    force: bool = False
    explain: bool = False

    def __post_init__(self) -> None:
        """UsageError before any host is asked."""
        if self.force and not self.reason.strip():
            raise click.UsageError("--force needs a --reason, which others will read")
        if len(self.reason) > LONGEST_REASON or not self.reason.isprintable():
            raise click.UsageError(f"--reason: one line of at most {LONGEST_REASON} printable characters")
        self.sizes()
        self.limit()

    def sizes(self) -> tuple[Size, ...]:
        try:
            return batches.parse(self.serial)
        except ValueError as error:
            raise click.UsageError(f"--serial {error}") from error

    def batches(self, hosts: "tuple[str, ...]") -> tuple[Batch, ...]:
        try:
            return batches.split(hosts, self.sizes())
        except ValueError as error:
            raise click.UsageError(f"--serial {self.serial}: {error}") from error

    def limit(self) -> Limit:
        try:
            return budget.parse(self.max_fail)
        except ValueError as error:
            raise click.UsageError(f"--max-fail: {error}") from error

    def again(self) -> str:
        """The flags that a printed command needs, to do the same."""
        made = "" if self.serial == batches.USUAL else f" --serial {self.serial}"
        return made + ("" if self.max_fail == "0" else f" --max-fail {self.max_fail}")
