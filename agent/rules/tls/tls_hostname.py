"""Every named endpoint serves a certificate for its name.

Held against the alternative names alone, as browsers and most libraries do: the common name does not count. A listener
that was only found by its port has no name to hold it against.
"""

import shlex
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from agent.rule import Limits, Seen, finding, skipped
from agent.rules.tls import unread
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("tls",)
NEXT = (
    "the certificate of another site is installed, or the default one: look at what was deployed last on this listener"
)


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    for snapshot in seen.of("tls"):
        if blind := unread(snapshot):
            yield blind
        elif snapshot.target.origin == "discovered":
            yield skipped(snapshot.target, "found by its port: name it in [[tls_endpoint]] or fleetmedic_tls")
        else:
            yield _judged(snapshot)


def _judged(snapshot: Snapshot) -> Finding:
    host, leaf = snapshot.target.host, snapshot.tls.chain[0]
    place = shlex.quote(f"{host}:{snapshot.target.port}")
    command = f"openssl s_client -connect {place} -servername {shlex.quote(host)} -verify_hostname {shlex.quote(host)}"
    if any(is_for(host, name) for name in leaf.names):
        return finding(STATUS_OK, snapshot.target, f"the certificate is for {host}", equal_command=command)
    others = ", ".join(leaf.names[:5]) or "no name at all"
    summary = f"the certificate is not for {host}, but for {others}"
    return finding(STATUS_CRIT, snapshot.target, summary, equal_command=command, next_step=NEXT)


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
