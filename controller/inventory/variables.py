"""A variable's value and where it was written, which names it may have, and the levels it may come from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from controller.inventory.names import printable, shown
from controller.inventory.origins import InventoryError, Origin

RESERVED = frozenset({"inventory_hostname", "groups", "hostvars", "group_names"})
"""Names that the inventory itself answers; a source's own are dropped with a warning."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

MAX_NUMBER = 1_000
"""The longest number, in characters. Python writes out none of 4300 digits, and YAML 1.1's base 60 is quadratic."""
_MAX_BITS = 4 * MAX_NUMBER  # of the longest hexadecimal one


class Unsafe(str):
    """A text that its source marked as no template (`!unsafe`)."""

    __slots__ = ()


class Encrypted:
    """What stands for a value that ansible-vault encrypted. The cipher text itself is not kept."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "an encrypted value"


ENCRYPTED = Encrypted()


@dataclass(frozen=True, slots=True)
class Variable:
    """A value and where it was written.

    It is str, Unsafe, int, float, bool, None, a date, ENCRYPTED, or a list or dict of these.
    """

    value: object
    origin: Origin
    # Put together from other variables, which may be secret ones.
    rendered: bool = False

    def said(self, part: object = None) -> str:
        """The value, or a part of it, for a message: in quotes, or none of it where it may be a secret."""
        text = str(self.value if part is None else part)
        return "(not shown)" if self.rendered or "@" in text or "://" in text else shown(text)


def check_numbers(value: object, origin: Origin) -> None:
    """Raises InventoryError for a whole number, here or deeper in the value, that nobody could print."""
    if isinstance(value, int):
        if value.bit_length() > _MAX_BITS:
            raise too_long(origin)
    elif isinstance(value, dict):
        check_numbers([*value, *value.values()], origin)
    elif isinstance(value, list | tuple | set):
        for item in value:
            check_numbers(item, origin)


def too_long(origin: Origin) -> InventoryError:
    """The refusal of a number of more than MAX_NUMBER characters."""
    return InventoryError.at(origin, f"a number of more than {MAX_NUMBER} characters", "put it in quotes")


@dataclass(frozen=True, slots=True)
class Layer:
    """Variables from one level: `all`, `group web`, `group_vars/web`, `host` or `host_vars/web01`.

    `encrypted` names the files of the level that are encrypted as a whole: what they set is not known.
    """

    level: str
    variables: Mapping[str, Variable]
    encrypted: tuple[str, ...] = ()


class VariableNames:
    """Which names are taken. What is told of the others is in `warnings`, a line for each name."""

    def __init__(self) -> None:
        self._plain: set[str] = set()
        self._warnings: dict[str, str] = {}

    def take(self, name: object, origin: Origin) -> str | None:
        """The name, or None where the inventory itself answers it. InventoryError for what is no name."""
        if name in self._plain:
            assert isinstance(name, str)
            return name
        if not isinstance(name, str) or not name:
            raise InventoryError.at(
                origin, f"{shown(name)} is not a variable name", "write a name of letters, digits and _, in quotes"
            )
        if name in RESERVED:
            self.warn(name, f"{origin}: {name} is a reserved name; the line is ignored")
            return None
        if _IDENTIFIER.fullmatch(name):
            self._plain.add(name)
        else:
            self.warn(name, f"{origin}: {shown(name)} is no identifier; templates will not find it")
        return name

    def warn(self, about: str, text: str) -> None:
        """Tell something once for each `about`."""
        self._warnings.setdefault(about, printable(text))

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._warnings.values())
