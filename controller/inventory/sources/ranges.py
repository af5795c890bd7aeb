"""From one written host entry to host names: `[01:50]` and `[a:f]` ranges, and the port after a colon."""

import re
from collections.abc import Iterator
from itertools import product
from string import ascii_letters

from controller.inventory.names import host_flaw, is_ipv6, shown
from controller.inventory.origins import InventoryError, Origin

MAX_HOSTS = 100_000
"""Hosts that one entry may stand for."""

_BRACKETED_PORT = re.compile(r"\[(.+)\]:([0-9]+)")
# What Ansible takes a port off; of any other text, as `web_:22`, it makes one name.
_BEFORE_PORT = re.compile(r"\w[\w-]*(?<![_-])(?:\.\w[\w-]*(?<![_-]))*")
_SEGMENT = re.compile(r"\[([^\[\]]*)\]")
_BOUNDS = "write [begin:end] or [begin:end:step], for example web[01:12]"


def expand(text: str, origin: Origin) -> tuple[list[str], int | None]:
    """The host names that an entry stands for, and its port if it has one.

    Raises InventoryError for a range, a port or a name that is not one.
    """
    if "[" not in text and "]" not in text and ":" not in text:
        return [checked(text, origin)], None
    written, port = split_port(text, origin)
    return [checked(name, origin) for name in _names(written, origin)], port


def literal(text: str, origin: Origin) -> tuple[str, int | None]:
    """The one host name of a host list's entry, where brackets are no range, and its port."""
    written, port = split_port(text, origin)
    return checked(written, origin), port


def checked(name: str, origin: Origin) -> str:
    """The name, if it is a safe host name."""
    flaw = host_flaw(name)
    if flaw is not None:
        raise InventoryError.at(origin, f"{shown(name)} is not a host name: {flaw}", "rename the host")
    return name


def split_port(text: str, origin: Origin) -> tuple[str, int | None]:
    """An entry without its port, and the port: `host:22`, `[2001:db8::1]:22`; a bare IPv6 address has none."""
    bracketed = _BRACKETED_PORT.fullmatch(text)
    if bracketed is not None and _is_one_address(bracketed[1]):
        return bracketed[1], _port(bracketed[2], text, origin)
    outside = _SEGMENT.sub("", text)
    if outside.count(":") != 1:
        return text, None
    at = text.rindex(":")
    port = _port(text[at + 1 :], text, origin)
    if not _BEFORE_PORT.fullmatch(_SEGMENT.sub("1", text[:at])):
        what = f"{shown(text)} is no host with a port: Ansible reads it as one name"
        raise InventoryError.at(origin, what, f"write ansible_port={port} instead")
    return text[:at], port


def _is_one_address(inside: str) -> bool:
    plain = _SEGMENT.sub("1", inside)
    return "[" not in plain and "]" not in plain and (":" not in plain or is_ipv6(plain))


def _port(digits: str, text: str, origin: Origin) -> int:
    if digits.isascii() and digits.isdigit() and len(digits) <= 5 and 1 <= int(digits) <= 65535:
        return int(digits)
    raise InventoryError.at(
        origin, f"{shown(text)} is not a host name: no port after ':'", "write host, host:port or [IPv6]:port"
    )


def _names(text: str, origin: Origin) -> Iterator[str]:
    pieces = _SEGMENT.split(text)
    if any("[" in piece or "]" in piece for piece in pieces[::2]):
        raise InventoryError.at(origin, f"{shown(text)} has a bracket without its other half", _BOUNDS)
    count = 1
    choices: list[list[str]] = []
    for index, piece in enumerate(pieces):
        choice = _values(piece, text, origin) if index % 2 else [piece]
        count *= len(choice)
        if count > MAX_HOSTS:
            raise _too_many(text, origin)
        choices.append(choice)
    return map("".join, product(*choices))


def _values(inside: str, text: str, origin: Origin) -> list[str]:
    bounds = inside.split(":")
    if len(bounds) not in (2, 3):
        raise InventoryError.at(origin, f"{shown(text)} has [{inside[:20]!a}] where a range belongs", _BOUNDS)
    begin, end = bounds[0] or "0", bounds[1]
    step = bounds[2] if len(bounds) == 3 else "1"
    if not end:
        raise InventoryError.at(origin, f"the range in {shown(text)} has no end", _BOUNDS)
    if not _is_number(step) or int(step) == 0:
        raise InventoryError.at(origin, f"the step of the range in {shown(text)} is not 1 or more", _BOUNDS)
    if _is_number(begin) and _is_number(end):
        return _numbers(begin, end, int(step), text, origin)
    return _letters(begin, end, int(step), text, origin)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


def _numbers(begin: str, end: str, step: int, text: str, origin: Origin) -> list[str]:
    width = len(begin) if begin.startswith("0") and len(begin) > 1 else 0
    if width and len(end) != width:
        raise InventoryError.at(
            origin, f"the range in {shown(text)} begins and ends with different widths", "pad both, as in [001:100]"
        )
    first, last = int(begin), int(end)
    if last < first:
        raise InventoryError.at(
            origin, f"the range in {shown(text)} runs backwards and holds no host", f"write [{end}:{begin}]"
        )
    if (last - first) // step >= MAX_HOSTS:
        raise _too_many(text, origin)
    return [str(number).zfill(width) for number in range(first, last + 1, step)]


def _letters(begin: str, end: str, step: int, text: str, origin: Origin) -> list[str]:
    if len(begin) != 1 or len(end) != 1 or begin not in ascii_letters or end not in ascii_letters:
        raise InventoryError.at(
            origin, f"the range in {shown(text)} is neither of numbers nor of single letters", _BOUNDS
        )
    first, last = ascii_letters.index(begin), ascii_letters.index(end)
    if last < first:
        raise InventoryError.at(
            origin, f"the range in {shown(text)} runs backwards and holds no host", f"write [{end}:{begin}]"
        )
    return list(ascii_letters[first : last + 1 : step])


def _too_many(text: str, origin: Origin) -> InventoryError:
    return InventoryError.at(
        origin, f"{shown(text)} stands for more than {MAX_HOSTS:,} hosts", "shorten the range or split it"
    )
