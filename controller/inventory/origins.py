"""Where something was written, and the error that says so."""

from dataclasses import dataclass
from typing import Self

from controller.inventory.names import printable


@dataclass(frozen=True, slots=True)
class Origin:
    """A place in a source, `file:line`; lines count from 1, and 0 is the whole of it, as of a script's answer."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class InventoryError(Exception):
    """Something in an inventory, or in a pattern over it, is wrong. The message is one line and ends with the mend."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))

    @classmethod
    def at(cls, origin: Origin, what: str, mend: str) -> Self:
        """The error for what stands at a place in a source."""
        return cls(f"{origin}: {what}; {mend}")
