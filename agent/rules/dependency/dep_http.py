"""What this host's services depend on by URL answers them as it should.

A success, or the status that `status` in [[dependency]] names, within a second. Whether it takes connections at all is
DEP-TCP's matter. A certificate that this host does not trust is a warning: the service may know its authority.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, age, finding, metric, seconds, skipped
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import HttpSnapshot, Snapshot

NEEDS = ("dependency",)
SLOW = Limit("slow_seconds", 1.0, "seconds", "APA")
NEXT_BAD = "look at the dependency's own status; if it is another's, tell users, and turn off what needs it"
NEXT_CERTIFICATE = (
    "if the service trusts its authority, name that file under ca in [[dependency]]; else it fails there too"
)
NEXT_SLOW = "compare with the other hosts: one alone is its own network, all of them the dependency"
PHASES = ("resolve", "connect", "tls", "processing", "transfer")


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("dependency"):
        if not snapshot.target.url:
            continue
        if snapshot.dependency.error_class:
            yield skipped(snapshot.target, "it takes no connection, see DEP-TCP")
        else:
            yield _judged(snapshot, limits.of(SLOW))


def _judged(snapshot: Snapshot, slow: Limit) -> Finding:
    there, target = snapshot.dependency, snapshot.target
    answer = there.http
    took = sum(seconds(getattr(answer, phase)) for phase in PHASES)
    said = f"{answer.status} {answer.reason_phrase}".strip()
    status, step = STATUS_OK, ""
    summary = f"{said} in {1000 * took:.0f} ms"
    if answer.error_class:
        status, step = STATUS_CRIT, NEXT_BAD
        summary = f"no answer ({answer.error_class} in phase {answer.phase}): {answer.error_text}"
    elif not _as_expected(answer, target.expected_status):
        status, step = STATUS_CRIT, NEXT_BAD
        summary = f"{said}, where {target.expected_status or 'a success'} is expected"
    elif there.certificate_error:
        status, step = STATUS_WARN, NEXT_CERTIFICATE
        summary = f"{said}, and this host does not trust its certificate: {there.certificate_error}"
    elif took > slow.value:
        status, step = STATUS_WARN, NEXT_SLOW
        summary = f"{said} after {age(took)} (limit {age(slow.value)})"
    metrics = [metric("seconds", took, "seconds", slow), metric("status", answer.status, "code")]
    same = f"curl -sS -i {shlex.quote(target.name)}"
    return finding(status, target, summary, metrics=metrics, equal_command=same, next_step=step)


def _as_expected(answer: HttpSnapshot, expected: int) -> bool:
    return answer.status == expected if expected else 200 <= answer.status < 400
