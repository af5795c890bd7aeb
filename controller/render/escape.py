"""Makes text from hosts harmless for a terminal: control characters, escape sequences and bidi signs become visible."""

import re

# C0, DEL and C1 controls, line and paragraph separators, and what reorders or hides text.
HOSTILE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb]")


def line(text: str) -> str:
    """One line: nothing in it moves the cursor, changes colours or ends the line."""
    return HOSTILE.sub(lambda found: " " if found[0] in "\n\t" else f"\\x{ord(found[0]):02x}", text)


def block(text: str) -> list[str]:
    return [line(part) for part in text.splitlines()]
