"""Health URLs answer with success within a second.

The phases tell where the time went or where it failed: resolve, connect, tls, processing, transfer. Sub-checks that a
JSON body names are named, so that "503" becomes "database: timeout"; one that plainly fails behind a 200 is a warning.
"""

import re
import shlex
from collections.abc import Iterator

from agent.rule import Level, Limit, Limits, Seen, age, finding, metric, seconds, table
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import HttpSnapshot, Snapshot

NEEDS = ("http",)
UNANSWERED = STATUS_CRIT
SLOW = Limit("slow_seconds", 1.0, "seconds", "APA")
NEXT_DOWN = "is its container or unit running? docker ps -a, then its log"
NEXT_SAID = "look at what the sub-check names first: fleetmedic check {host} --show all"
NEXT_SLOW = "fleetmedic check {host} --include 'PG-*' --include 'REDIS-*' --include 'HOST-*' --show all"

GOOD_WORDS = frozenset({"ok", "up", "healthy", "pass", "passing", "true", "alive", "ready", "connected"})
# Whole words at the beginning, so that "no errors", "error_rate" and a sentence about failures are none.
FAILING = re.compile(
    r"(?:(?:connection|request|read|connect) )?"
    r"(?:fail(?:s|ed|ing|ure)?|error|down|unhealthy|time(?:d )?-?out|unavailable|unreachable|refused|degraded|"
    r"disconnected|dead|out[ _]of[ _]service|not[ _](?:ok|ready|connected|healthy|reachable|available))"
    r"(?:$|[:;,.(]| (?:after|to|while|in|at|from|by|connecting)\b)"
)
# What such a word says nothing of health under.
NOT_CHECKS = frozenset(
    {"version", "release", "service", "name", "time", "timestamp", "level", "log_level", "loglevel", "logging", "mode"}
)
PHASES = ("resolve", "connect", "tls", "processing", "transfer")


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("http"):
        yield _judged(snapshot, limits.of(SLOW))


def _judged(snapshot: Snapshot, slow: Limit) -> Finding:
    http = snapshot.http
    took = sum(seconds(getattr(http, phase)) for phase in PHASES)
    status, said, step = _said(http, took, slow)
    rows = [(field.name, age(seconds(value))) for field, value in http.ListFields() if field.name in PHASES]
    rows += [(f"check {name}", http.checks[name]) for name in sorted(http.checks)]
    return finding(
        status,
        snapshot.target,
        said,
        metrics=[metric("seconds", took, "seconds", slow), metric("status", http.status, "code")],
        table=table(("phase", "took"), rows),
        equal_command=f"curl -sS -i {shlex.quote(snapshot.target.name)}",
        next_step=step,
    )


def _said(http: HttpSnapshot, took: float, slow: Limit) -> tuple[Level, str, str]:
    if http.error_class:
        said = f"no answer ({http.error_class} in phase {http.phase}): {http.error_text}"
        return STATUS_CRIT, said, NEXT_DOWN if http.error_class in ("refused", "cut") else NEXT_SLOW
    failing = [f"{name}: {http.checks[name]}" for name in sorted(http.checks) if not _good(name, http.checks[name])]
    detail = f': "{"; ".join(failing)}"' if failing else ""
    elsewhere = f", redirects to {http.redirected_to}" if http.redirected_to else ""
    if http.status < 200 or http.status >= 400:
        return (
            STATUS_CRIT,
            f"{http.status} {http.reason_phrase}{elsewhere}{detail}",
            NEXT_SAID if failing else NEXT_DOWN,
        )
    wrong = [f"{name}: {http.checks[name]}" for name in sorted(http.checks) if _fails(name, http.checks[name])]
    if wrong:
        said = f'{http.status} in {1000 * took:.0f} ms, and yet: "{"; ".join(wrong)}"{elsewhere}'
        return STATUS_WARN, said, NEXT_SAID
    if took > slow.value:
        slowest = max(PHASES, key=lambda phase: seconds(getattr(http, phase)))
        return (
            STATUS_WARN,
            f"{http.status} after {age(took)} (limit {age(slow.value)}), most in {slowest}{elsewhere}",
            NEXT_SLOW,
        )
    return STATUS_OK, f"{http.status} in {1000 * took:.0f} ms{elsewhere}", ""


def _good(name: str, said: str) -> bool:
    return said.lower() in GOOD_WORDS or name.lower() in NOT_CHECKS


def _fails(name: str, said: str) -> bool:
    """Only what is plainly a failure: many a good body has words in it that no list of good ones holds."""
    return name.lower() not in NOT_CHECKS and FAILING.match(said.strip().lower()) is not None
