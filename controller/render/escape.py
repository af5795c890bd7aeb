"""Makes text from hosts harmless for a terminal: control characters, escape sequences and bidi signs become visible."""

import re

# C0, DEL and C1 controls, line and paragraph separators, what reorders or hides text, and halves of characters.
HOSTILE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
# Of one text of a host: an agent of ours writes a few hundred characters.
LONGEST = 2000


def line(text: str) -> str:
    """One line: nothing in it moves the cursor, changes colours or ends the line."""
    return HOSTILE.sub(lambda found: " " if found[0] in "\n\t" else f"\\x{ord(found[0]):02x}", text)


def block(text: str) -> list[str]:
    return [line(part) for part in text.splitlines()]
