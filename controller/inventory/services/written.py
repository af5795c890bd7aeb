"""What stands in a file for a variable, letter by letter; a parsed value no longer tells 0017 from 15."""

import re
from pathlib import Path

from controller.inventory.origins import InventoryError, Origin
from controller.inventory.sources import text

_LONGEST = 60


def written(origin: Origin, field: str) -> str:
    """The value as it is written on the line of its origin; empty where that can't be told."""
    try:
        lines = text.read(Path(origin.file)).splitlines()
    except InventoryError:
        return ""
    if not 1 <= origin.line <= len(lines):
        return ""
    found = re.search(rf"""["']?\b{re.escape(field)}["']?\s*[:=]\s*([A-Za-z0-9_.+-]+)""", lines[origin.line - 1])
    return found[1] if found and len(found[1]) <= _LONGEST else ""
