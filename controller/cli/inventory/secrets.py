"""What of a variable may be shown: neither what its name calls a secret, nor what looks like one in a text."""

import re
from collections.abc import Mapping
from functools import cache

from controller import redacted
from controller.inventory.listing import MASK
from controller.inventory.variables import Unsafe

_KEYS = (
    "api|private|access|encrypt(?:ion)?|decrypt(?:ion)?|sign(?:ing)?|licen[cs]e|master|deploy|shared|account|storage"
)
SECRET = re.compile(
    r"pass|pwd|secret|token|credential|cookie|bearer|authorization|auth_?header|basic_?auth|session_?id|vault"
    rf"|(?:{_KEYS}|ssh|auth|hmac|aes)[-_]?keys?(?![-_]?(?:file|path|name))",
    re.IGNORECASE,
)
# In a URL's query the values of such words.
IN_QUERY = re.compile(r"([?&][^=&\s]*(?:pass|pwd|secret|token|key|auth|sig)[^=&\s]*=)[^&\s]*", re.IGNORECASE)
# Too short for a token, and without what would stand before a secret: most values of an inventory.
_PLAIN = re.compile(r"[\w.]{0,11}|[0-9.]*")


def hidden(name: str, value: object) -> object:
    """The value of a variable of that name, with what is secret in it masked."""
    secret = _is_secret(name)
    if isinstance(value, Mapping):
        return {key: hidden(name if secret else str(key), inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [hidden(name, inner) for inner in value]
    # Whether there has to be one is none.
    if secret and not isinstance(value, bool | None):
        return MASK
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        masked = IN_QUERY.sub(rf"\1{MASK}", redacted.named(value))
        return Unsafe(masked) if isinstance(value, Unsafe) else masked
    return value


@cache
def _is_secret(name: str) -> bool:
    """Ten thousand hosts have the same few names."""
    return SECRET.search(name) is not None
