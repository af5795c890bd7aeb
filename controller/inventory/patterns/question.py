"""A pattern, the inventory it is asked of, and what it may look up beside the inventory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from controller.endings import State
from controller.inventory.graph import Inventory
from controller.inventory.names import shown
from controller.inventory.origins import InventoryError

Runs = Callable[[str], Mapping[str, State]]
"""Each host of a kept run and its state there; InventoryError where there is no such run."""


@dataclass(frozen=True, slots=True)
class Means:
    """`runs` answers bad@RUN and the like; with `warn`, a term that matches nothing is told and left out."""

    runs: Runs | None = None
    warn: Callable[[str], None] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A pattern or a limit as it was typed."""

    inventory: Inventory
    pattern: str
    kind: str = "pattern"
    means: Means = field(default_factory=Means)

    def wrong(self, what: str, mend: str) -> InventoryError:
        return InventoryError(f"{self.kind} {shown(self.pattern)}: {what}; {mend}")

    def unmatched(self, what: str, mend: str) -> list[str]:
        """No host, where that is allowed. InventoryError where it is not."""
        if self.means.warn is None:
            raise self.wrong(what, mend)
        self.means.warn(f"{self.kind} {shown(self.pattern)}: {what}: left out (--allow-unmatched)")
        return []
