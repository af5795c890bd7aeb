"""No one client holds more than half of PostgreSQL's connection slots.

A pool that leaks, or too many workers of one service. The client is named by its container where its address is
one's, so that only that container needs a restart.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.rule import Limit, Limits, Seen, finding, graded, metric, table
from agent.rules.postgres import OWNER_COLUMNS, at, ordinary_slots, owner_rows, unjudged
from fleetmedic.v1.finding_pb2 import Finding
from fleetmedic.v1.snapshot_pb2 import PostgresOwner, Snapshot

NEEDS = ("postgres",)
# Names clients; without an engine they keep their addresses.
MAY_USE = ("docker",)
WARN = Limit("warn_share", 0.50, "ratio", "own")
CRIT = Limit("crit_share", 0.90, "ratio", "own")
NEXT = "keep its sessions (the table) as evidence, then restart that client alone: its idle sessions end with it"

COMMAND = (
    "psql -c 'SELECT application_name, usename, client_addr, count(*) FROM pg_stat_activity "
    "GROUP BY 1, 2, 3 ORDER BY 4 DESC'"
)


@dataclass(frozen=True, slots=True)
class Client:
    """Who connects: one application as one user from one address."""

    user: str
    application: str
    address: str


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    containers = _by_address(seen.of("docker"))
    for snapshot in seen.of("postgres"):
        yield unjudged(snapshot) or _judged(snapshot, containers, limits)


def _by_address(engines: Sequence[Snapshot]) -> Mapping[str, str]:
    """Containers, with what they run, by their addresses."""
    return {
        address: f"{item.name} ({item.image})"
        for engine in engines
        for item in engine.docker.containers
        for address in item.addresses
    }


def clients(owners: Sequence[PostgresOwner]) -> list[tuple[Client, int]]:
    """Every client with its connections, whatever their state; most first."""
    counted: Counter[Client] = Counter()
    for owner in owners:
        counted[Client(owner.user, owner.application, owner.client)] += owner.count
    return counted.most_common()


def _judged(snapshot: Snapshot, containers: Mapping[str, str], limits: Limits) -> Finding:
    slots = snapshot.postgres.connections
    counted = clients(snapshot.postgres.owners)
    client, count = counted[0] if counted else (Client("nobody", "", ""), 0)
    share = count / max(1, ordinary_slots(slots))
    status, limit = graded(share, limits.of(WARN), limits.of(CRIT))
    place = containers.get(client.address, client.address)
    summary = (
        f"{client.application or client.user} from {place} holds {count} of {ordinary_slots(slots)} slots "
        f"({share:.0%}, limit {limit.value:.0%})"
    )
    return finding(
        status,
        snapshot.target,
        summary,
        metrics=[metric("share", share, "ratio", limit), metric("connections", count, "count")],
        table=table(OWNER_COLUMNS, owner_rows(snapshot.postgres.owners)),
        equal_command=at(snapshot, COMMAND),
        next_step=NEXT,
    )
