"""Redis has room for more clients, and has turned none away.

At maxclients it turns every new connection away while the old ones work on, so some workers fail and others do not. The
table says who holds the connections.
"""

from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, age, finding, graded, grown, metric, size, skipped, table
from agent.rules.redis import at, blindness
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("redis",)
WARN = Limit("warn_share", 0.80, "ratio", "own")
CRIT = Limit("crit_share", 0.90, "ratio", "APA")
NEXT = "find the client that leaks (the table: most connections, longest idle) and restart that one alone"

COMMAND = "redis-cli INFO clients; redis-cli CLIENT LIST"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("redis"):
        blind = blindness(snapshot.redis) or _unknown(snapshot)
        yield skipped(snapshot.target, blind) if blind else _judged(snapshot, limits)


def _unknown(snapshot: Snapshot) -> str:
    return "" if snapshot.redis.max_clients else "needs +config|get: this server's INFO does not tell maxclients"


def _judged(snapshot: Snapshot, limits: Limits) -> Finding:
    redis = snapshot.redis
    share = redis.connected_clients / redis.max_clients
    status, limit = graded(share, limits.of(WARN), limits.of(CRIT))
    summary = f"{redis.connected_clients} of {redis.max_clients} clients ({share:.0%}, limit {limit.value:.0%})"
    if redis.blocked_clients:
        summary += f", {redis.blocked_clients} blocked"
    turned_away = grown(snapshot, "rejected_connections", redis.rejected_connections)
    if turned_away and turned_away[0]:
        status = STATUS_CRIT
        summary += f"; {turned_away[0]:.0f} turned away in {age(turned_away[1])}"
    if redis.clients:
        first = redis.clients[0]
        summary += f"; most by {first.name or first.address}: {first.count}"
    rows = [
        (item.address, item.name, str(item.count), size(item.memory), age(item.longest_idle_seconds))
        for item in redis.clients
    ]
    return finding(
        status,
        snapshot.target,
        summary,
        metrics=[metric("used_share", share, "ratio", limit), metric("blocked", redis.blocked_clients, "count")],
        table=table(("address", "name", "connections", "memory", "longest idle"), rows),
        equal_command=at(snapshot, COMMAND),
        next_step=NEXT,
    )
