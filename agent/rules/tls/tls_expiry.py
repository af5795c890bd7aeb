"""No served certificate, and none in its chain, ends within 21 days.

A certificate is due when it has less than 21 days and less than a third of its life left, critical under 7 days and a
tenth: both must hold, so that certificates of 6 or 47 days are judged by their own measure. Of one that has ended
TLS-EXPIRED speaks.
"""

from collections.abc import Iterator

from agent.rule import Level, Limit, Limits, Seen, age, finding, metric, skipped, table, timestamp
from agent.rules.tls import command
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_ERROR, STATUS_OK, STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import Certificate, Snapshot

NEEDS = ("tls",)
UNANSWERED = STATUS_ERROR
WARN = Limit("warn_days", 21, "days", "APA")
CRIT = Limit("crit_days", 7, "days", "own")
WARN_LIFE = Limit("warn_life_left", 1 / 3, "ratio", "own")
CRIT_LIFE = Limit("crit_life_left", 0.10, "ratio", "own")
NEXT = "renew it, install the whole chain, reload the server, and look again: the served one counts, not the file"

DAY = 86400.0
NOT_FOR_US = {
    "wrong version number": "found by its port, and speaks no TLS",
    "unrecognized name": "found by its port, and serves no certificate to one who does not name a site of it",
}


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("tls"):
        yield _unread(snapshot) if not snapshot.tls.chain else _judged(snapshot, seen.now, limits)


def _unread(snapshot: Snapshot) -> Finding:
    """Why a service does not answer is HTTP-HEALTH's to say; here it means only: not looked."""
    tls = snapshot.tls
    if snapshot.target.origin == "discovered" and tls.error_class == "tls":
        # Taken for TLS by its port alone, which says nothing of what it serves, and to whom.
        for said, meaning in NOT_FOR_US.items():
            if said in tls.error_text:
                return skipped(snapshot.target, f"{meaning} ({tls.error_text})")
    made = finding(STATUS_ERROR, snapshot.target, f"no certificate to see ({tls.error_class}): {tls.error_text}")
    made.reason = f"{tls.error_class}: {tls.error_text}"
    return made


def status_of(certificate: Certificate, now: float, limits: Limits) -> tuple[Level, Limit]:
    left = timestamp(certificate.not_after) - now
    life = max(1.0, timestamp(certificate.not_after) - timestamp(certificate.not_before))
    warn, crit = limits.of(WARN), limits.of(CRIT)
    if left < crit.value * DAY and left / life < limits.of(CRIT_LIFE).value:
        return STATUS_CRIT, crit
    if left < warn.value * DAY and left / life < limits.of(WARN_LIFE).value:
        return STATUS_WARN, warn
    return STATUS_OK, warn


def _judged(snapshot: Snapshot, now: float, limits: Limits) -> Finding:
    chain = snapshot.tls.chain
    judged = [(*status_of(item, now, limits), item) for item in chain if timestamp(item.not_after) > now]
    if not judged:
        return skipped(snapshot.target, "it has ended, see TLS-EXPIRED")
    status, limit, certificate = max(judged, key=lambda row: (row[0], -timestamp(row[2].not_after)))
    left = timestamp(certificate.not_after) - now
    which = "" if certificate is chain[0] else " in its chain"
    rows = [(item.subject, item.issuer, item.not_after.ToJsonString(), item.serial) for item in chain]
    said = f"ends in {age(left)}, on {certificate.not_after.ToJsonString()}"
    return finding(
        status,
        snapshot.target,
        f"certificate{which} {certificate.subject or certificate.serial} {said} (limit {limit.value:.0f}d)",
        metrics=[metric("days_left", left / DAY, "days", limit)],
        table=table(("subject", "issuer", "not after", "serial"), rows),
        equal_command=command(snapshot, "-showcerts"),
        next_step=NEXT,
    )
