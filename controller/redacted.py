"""Takes out of a text what looks like a secret: before a paste leaves the house, and before an inventory is shown."""

import re

MASK = "***"
_WORD = (
    r"(?:pass(?:wd|word|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential|auth|cookie)"
)
_VALUE = r"(?:\"[^\"]*\"?|'[^']*'?|[^\s,;&)}\]]+)"
# Each in linear time; the text comes in one line and is short.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*-----.*?(?:-----END [A-Z ]*-----|\Z)"), MASK),
    (re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]{1,30}://)[^\s/'\"]{0,600}@"), rf"\1{MASK}@"),
    # A password may hold a '/'; what begins like a port is a path with an '@'.
    (re.compile(r"(://[^\s/@:]{0,600}:)(?![0-9]{1,5}(?:[/?#]|$))\S{1,600}@"), rf"\1{MASK}@"),
    (re.compile(r"(?i)\b(bearer|basic|negotiate)\s+[A-Za-z0-9+/=._~-]{6,}"), rf"\1 {MASK}"),
    (re.compile(r"\beyJ[\w-]{4,1024}\.[\w-]{4,}(?:\.[\w-]*)?"), MASK),
    (re.compile(r"\b(?:gh[opsu]_|github_pat_|xox[abprs]-|AKIA|ASIA|sk-|sk_live_|glpat-)[\w-]{8,}"), MASK),
    (re.compile(rf"(?i)({_WORD}[\w.-]{{0,64}}[\"']?\s{{0,8}}(?:=>?|:)\s{{0,8}}){_VALUE}"), rf"\1{MASK}"),
    (re.compile(rf"(?i)(--?{_WORD}[\w-]{{0,32}}\s+)(?![\s-]){_VALUE}"), rf"\1{MASK}"),
)
# What no person would say aloud: long, with letters and digits, and neither a path nor a name with dots.
_LONG = re.compile(r"(?<![\w/.-])(?=[A-Za-z_+=-]*[0-9])(?=[0-9_+=-]*[A-Za-z])[A-Za-z0-9_+=-]{32,}")


def text(value: str) -> str:
    """Without secrets, and without what is long and random: a version's hash may be lost with them."""
    return _LONG.sub(MASK, named(value))


def named(value: str) -> str:
    """Without what stands where a secret does: after its word, within a URL, in a header."""
    for pattern, mask in _PATTERNS:
        value = pattern.sub(mask, value)
    return value
