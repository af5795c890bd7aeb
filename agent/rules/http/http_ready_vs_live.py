"""Of each service the process lives, and what it depends on is there.

Said of services with two health URLs, one that ends in live (liveness, livez) and one in ready (readiness, readyz):
alive and not ready is a dependency, neither is the process itself.
"""

import re
import shlex
from collections.abc import Iterator, Mapping

from agent.rule import Limits, Seen, finding
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_INFO, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import HttpSnapshot, Snapshot

NEEDS = ("http",)
NEXT_DEPENDENCY = "leave the process alone; mend what its readiness names: fleetmedic check {host} --show all"
NEXT_PROCESS = "the process is down or hangs: keep its log and its processes (docker logs, docker top), then restart it"

LIVE = re.compile(r"/(?:live|liveness|livez|alive)/?$")
READY = re.compile(r"/(?:ready|readiness|readyz)/?$")


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    lives, readies = (_by_service(seen, pattern) for pattern in (LIVE, READY))
    pairs = sorted(lives.keys() & readies.keys())
    yield from (_judged(lives[service], readies[service]) for service in pairs)
    if not pairs:
        asked = seen.of("http")[:1]
        summary = "no service has both a live and a ready URL: nothing to compare"
        yield from (finding(STATUS_INFO, item.target, summary) for item in asked)


def _by_service(seen: Seen, pattern: re.Pattern[str]) -> Mapping[str, Snapshot]:
    return {item.target.service: item for item in seen.of("http") if pattern.search(item.target.name)}


def _judged(live: Snapshot, ready: Snapshot) -> Finding:
    command = " ; ".join(f"curl -sS -i {shlex.quote(item.target.name)}" for item in (live, ready))
    target = ready.target
    if _well(ready.http):
        said = "ready" if _well(live.http) else f"ready, though {live.target.name} says {_said(live.http)}"
        return finding(STATUS_OK, target, said, equal_command=command)
    if _well(live.http):
        failing = ", ".join(f"{name}: {text}" for name, text in sorted(ready.http.checks.items()))
        summary = (
            f"the process lives and a dependency of it fails: {_said(ready.http)}{f' ({failing})' if failing else ''}"
        )
        return finding(STATUS_CRIT, target, summary, equal_command=command, next_step=NEXT_DEPENDENCY)
    summary = f"the process itself fails: live {_said(live.http)}, ready {_said(ready.http)}"
    return finding(STATUS_CRIT, target, summary, equal_command=command, next_step=NEXT_PROCESS)


def _well(http: HttpSnapshot) -> bool:
    return not http.error_class and 200 <= http.status < 400


def _said(http: HttpSnapshot) -> str:
    return (
        f"{http.error_class} ({http.error_text})" if http.error_class else f"{http.status} {http.reason_phrase}".strip()
    )
