"""Reports and runs as tests need them, among them the fleet of 40 hosts of the experience page."""

from collections.abc import Sequence
from typing import cast

from google.protobuf.timestamp_pb2 import Timestamp

from controller.endings import State
from controller.host_report import HostReport, judged
from controller.store.runs import Run
from fleetmedic.v1.agent_pb2 import CheckResponse, Identity
from fleetmedic.v1.finding_pb2 import (
    STATUS_CRIT,
    STATUS_OK,
    STATUS_SKIPPED,
    STATUS_WARN,
    Finding,
    Metric,
    Status,
    Subject,
)

# 2024-01-15 14:40:00Z
NOW = 1705329600.0
# What an agent of a later version may send.
NEWER = cast("Status.ValueType", 99)


def finding(
    identity: str = "HOST-MEM",
    status: "Status.ValueType" = STATUS_OK,
    service: str = "host",
    name: str = "memory",
    summary: str = "41% is free",
    next_step: str = "",
    since: float | None = None,
) -> Finding:
    made = Finding(
        id=identity,
        status=status,
        subject=Subject(service=service, kind="host", name=name),
        summary=summary,
        next=next_step,
    )
    if since is not None:
        made.first_seen_time.CopyFrom(Timestamp(seconds=int(since)))
    return made


def skipped(identity: str, reason: str) -> Finding:
    made = finding(identity, STATUS_SKIPPED, summary=f"skipped: {reason}")
    made.reason = reason
    return made


def answered(host: str, *findings: Finding, clock_offset: float | None = None) -> HostReport:
    """A report of a host whose agent answered."""
    answer = CheckResponse(last=True, agent=Identity(name=host, version="0.1.0"), findings=findings)
    return HostReport(host, judged(findings), "", 0.2, answer, clock_offset, 1)


def silent(host: str, state: State = State.UNREACHABLE, cause: str = "TCP 7443 refused") -> HostReport:
    return HostReport(host, state, cause, 0.1, CheckResponse())


def run(*reports: HostReport, identity: str = "7F3K", exit_code: int = 0, inventory: str = "") -> Run:
    return Run(identity, "check", NOW - 3.4, 3.4, "all", inventory, reports, exit_code)


def _names(head: str, *numbers: int) -> list[str]:
    return [f"{head}{number:02d}" for number in numbers]


def forty_hosts() -> Run:
    """34 hosts well, 2 warn, 3 failed, 1 unreachable."""
    reports: list[HostReport] = []
    reports += [_app(name) for name in _names("app", *range(1, 21))]
    reports += [answered(name, finding("HTTP-HEALTH", service="web")) for name in _names("web", *range(1, 13))]
    reports += [_cache(name) for name in _names("cache", 1, 2, 3)]
    reports += [_worker(name) for name in _names("worker", 1, 2)]
    reports += [_balancer(name) for name in _names("lb", 1, 2)]
    reports.append(_database())
    return run(*reports, exit_code=6, inventory="./inventory.yml")


def _app(name: str) -> HostReport:
    if name not in ("app07", "app11"):
        return answered(name, finding("HTTP-HEALTH", service="backend"), finding("HOST-MEM"))
    said = '503 from /health/ready: "database: timeout"'
    step = "fleetmedic check {host} --include 'PG-*' --include 'REDIS-*' --include 'HOST-*' --show all"
    bad = finding("HTTP-HEALTH", STATUS_CRIT, "backend", "backend", said, step, since=NOW - 500)
    return answered(name, bad, finding("HOST-MEM"))


def _cache(name: str) -> HostReport:
    if name == "cache02":
        return silent(name, cause="TCP 7443 refused: no agent listens there")
    return answered(name, finding("REDIS-UP", service="redis"))


def _worker(name: str) -> HostReport:
    return answered(name, finding("HOST-MEM", service="worker"), skipped("DOCKER-DAEMON", "needs root"))


def _balancer(name: str) -> HostReport:
    said = "api.example.com expires in 11d (limit 14d)"
    return answered(name, finding("TLS-EXPIRY", STATUS_WARN, "tls", "api.example.com:443", said, since=NOW - 200_000))


def _database() -> HostReport:
    said = "98/100 used (98%, limit 90%): 61 idle in transaction, oldest 8m12s, all from app-backend@app07"
    step = "fleetmedic check {host} --include PG-IDLE-TXN --include PG-LOCK-ROOT --show all"
    bad = finding("PG-CONN-SATURATION", STATUS_CRIT, "postgres", "127.0.0.1:5432", said, step, since=NOW - 540)
    bad.metrics.append(Metric(name="used", value=0.98, unit="ratio", limit=0.9, owner="own", origin="default"))
    return answered("db01", bad, finding("HOST-MEM"), clock_offset=7.0)


def hosts(reports: Sequence[HostReport]) -> list[str]:
    return [report.host for report in reports]
