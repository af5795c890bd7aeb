"""What of a variable may be shown: neither what its name calls a secret nor a password within a URL."""

import re
from collections.abc import Mapping

from controller.inventory.listing import MASK
from controller.inventory.variables import Unsafe

SECRET = re.compile(r"pass|pwd|secret|token|api_?key|credential|private_key_content", re.IGNORECASE)
# In a URL: what stands between a user and the host, and the values of such words in its query.
IN_URL = re.compile(r"(://[^\s/@:]*:)[^\s/]*@")
IN_QUERY = re.compile(r"([?&][^=&\s]*(?:pass|pwd|secret|token|key|auth)[^=&\s]*=)[^&\s]*", re.IGNORECASE)


def hidden(name: str, value: object) -> object:
    """The value of a variable of that name, with what is secret in it masked."""
    if SECRET.search(name) and not isinstance(value, Mapping):
        return MASK
    if isinstance(value, Mapping):
        return {key: hidden(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [hidden(name, inner) for inner in value]
    if isinstance(value, str):
        masked = IN_QUERY.sub(rf"\1{MASK}", IN_URL.sub(rf"\1{MASK}@", value))
        return Unsafe(masked) if isinstance(value, Unsafe) else masked
    return value
