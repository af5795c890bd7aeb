"""Every named endpoint serves the certificates that lead to its authority.

With the leaf alone browsers often manage, for they fetch what is missing; Python, curl and most services do not. An
authority nobody here trusts is TLS-UNKNOWN-CA's matter.
"""

from collections.abc import Iterator

from agent.rule import Limits, Seen, finding
from agent.rules.tls import authorities, command, is_incomplete, named, unverified
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("tls",)
NEXT = "install the whole chain (fullchain.pem: the leaf first, then what issued it), then reload the server"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    return named(seen, lambda snapshot: unverified(snapshot) or _judged(snapshot))


def _judged(snapshot: Snapshot) -> Finding:
    tls = snapshot.tls
    served = f"{len(tls.chain)} certificate{'' if len(tls.chain) == 1 else 's'} served"
    same = command(snapshot, "-showcerts")
    if not is_incomplete(snapshot):
        return finding(STATUS_OK, snapshot.target, served, equal_command=same)
    leaf = tls.chain[0]
    where = f"; {tls.file.path} has {len(tls.file.chain)}" if len(tls.file.chain) > 1 else ""
    where = where or (f"; it can be had at {leaf.issuer_url}" if leaf.issuer_url else "")
    summary = (
        f"only the leaf is served, without the certificate of {leaf.issuer or 'its issuer'}, "
        f"which {authorities(snapshot)} does not have{where}"
    )
    return finding(STATUS_CRIT, snapshot.target, summary, equal_command=same, next_step=NEXT)
