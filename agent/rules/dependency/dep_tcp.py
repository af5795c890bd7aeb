"""What this host's services depend on takes connections from here.

Asked from each host that needs it, so that the answers together are a matrix: one host alone points to its own route,
resolver or firewall, all hosts to the dependency. Refused, silent, unreachable and without a name are different things.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, age, finding, metric, seconds
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_ERROR, STATUS_OK, STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot, Target

NEEDS = ("dependency",)
UNANSWERED = STATUS_ERROR
SLOW = Limit("slow_seconds", 1.0, "seconds", "own")
NEXT_DNS = "its name is the trouble, not it: fleetmedic check {host} --include 'DNS-*' --show all"
NEXT_REFUSED = "something answers there, and nothing listens: look at the dependency itself first"
NEXT_SILENT = "a firewall that drops, or a host that is gone: compare with the hosts that reach it"
NEXT_UNREACHABLE = "this host has no way there: its routes, and the network between"
NEXT_CUT = "something between cuts it off: compare with the hosts that reach it"
NEXT_SLOW = "the network, or a listener that is slow to accept: compare with the other hosts"
# By class: what it means, and what to do first.
CLASSES = {
    "dns": ("has no address here", NEXT_DNS),
    "refused": ("refuses connections", NEXT_REFUSED),
    "timeout": ("does not answer", NEXT_SILENT),
    "unreachable": ("can't be reached from here", NEXT_UNREACHABLE),
}


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("dependency"):
        yield _judged(snapshot, limits.of(SLOW))


def _judged(snapshot: Snapshot, slow: Limit) -> Finding:
    there, target = snapshot.dependency, snapshot.target
    same = _command(target)
    if there.error_class:
        said, step = CLASSES.get(there.error_class, ("cuts connections off", NEXT_CUT))
        return finding(STATUS_CRIT, target, f"{said} ({there.error_text})", equal_command=same, next_step=step)
    took = seconds(there.connect)
    status = STATUS_WARN if took > slow.value else STATUS_OK
    limit = f" (limit {age(slow.value)})" if status == STATUS_WARN else ""
    return finding(
        status,
        target,
        f"connected in {1000 * took:.0f} ms{limit}",
        metrics=[metric("seconds", took, "seconds", slow)],
        equal_command=same,
        next_step=NEXT_SLOW,
    )


def _command(target: Target) -> str:
    if target.url:
        return f"curl -sS -o /dev/null {shlex.quote(target.name)}"
    return f"nc -vz -w 2 {shlex.quote(target.host)} {target.port}"
