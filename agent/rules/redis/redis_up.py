"""Redis answers PING within 100 ms.

A refusal has a class of its own: full of clients, loading, a script that runs too long, persistence broken (MISCONF:
then even PING fails), no password, a wrong one, nobody listening, silence.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, finding, metric, seconds
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, STATUS_SKIPPED, STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import RedisSnapshot, Snapshot

NEEDS = ("redis",)
UNANSWERED = STATUS_CRIT
SLOW = Limit("slow_seconds", 0.1, "seconds", "own")
NEXT_ACL = "run the ACL shown, or set user and password_file under [[redis]] in agent.toml"
NEXT_CERTIFICATE = "let the agent in without one: tls-auth-clients optional, or a plain port on 127.0.0.1"
NEXT_DOWN = "look at its log and whether its container or unit runs: docker ps -a; systemctl status redis-server"
NEXT_WAIT = "wait until it has loaded its data; do not restart it again"
NEXT_DISK = "free its disk or mend its folder, then BGSAVE, and look at rdb_last_bgsave_status again"

MEANING = {
    "NOAUTH": "wants a login",
    "WRONGPASS": "refused the agent's password",
    "NOPERM": "lets the agent do too little",
    "LOADING": "is loading its data",
    "BUSY": "is busy with a script",
    "MISCONF": "can't save to disk and refuses writes (MISCONF)",
    "MASTERDOWN": "is a replica whose primary is down",
    "DENIED": "is in protected mode",
    "maxclients": "is full of clients",
    "timeout": "takes the connection and gives no answer (timeout)",
    "refused": "nobody listens there (refused)",
    "cut": "cut the connection off",
    "no-redis": "sends what is not the Redis protocol: another kind of server holds its address",
    "client-certificate": "speaks TLS and wants a client certificate",
}
OUR_LOGIN = frozenset({"NOAUTH", "WRONGPASS", "NOPERM", "client-certificate"})


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("redis"):
        yield _refused(snapshot) if snapshot.redis.error_class else _answered(snapshot, limits.of(SLOW))


def _answered(snapshot: Snapshot, slow: Limit) -> Finding:
    took = seconds(snapshot.redis.ping)
    status = STATUS_WARN if took > slow.value else STATUS_OK
    summary = f"PING in {1000 * took:.1f} ms (limit {1000 * slow.value:.0f} ms), {snapshot.redis.server_name}"
    measured = [metric("ping_seconds", took, "seconds", slow)]
    return finding(
        status,
        snapshot.target,
        f"{summary} {snapshot.redis.version}",
        metrics=measured,
        equal_command=_command(snapshot),
    )


def _refused(snapshot: Snapshot) -> Finding:
    redis = snapshot.redis
    ours = redis.error_class in OUR_LOGIN
    summary = f"Redis {MEANING.get(redis.error_class, 'refuses')}: {redis.error_text}"
    made = finding(
        # An agent that may not log in can't say that users can't.
        STATUS_SKIPPED if ours else STATUS_CRIT,
        snapshot.target,
        summary,
        excerpt=redis.acl,
        equal_command=_command(snapshot),
        next_step=_next(redis.error_class),
    )
    if ours:
        made.reason = _reason(redis)
    return made


def _reason(redis: RedisSnapshot) -> str:
    if redis.error_class == "client-certificate":
        return MEANING[redis.error_class]
    return f"needs a login: {redis.error_text}"


def _next(error_class: str) -> str:
    if error_class == "client-certificate":
        return NEXT_CERTIFICATE
    if error_class in OUR_LOGIN:
        return NEXT_ACL
    return {"LOADING": NEXT_WAIT, "MISCONF": NEXT_DISK}.get(error_class, NEXT_DOWN)


def _command(snapshot: Snapshot) -> str:
    target = snapshot.target
    if target.socket:
        return f"redis-cli -s {shlex.quote(target.socket)} PING"
    secured = "--tls --insecure " if snapshot.redis.tls else ""
    return f"redis-cli {secured}-h {shlex.quote(target.host)} -p {target.port} PING"
