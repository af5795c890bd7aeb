"""The chain of every named endpoint leads to an authority that is trusted here.

Trusted by this host's own store, or by the file that agent.toml names under `ca`. A container may trust others. Ended,
self-signed and incomplete chains have rules of their own; whatever else OpenSSL refuses a chain for is said here.
"""

from collections.abc import Iterator

from agent.rule import Limits, Seen, finding
from agent.rules.tls import (
    ISSUER_MISSING,
    ROOT_UNKNOWN,
    SELF_SIGNED,
    authorities,
    is_incomplete,
    named,
    trusting,
    unverified,
)
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("tls",)
NEXT = (
    "a private authority: name its file under ca in [[tls_endpoint]]; a public one: the wrong certificate is installed"
)

# Not yet valid, and ended.
OF_DATES = frozenset({9, 10})


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    return named(seen, lambda snapshot: unverified(snapshot) or _judged(snapshot))


def _judged(snapshot: Snapshot) -> Finding:
    tls, target, same = snapshot.tls, snapshot.target, trusting(snapshot)
    code = tls.verify_code
    if code == 0 or code in OF_DATES | SELF_SIGNED or is_incomplete(snapshot):
        return finding(STATUS_OK, target, f"no authority is missing in {authorities(snapshot)}", equal_command=same)
    if code in ROOT_UNKNOWN | ISSUER_MISSING:
        # OpenSSL's own order: what was served last is nearest to the authority.
        above = tls.chain[-1].issuer or "nobody that is named"
        summary = f"issued by {above}, which {authorities(snapshot)} does not trust"
    else:
        summary = f"refused: {tls.verify_text} (OpenSSL code {code})"
    return finding(STATUS_CRIT, target, summary, equal_command=same, next_step=NEXT)
