"""No served certificate, and none in its chain, has ended.

Clients refuse it from that second on. TLS-EXPIRY says before it that it will.
"""

from collections.abc import Iterator

from agent.rule import Limits, Seen, age, finding, metric, timestamp
from agent.rules.tls import command, unread
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("tls",)
NEXT = "renew it, install the whole chain, reload the server, and look again: the served one counts, not the file"
DAY = 86400.0


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    for snapshot in seen.of("tls"):
        yield unread(snapshot) or _judged(snapshot, seen.now)


def _judged(snapshot: Snapshot, now: float) -> Finding:
    chain = snapshot.tls.chain
    first = min(chain, key=lambda item: timestamp(item.not_after))
    left = timestamp(first.not_after) - now
    metrics = [metric("days_left", left / DAY, "days")]
    same = command(snapshot, "-showcerts")
    if left > 0:
        summary = f"valid still, the whole chain, for {age(left)}"
        return finding(STATUS_OK, snapshot.target, summary, metrics=metrics, equal_command=same)
    which = "" if first is chain[0] else " in its chain"
    when = first.not_after.ToJsonString()
    summary = f"certificate{which} {first.subject or first.serial} ended {age(-left)} ago, on {when}"
    return finding(STATUS_CRIT, snapshot.target, summary, metrics=metrics, equal_command=same, next_step=NEXT)
