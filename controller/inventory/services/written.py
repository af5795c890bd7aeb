"""What stands in a file for a variable, letter by letter; a parsed value no longer tells 0017 from 15."""

import re
from dataclasses import dataclass
from pathlib import Path

from controller.inventory.origins import InventoryError, Origin
from controller.inventory.sources import text

_LONGEST = 60
_AFTER_COLON = r"""[^\s"'#,\[\]{}](?:[^"'#,\[\]{}]*[^\s"'#,\[\]{}])?"""
_AFTER_EQUALS = r"""[^\s"'#]+"""


@dataclass(frozen=True, slots=True)
class Written:
    """The value as it is written, and the entry as it would be a text."""

    value: str
    quoted: str


def written(origin: Origin, field: str) -> Written | None:
    """What is on the line of its origin; None where that can't be told."""
    if not origin.line:
        return None
    try:
        lines = text.read(Path(origin.file)).splitlines()
    except InventoryError:
        return None
    if origin.line > len(lines):
        return None
    key = rf"""["']?\b{re.escape(field)}["']?"""
    found = re.match(
        rf"(?P<before>.*?)(?P<key>{key})\s*(?::\s*(?P<yaml>{_AFTER_COLON})|=\s*(?P<ini>{_AFTER_EQUALS}))",
        lines[origin.line - 1],
    )
    if found is None:
        return None
    value = found["yaml"] or found["ini"]
    return Written(value, _quoted(found, value)) if len(value) <= _LONGEST else None


def _quoted(found: re.Match[str], value: str) -> str:
    if found["yaml"]:
        return f'{found["key"]}: "{value}"'
    # On a host's line of an INI file one pair of quotes is the line's own, and the value is read again.
    return f"{found['key']}=\"'{value}'\"" if found["before"].strip() else f'{found["key"]} = "{value}"'
