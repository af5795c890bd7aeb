"""The agent's own certificate has more than half of its life left.

It is renewed over the connection that it secures, and so in time or not at all: from half life on there is a warning
(of 90 days there are 45 to act in), in the last days it is critical, and once it has ended nobody reaches the agent. Of
lives that are shorter than usual the last tenth is the last days.
"""

from collections.abc import Iterator

from agent.rule import Level, Limit, Limits, Seen, age, errored, finding, metric, timestamp
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_ERROR, STATUS_OK, STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import Certificate, Snapshot

NEEDS = ("own_certificate",)
UNANSWERED = STATUS_ERROR
WARN = Limit("warn_life_left", 0.5, "ratio", "own")
CRIT = Limit("crit_days", 7, "days", "own")
CRIT_LIFE = Limit("crit_life_left", 0.10, "ratio", "own")
NEXT = "renew it while it holds: fleetmedic agent renew {host}"
NEXT_ENDED = "it can't be renewed over itself any more, so make a new one over SSH: fleetmedic agent install {host}"

DAY = 86400.0


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("own_certificate"):
        file = snapshot.own_certificate
        if file.error_class or not file.chain:
            yield errored(snapshot.target, file.error_text or "there is no certificate in it")
        else:
            yield _judged(snapshot, file.chain[0], seen.now, limits)


def _judged(snapshot: Snapshot, own: Certificate, now: float, limits: Limits) -> Finding:
    left = timestamp(own.not_after) - now
    status, limit = _status(own, left, limits)
    early = timestamp(own.not_before) - now
    when = own.not_after.ToJsonString()
    if left <= 0:
        said = f"the agent's own certificate ended {age(-left)} ago, on {when}: nobody reaches the agent with it"
    elif early > 0:
        status, said = (
            STATUS_CRIT,
            f"the agent's own certificate is not valid for another {age(early)}: mind the clocks",
        )
    else:
        said = f"the agent's own certificate ends in {age(left)}, on {when}"
    return finding(
        status,
        snapshot.target,
        said,
        metrics=[metric("days_left", left / DAY, "days", limit if limit.unit == "days" else None)],
        next_step=NEXT if left > 0 else NEXT_ENDED,
    )


def _status(own: Certificate, left: float, limits: Limits) -> tuple[Level, Limit]:
    life = max(1.0, timestamp(own.not_after) - timestamp(own.not_before))
    crit = limits.of(CRIT)
    if left <= 0 or (left < crit.value * DAY and left / life < limits.of(CRIT_LIFE).value):
        return STATUS_CRIT, crit
    warn = limits.of(WARN)
    return (STATUS_WARN if left / life < warn.value else STATUS_OK), warn
