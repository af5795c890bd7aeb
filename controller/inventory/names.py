"""Which names hosts and groups may have, and how foreign text is shown in a message."""

import re

# What a shell, a pattern or a terminal would read as something else than a part of a name.
_UNSAFE = re.compile(r"""^[-!&~@]|[*/%,;$()<>|&\\'"`?#={}!]""")
_COMMON = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# Ranges are spelled out before; in a host list they are not, and there a name may keep its brackets.
_SEGMENT = re.compile(r"\[[^\[\]]*\]")
_SHOWN = 80
_READ = 1000
# Of a host: as of a name in DNS, or in a certificate.
_LONGEST = 253


def printable(text: str) -> str:
    """The text with control, bidi and invisible characters as backslash escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shown(text: object) -> str:
    """A foreign value in quotes, without what looks like a secret, escaped, and cut to a length that fits a line."""
    from controller import redacted  # where something is wrong, and nowhere else

    plain = printable(redacted.named(str(text)[:_READ]))
    return f"'{plain[:_SHOWN]}...'" if len(plain) > _SHOWN else f"'{plain}'"


def host_flaw(name: str) -> str | None:
    """Why this can't be a host's name, or None."""
    if len(name) > _LONGEST:
        return f"it is longer than {_LONGEST} characters"
    if _COMMON.fullmatch(name):
        return None
    if ":" in _SEGMENT.sub("", name) and not is_ipv6(name):
        return "what follows a ':' is not a port"
    return _flaw(name)


def address_flaw(text: str) -> str | None:
    """Why this can't be dialled, or None: an address is a safe host name without brackets."""
    if "[" in text or "]" in text:
        return "it holds a bracket"
    if "@" in text:
        return "it holds an @; a user is set as ansible_user"
    return host_flaw(text)


def group_flaw(name: str) -> str | None:
    """Why this can't be a group's name, or None."""
    if _COMMON.fullmatch(name):
        return None
    if ":" in name or "[" in name or "]" in name:
        return "':', '[' and ']' have a meaning in patterns"
    return _flaw(name)


def is_ipv6(text: str) -> bool:
    """Whether the text is an IPv6 address without brackets, port or zone."""
    import ipaddress  # only the few inventories with IPv6 pay for it

    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text


def is_address(text: str) -> bool:
    """Whether the text is an IPv4 address, or an IPv6 one as `is_ipv6` has it."""
    import ipaddress  # as above

    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return is_ipv6(text)
    return True


def _flaw(name: str) -> str | None:
    if not name:
        return "it is empty"
    if name in (".", ".."):
        return "it is a folder's way to itself or up"
    if not name.isprintable():
        return "it holds a control or invisible character"
    if any(char.isspace() for char in name):
        return "it holds a blank"
    unsafe = _UNSAFE.search(name)
    if unsafe is None:
        return None
    char = unsafe.group()
    if char in "-~@":
        return f"it begins with {char}"
    return f"it holds {char}, which a pattern or a shell reads as something else"
