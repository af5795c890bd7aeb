"""Every named endpoint serves a certificate for its name.

Held against the alternative names alone, as browsers and most libraries do: the common name does not count. A listener
that was only found by its port has no name to hold it against.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from agent.rule import Limits, Seen, finding
from agent.rules.tls import command, named
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("tls",)
NEXT = (
    "the certificate of another site is installed, or the default one: look at what was deployed last on this listener"
)


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    return named(seen, _judged)


def _judged(snapshot: Snapshot) -> Finding:
    host, leaf = snapshot.tls.server_name or snapshot.target.host, snapshot.tls.chain[0]
    same = command(snapshot, "-verify_hostname", host)
    if any(is_for(host, name) for name in leaf.names):
        return finding(STATUS_OK, snapshot.target, f"the certificate is for {host}", equal_command=same)
    others = ", ".join(leaf.names[:5]) or "no name at all"
    summary = f"the certificate is not for {host}, but for {others}"
    return finding(STATUS_CRIT, snapshot.target, summary, equal_command=same, next_step=NEXT)


def is_for(host: str, name: str) -> bool:
    """Whether an alternative name covers a host: the same, the same address, or a wildcard for its first label."""
    if address := _address(host):
        return address == _address(name)
    host, name = host.lower().rstrip("."), name.lower().rstrip(".")
    first, _, rest = host.partition(".")
    return host == name or (name.startswith("*.") and bool(first) and rest == name[2:] and "." in rest)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
