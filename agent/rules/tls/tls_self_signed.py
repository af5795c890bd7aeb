"""No named endpoint serves a certificate that vouches for itself.

It is what a server comes with, or what a staging host was left with. One that agent.toml names under `ca` is meant, and
told without alarm.
"""

from collections.abc import Iterator

from agent.rule import Limits, Seen, finding
from agent.rules.tls import SELF_SIGNED, authorities, named, trusting, unverified
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_INFO, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("tls",)
NEXT = (
    "install the certificate that is meant for this listener; or, if this one is, name it under ca in [[tls_endpoint]]"
)


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    return named(seen, lambda snapshot: unverified(snapshot) or _judged(snapshot))


def _judged(snapshot: Snapshot) -> Finding:
    tls, target = snapshot.tls, snapshot.target
    leaf, same = tls.chain[0], trusting(snapshot)
    if tls.verify_code in SELF_SIGNED:
        summary = f"certificate {leaf.subject or leaf.serial} is signed by itself, and {authorities(snapshot)} lacks it"
        return finding(STATUS_CRIT, target, summary, equal_command=same, next_step=NEXT)
    if len(tls.chain) == 1 and leaf.subject == leaf.issuer and tls.verify_code == 0:
        summary = f"certificate {leaf.subject or leaf.serial} is signed by itself, as {authorities(snapshot)} expects"
        return finding(STATUS_INFO, target, summary, equal_command=same)
    return finding(STATUS_OK, target, f"signed by {leaf.issuer}", equal_command=same)
