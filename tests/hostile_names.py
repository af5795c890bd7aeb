"""Two hundred names that nobody may have: paths, controls, commands of a shell, quotes, SQL, and text turned round."""

import itertools
import re

PIECES = (
    "../", "../../etc/passwd", "/etc/passwd", "..", ".", "./x/../..", "..\\..\\x", "~/x", "~root", "%2e%2e%2f", "a/b",
    "\0", "a\0b", "\0/etc/passwd", "\x01", "\x1b[2J", "\x7f", "\x85", "\n", "x\ny", "\r\n", "\t", "\u2028",
    "; touch evil", "$(touch evil)", "`touch evil`", "| touch evil", "&& touch evil", "> evil", "${IFS}evil", "$HOME",
    "'", '"', "'; touch evil; '", "\\", "' OR '1'='1", "'; DROP TABLE runs; --", '"; DROP TABLE snoozes; --', "1) --",
    "\u202e", "\u202egnp.exe", "\u2066x\u2069", "\u200b", "\ufeff", "\u061c", "<script>", "{{ 7 * 7 }}", "%s%n", "a b",
    "*", "-rf", "--output-dir=/", "@evil", "!x", "#x",
)  # fmt: skip
FRAMES = ("{}", "web01{}", "{}web01", "we{}b", "{0}{0}")
# Such a name is harmless, whatever piece it was made of.
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def _made() -> list[str]:
    framed = (frame.replace("{0}", "{}").replace("{}", piece) for frame, piece in itertools.product(FRAMES, PIECES))
    return list(dict.fromkeys(name for name in framed if not PLAIN.fullmatch(name)))


NAMES = tuple(_made()[:200])
assert len(NAMES) == 200
