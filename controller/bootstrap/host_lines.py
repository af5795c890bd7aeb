"""What a host says, a JSON object on a line: hostile text, as all that comes from hosts."""

import json
from collections.abc import Mapping


def said(line: bytes) -> Mapping[str, object] | None:
    """None for a line that is none of ours: another thing than an object, one with more in it than plain values and
    lists of them, or with text that is no Unicode.
    """
    try:
        values = json.loads(line)
        # A lone surrogate can be written in JSON, and nowhere else.
        json.dumps(values, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) and all(map(_plain, values.values())) else None


def _plain(value: object) -> bool:
    inner = value if isinstance(value, list) else [value]
    return not any(isinstance(it, list | dict) for it in inner)
