"""Rules about certificates."""

import shlex
from collections.abc import Callable, Iterator

from agent.rule import Seen, skipped
from fleetmedic.v1.finding_pb2 import Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

# OpenSSL's words on a chain.
SELF_SIGNED = frozenset({18})
ISSUER_MISSING = frozenset({2, 20, 21})
ROOT_UNKNOWN = frozenset({19})


def unread(snapshot: Snapshot) -> Finding | None:
    """Where no certificate was served; what that means is TLS-EXPIRY's to say."""
    return None if snapshot.tls.chain else skipped(snapshot.target, "no certificate to see, see TLS-EXPIRY")


def named(seen: Seen, judge: Callable[[Snapshot], Finding]) -> Iterator[Finding]:
    """A judgement of each endpoint somebody named; one that was found by its port may be meant for anybody."""
    for snapshot in seen.of("tls"):
        if blind := unread(snapshot):
            yield blind
        elif snapshot.target.origin == "discovered":
            yield skipped(snapshot.target, "found by its port: name it in [[tls_endpoint]] or fleetmedic_tls")
        else:
            yield judge(snapshot)


def unverified(snapshot: Snapshot) -> Finding | None:
    """Where nobody could say whether the chain is trusted."""
    if snapshot.tls.HasField("verify_code"):
        return None
    return skipped(snapshot.target, snapshot.tls.verify_text or "its chain was not held against any authority")


def is_incomplete(snapshot: Snapshot) -> bool:
    """Whether the issuer is missing from what is served, and not from what this host trusts.

    OpenSSL says the same of both. A leaf alone is served without its chain where it says where to get its issuer, where
    the file on disk has more, or where agent.toml names the authority to hold it against.
    """
    tls = snapshot.tls
    if tls.verify_code not in ISSUER_MISSING or len(tls.chain) != 1:
        return False
    return bool(tls.chain[0].issuer_url or tls.authorities) or len(tls.file.chain) > 1


def authorities(snapshot: Snapshot) -> str:
    return snapshot.tls.authorities or "this host's trust store"


def command(snapshot: Snapshot, *options: str) -> str:
    """What shows the same: openssl s_client at this endpoint."""
    target = snapshot.target
    place = shlex.quote(f"{target.host}:{target.port}")
    name = shlex.quote(snapshot.tls.server_name or target.host)
    return " ".join(["openssl s_client -connect", place, "-servername", name, *map(shlex.quote, options)])


def trusting(snapshot: Snapshot) -> str:
    file = snapshot.tls.authorities
    return command(snapshot, "-verify_return_error", *(("-CAfile", file) if file else ()))
