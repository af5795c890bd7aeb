"""Drops what is sent to an address and port, with iptables, and always takes its own rule out again."""

import contextlib
import subprocess
from collections.abc import Iterator

from tests.lab import requirements, sandbox


@contextlib.contextmanager
def drop(address: str, port: int, *, protocol: str = "tcp") -> Iterator[None]:
    """Make the address silent, established connections too, for the length of the block; only inside the sandbox."""
    with _ruled("-d", address, "-p", protocol, "--dport", str(port), "-j", "DROP"):
        yield


@contextlib.contextmanager
def reject(address: str, port: int, why: str) -> Iterator[None]:
    """Have the kernel answer what is sent there with an ICMP message, such as icmp-host-unreachable."""
    with _ruled("-d", address, "-p", "tcp", "--dport", str(port), "-j", "REJECT", "--reject-with", why):
        yield


@contextlib.contextmanager
def half_open(address: str, port: int) -> Iterator[None]:
    """Lose the end of every connection that the port closes: its other side does not learn that nobody is there."""
    with _ruled("-s", address, "-p", "tcp", "--sport", str(port), "--tcp-flags", "FIN", "FIN", "-j", "DROP"):
        yield


@contextlib.contextmanager
def _ruled(*words: str) -> Iterator[None]:
    if not sandbox.inside():
        raise RuntimeError("a black hole on the machine's own network would harm it: run this in tests/lab/sandbox.py")
    rule = ["INPUT", *words]
    _iptables("-I", *rule)
    try:
        yield
    finally:
        _iptables("-D", *rule)


def _iptables(*arguments: str) -> None:
    command = [str(requirements.required("iptables")), "--wait", "5", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"iptables {' '.join(arguments)}: {done.stderr.strip()}")
