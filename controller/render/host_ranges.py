"""Host names folded for people: app01 app02 app03 app05 becomes app01-03,05."""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

# ASCII digits: others would come back as other characters.
NUMBERED = re.compile(r"(.*?)([0-9]+)([^0-9]*)")
# After such a head a range could be read as a part of the name: ip-10-2 and ip-10-3.
ENDS_LIKE_A_RANGE = re.compile(r"[0-9][-,]$")


def fold(names: Iterable[str]) -> str:
    """Names that differ in one number only become ranges; the order of first appearance is kept."""
    families: dict[tuple[str, int, str], list[int]] = {}
    order: list[tuple[str, int, str] | str] = []
    for name in names:
        # The digits of an IPv6 address are sixteen.
        found = None if ":" in name else NUMBERED.fullmatch(name)
        if found is None:
            order.append(name)
            continue
        family = (found[1], len(found[2]) if found[2].startswith("0") else 0, found[3])
        # 08 and 10 are of one width; 8 and 10 are of none.
        family = _same_width(families, family, len(found[2]))
        if family not in families:
            families[family] = []
            order.append(family)
        families[family].append(int(found[2]))
    return " ".join(item if isinstance(item, str) else _written(item, families[item]) for item in order)


def _same_width(
    families: dict[tuple[str, int, str], list[int]], family: tuple[str, int, str], digits: int
) -> tuple[str, int, str]:
    padded = (family[0], digits, family[2])
    return padded if padded in families else family


def _written(family: tuple[str, int, str], numbers: Sequence[int]) -> str:
    head, width, tail = family
    parts = []
    ordered = sorted(set(numbers))
    for _, run in groupby(enumerate(ordered), key=lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        first, last = f"{members[0]:0{width}d}", f"{members[-1]:0{width}d}"
        if len(members) == 2:
            parts.append(f"{first},{last}")
        else:
            parts.append(first if len(members) == 1 else f"{first}-{last}")
    written = ",".join(parts)
    plain = len(ordered) == 1 or not (tail or ENDS_LIKE_A_RANGE.search(head))
    return f"{head}{written}{tail}" if plain else f"{head}[{written}]{tail}"
