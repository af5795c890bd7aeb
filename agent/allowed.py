"""Where a request may point probes: only inside probe_allow of agent.toml."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from agent import redact
from fleetmedic.v1.snapshot_pb2 import FAILURE_KIND_NOT_LOOKED, Failure, Snapshot, Target

REQUESTED = frozenset({"http", "tls", "dns", "page", "dependency"})
BY_URL = frozenset({"http", "page"})
# What a name, a host or a URL in a request may consist of: nothing that a terminal, a header or a file would act on.
PLAIN = re.compile(r"[!-~]{1,2048}")


def refuse_outside(allow: Sequence[str], targets: Iterable[Target]) -> tuple[list[Target], list[Snapshot]]:
    """The targets that may be looked at, and for each other one a snapshot that says why not."""
    allowed, refused = [], []
    for target in targets:
        reason = _refusal(allow, target)
        if reason:
            failure = Failure(kind=FAILURE_KIND_NOT_LOOKED, detail=reason)
            refused.append(Snapshot(target=redact.target(target), failure=failure))
        else:
            allowed.append(target)
    return allowed, refused


def _refusal(allow: Sequence[str], target: Target) -> str:
    if target.probe not in REQUESTED:
        return f"a request may not name a {target.probe!r} target"
    given = (target.service, target.name, target.url if _goes_by_url(target) else target.host)
    if not all(PLAIN.fullmatch(text) for text in given):
        return "a requested target has characters that no name has"
    if target.pid or target.socket or target.join_network:
        return "a requested target may have an address or a URL, nothing else"
    host, port = _destination(target)
    if not host:
        return "a requested target has no address"
    if any(_covers(entry, host, port) for entry in allow):
        return ""
    return f"{host}:{port} is not in probe_allow of this host's agent.toml" if port else f"{host} is not in probe_allow"


def _goes_by_url(target: Target) -> bool:
    """What its probe goes by, whatever else a request fills in."""
    return target.probe in BY_URL or (target.probe == "dependency" and target.url != "")


def _destination(target: Target) -> tuple[str, int]:
    if not _goes_by_url(target):
        return target.host, target.port
    try:
        parts = urlsplit(target.url)
        port = parts.port
    except ValueError:
        return "", 0
    if parts.scheme not in ("http", "https"):
        return "", 0
    return parts.hostname or "", port or (443 if parts.scheme == "https" else 80)


def _covers(entry: str, host: str, port: int) -> bool:
    name, only = place(entry)
    if only is not None and only != port:
        return False
    if "/" in name:
        try:
            return ipaddress.ip_address(host) in ipaddress.ip_network(name)
        except ValueError:
            return False
    return fnmatchcase(host.lower(), name.lower())


def place(entry: str) -> tuple[str, int | None]:
    """A network or a host pattern, and its port where it names one. IPv6 with a port stands in brackets."""
    bracketed = re.fullmatch(r"\[([0-9a-fA-F:.]+(?:/\d+)?)\](?::(\d+))?", entry)
    found = bracketed or re.fullmatch(r"([^:]+):(\d+)", entry)
    if found is None:
        return entry, None
    return found[1], int(found[2]) if found[2] else None
