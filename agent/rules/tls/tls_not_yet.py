"""Every served certificate, and each in its chain, is valid already.

One of tomorrow is refused by every client: mostly the clock of whoever made it, or of this host, is wrong.
"""

from collections.abc import Iterator

from agent.rule import Limits, Seen, age, finding, timestamp
from agent.rules.tls import command, unread
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("tls",)
NEXT = "compare clocks first, this host's and that of whoever issued the certificate: fleetmedic describe {host}"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    for snapshot in seen.of("tls"):
        yield unread(snapshot) or _judged(snapshot, seen.now)


def _judged(snapshot: Snapshot, now: float) -> Finding:
    same = command(snapshot, "-showcerts")
    latest = max(snapshot.tls.chain, key=lambda item: timestamp(item.not_before))
    early = timestamp(latest.not_before) - now
    if early <= 0:
        return finding(STATUS_OK, snapshot.target, "valid already, the whole chain", equal_command=same)
    summary = f"certificate {latest.subject or latest.serial} is not valid for another {age(early)}"
    return finding(STATUS_CRIT, snapshot.target, summary, equal_command=same, next_step=NEXT)
