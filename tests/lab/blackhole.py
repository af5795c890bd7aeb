"""Drops what is sent to an address and port, with iptables, and always takes its own rule out again."""

import contextlib
import subprocess
from collections.abc import Iterator

from tests.lab import requirements, sandbox


@contextlib.contextmanager
def drop(address: str, port: int, *, protocol: str = "tcp") -> Iterator[None]:
    """Make the address silent, established connections too, for the length of the block; only inside the sandbox."""
    if not sandbox.inside():
        raise RuntimeError("a black hole on the machine's own network would harm it: run this in tests/lab/sandbox.py")
    rule = ["INPUT", "-d", address, "-p", protocol, "--dport", str(port), "-j", "DROP"]
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
