"""Snapshots as probes would make them, one line each, and what a rule says of them."""

from collections.abc import Mapping, Sequence

from google.protobuf.duration_pb2 import Duration

from agent import registry
from agent.registry import Rule
from agent.rule import Limits, Seen
from fleetmedic.v1.finding_pb2 import Finding, Status
from fleetmedic.v1.snapshot_pb2 import (
    Certificate,
    CertificateFile,
    Container,
    DnsAnswer,
    DnsSnapshot,
    DockerSnapshot,
    FilesystemSnapshot,
    HttpSnapshot,
    MemorySnapshot,
    PostgresConnections,
    PostgresLockEdge,
    PostgresLogin,
    PostgresOwner,
    PostgresSession,
    PostgresSnapshot,
    RedisSnapshot,
    Sample,
    Snapshot,
    Target,
    TlsSnapshot,
)

NOW = 1_700_000_000.0
DAY = 86400.0
GIB = 2**30
RULES: Mapping[str, Rule] = {rule.id: rule for rule in registry.load()}


def judge(
    rule: str, *snapshots: Snapshot, limits: Mapping[str, float] | None = None, now: float = NOW
) -> list[Finding]:
    """The findings of one rule; `limits` are values by name, as a request would change them."""
    changed = {name: (value, "test") for name, value in (limits or {}).items()}
    seen: dict[str, list[Snapshot]] = {}
    for snapshot in snapshots:
        seen.setdefault(snapshot.target.probe, []).append(snapshot)
    return list(RULES[rule].judge(Seen(seen, now), Limits(changed)))


def statuses(findings: Sequence[Finding]) -> list[str]:
    return [Status.Name(item.status).removeprefix("STATUS_").lower() for item in findings]


def one(rule: str, *snapshots: Snapshot, limits: Mapping[str, float] | None = None, now: float = NOW) -> Finding:
    (found,) = judge(rule, *snapshots, limits=limits, now=now)
    return found


def status(rule: str, *snapshots: Snapshot, limits: Mapping[str, float] | None = None, now: float = NOW) -> str:
    (said,) = statuses(judge(rule, *snapshots, limits=limits, now=now))
    return said


def duration(seconds: float) -> Duration:
    made = Duration()
    made.FromNanoseconds(round(seconds * 1e9))
    return made


def target(probe: str, **fields: object) -> Target:
    return Target(probe=probe, service=probe, name=f"{probe} here", host="127.0.0.1", port=1, **fields)  # type: ignore[arg-type]


def postgres(
    *,
    login: PostgresLogin | None = None,
    used: int = 1,
    most: int = 100,
    superuser: int = 3,
    reserved: int = 0,
    sessions: Sequence[PostgresSession] = (),
    edges: Sequence[PostgresLockEdge] = (),
    owners: Sequence[PostgresOwner] = (),
    sees_all: bool = True,
) -> Snapshot:
    """A server whose sessions were read, unless `most` is 0."""
    made = PostgresSnapshot(
        login=login or PostgresLogin(role="fleetmedic", select_one=duration(0.01)),
        server_version="15.18",
        connections=PostgresConnections(
            used=used, max_connections=most, superuser_reserved=superuser, reserved=reserved
        ),
        sessions=sessions,
        lock_edges=edges,
        owners=owners,
        sees_all_sessions=sees_all,
    )
    return Snapshot(target=target("postgres"), postgres=made)


def refused_postgres(error_class: str, text: str = "no", **login: object) -> Snapshot:
    """A server that let nobody in, and of which nothing else is known."""
    seen = PostgresLogin(error_class=error_class, error_text=text, **login)  # type: ignore[arg-type]
    return Snapshot(target=target("postgres"), postgres=PostgresSnapshot(login=seen))


def session(pid: int, state: str = "idle in transaction", seconds: float = 1.0, **fields: object) -> PostgresSession:
    return PostgresSession(
        pid=pid,
        state=state,
        state_seconds=seconds,
        user="app",
        database="shop",
        client="10.0.0.5",
        **fields,  # type: ignore[arg-type]
    )


def edge(waiting: int, blocking: int, seconds: float = 1.0, **fields: str) -> PostgresLockEdge:
    return PostgresLockEdge(waiting=waiting, blocking=blocking, waiting_seconds=seconds, **fields)


def redis(*, earlier: Sequence[Sample] = (), **fields: object) -> Snapshot:
    given: dict[str, object] = {"version": "7.0.15", "server_name": "redis", "ping": duration(0.001), **fields}
    return Snapshot(target=target("redis"), redis=RedisSnapshot(**given), earlier=earlier)  # type: ignore[arg-type]


def docker(*containers: Container, earlier: Sequence[Sample] = (), **fields: object) -> Snapshot:
    given: dict[str, object] = {"version": "20.10", "ping": duration(0.01), **fields}
    made = DockerSnapshot(containers=containers, **given)  # type: ignore[arg-type]
    return Snapshot(target=target("docker", socket="/run/docker.sock"), docker=made, earlier=earlier)


def container(name: str = "web", **fields: object) -> Container:
    given: dict[str, object] = {"id": f"{name}-id", "state": "running", "restart_policy": "always", **fields}
    return Container(name=name, **given)  # type: ignore[arg-type]


def sample(at: float, **counters: float) -> Sample:
    """Counters by name, with blanks for underscores where a container is meant: restarts_web -> restarts web-id."""
    made = Sample()
    made.taken_time.FromMilliseconds(int(at * 1000))
    for name, value in counters.items():
        made.counters[f"restarts {name.removeprefix('restarts_')}-id" if name.startswith("restarts_") else name] = value
    return made


def filesystem(available: float, size: float, free: float | None = None) -> Snapshot:
    made = FilesystemSnapshot(
        size_bytes=int(size), available_bytes=int(available), free_bytes=int(available if free is None else free)
    )
    return Snapshot(target=target("filesystem"), filesystem=made)


def memory(available: int, total: int) -> Snapshot:
    return Snapshot(target=target("memory"), memory=MemorySnapshot(total_bytes=total, available_bytes=available))


def certificate(life_days: float, left_days: float, subject: str = "shop.lab") -> Certificate:
    """One that lives `life_days` in all and has `left_days` of them left at NOW."""
    made = Certificate(subject=subject, issuer="lab root", serial="01")
    made.not_after.FromMilliseconds(round((NOW + left_days * DAY) * 1000))
    made.not_before.FromMilliseconds(round((NOW + (left_days - life_days) * DAY) * 1000))
    return made


def tls(*chain: Certificate, **fields: object) -> Snapshot:
    return Snapshot(target=target("tls"), tls=TlsSnapshot(chain=chain, **fields))  # type: ignore[arg-type]


def own_certificate(life_days: float, left_days: float) -> Snapshot:
    made = CertificateFile(path="/etc/agent.crt", chain=[certificate(life_days, left_days, "db01")])
    return Snapshot(target=target("own_certificate"), own_certificate=made)


def dns(system: str, *servers: str, seconds: float = 0.01) -> Snapshot:
    """Codes by the system and by each name server."""
    made = DnsSnapshot(
        name="db.lab",
        system=DnsAnswer(server="system", code=system, addresses=["10.0.0.1"], took=duration(seconds)),
        servers=[DnsAnswer(server=f"10.0.0.{n}", code=code) for n, code in enumerate(servers, 53)],
    )
    return Snapshot(target=target("dns"), dns=made)


def http(
    status: int = 200, *, seconds: float = 0.01, checks: Mapping[str, str] | None = None, **fields: str
) -> Snapshot:
    made = HttpSnapshot(status=status, processing=duration(seconds), checks=checks or {}, **fields)  # type: ignore[arg-type]
    return Snapshot(target=target("http"), http=made)
