"""Which hosts are changed together: `--serial` as it is typed, and the batches that it makes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

USUAL = "1,25%"
PART = re.compile(r"([0-9]{1,6})(%?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Size:
    """So many hosts, or per cent of those that are selected."""

    number: int
    percent: bool

    def of(self, selected: int) -> int:
        """At least one."""
        return max(1, selected * self.number // 100 if self.percent else self.number)

    @property
    def everybody(self) -> bool:
        return self.percent and self.number == 100


@dataclass(frozen=True, slots=True)
class Batch:
    """The canary goes first: where it is not well, nobody follows."""

    hosts: tuple[str, ...]
    canary: bool


def parse(text: str) -> tuple[Size, ...]:
    """ValueError says what is wrong."""
    return tuple(_size(part.strip(), text) for part in text.split(","))


def _size(part: str, text: str) -> Size:
    found = PART.fullmatch(part)
    if found is None:
        raise ValueError(f"{text!r}: sizes of batches are numbers or per cent, such as {USUAL}")
    made = Size(int(found[1]), found[2] == "%")
    if made.number == 0 or (made.percent and made.number > 100):
        raise ValueError(f"{text!r}: a batch has at least one host, and at most 100%")
    return made


def split(hosts: Sequence[str], sizes: Sequence[Size]) -> tuple[Batch, ...]:
    """In the order given; the last size goes for all that are left. ValueError where all would go at once unasked."""
    selected, place, made = len(hosts), 0, []
    for number in range(selected):
        if place >= selected:
            break
        size = sizes[min(number, len(sizes) - 1)]
        taken = tuple(hosts[place : place + size.of(selected)])
        if len(taken) == selected > 1 and not size.everybody:
            raise ValueError(f"that takes all {selected} hosts at once: write 100% where it is meant")
        made.append(Batch(taken, canary=number == 0 and len(sizes) > 1))
        place += len(taken)
    return tuple(made)
