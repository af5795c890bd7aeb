"""Connections to what a probe looks at, and why there is none."""

import errno
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any

UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH})


def connected(addresses: Sequence[tuple[Any, ...]], left: Callable[[], float]) -> socket.socket:
    """To the first address that takes it, as every client does; an error is the last one's."""
    for place, (family, kind, protocol, _, address) in enumerate(addresses, 1):
        plain = socket.socket(family, kind, protocol)
        try:
            # A silent one must leave time for the next.
            plain.settimeout(left() / (len(addresses) - place + 1))
            plain.connect(address)
        except OSError:
            plain.close()
            if place == len(addresses):
                raise
        else:
            return plain
    raise socket.gaierror(socket.EAI_NONAME, "no address")


def until(deadline: float) -> Callable[[], float]:
    """How many seconds are left; TimeoutError where none are. `deadline` is of time.monotonic()."""

    def left() -> float:
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    return left


def why(error: OSError | UnicodeError, silence: str) -> tuple[str, str]:
    """A class (dns, certificate, tls, timeout, refused, unreachable, cut) and its text; `silence` is a timeout's."""
    if isinstance(error, UnicodeError | socket.gaierror):
        return "dns", getattr(error, "strerror", None) or "no host name"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate", error.verify_message
    if isinstance(error, ssl.SSLError):
        return "tls", (error.reason or "handshake failed").replace("_", " ").lower()
    if isinstance(error, TimeoutError):
        return "timeout", silence
    if isinstance(error, ConnectionRefusedError):
        return "refused", "connection refused"
    return "unreachable" if error.errno in UNREACHABLE else "cut", error.strerror or type(error).__name__
