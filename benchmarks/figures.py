"""A measured number beside its bound, and the table of such numbers."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One result: `bound` is the most it may be, None where the number only informs."""

    name: str
    measured: float
    unit: str
    bound: float | None = None

    @property
    def verdict(self) -> str:
        if self.bound is None:
            return ""
        return "met" if self.measured <= self.bound else "missed"


def table(figures: Iterable[Figure]) -> str:
    """Lines of figure, bound, measured, unit and verdict."""
    lines = [f"{'figure':52} {'bound':>9} {'measured':>9}"]
    for each in figures:
        bound = "" if each.bound is None else f"{each.bound:g}"
        lines.append(f"{each.name:52} {bound:>9} {each.measured:9.5g} {each.unit:6} {each.verdict}".rstrip())
    return "\n".join(lines)


def all_met(figures: Iterable[Figure]) -> bool:
    """True unless a figure with a bound is over it."""
    return all(each.verdict != "missed" for each in figures)
