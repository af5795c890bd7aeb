"""Polls until something holds, always with a deadline, and asks TCP ports whether they listen."""

import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(what: str, holds: Callable[[], T], *, seconds: float = 10.0, every: float = 0.01) -> T:
    """Call `holds` every `every` seconds and return its first true value; TimeoutError names `what`."""
    deadline = time.monotonic() + seconds
    while not (value := holds()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(every)
    return value


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Say whether a TCP connection to host:port is accepted within half a second."""
    try:
        with socket.create_connection((host, port), timeout=0.5):
            return True
    except OSError:
        return False


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that nobody listened on a moment ago; the sandbox needs none, its ports are all free."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port
