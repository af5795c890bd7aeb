"""Tables of PostgreSQL and Redis: who is connected, what runs, who waits for whom, what was slow, what is kept."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from controller.tables.kind import Column, Kind, Row, number, place, seconds, timestamp
from fleetmedic.v1.snapshot_pb2 import PostgresSession, PostgresSnapshot, Snapshot

SERVER = (Column("service"), Column("server"))


def _postgres_unseen(snapshot: Snapshot) -> str:
    """By process titles alone there are owners, and no statements: what there is is shown."""
    postgres = snapshot.postgres
    login = postgres.login
    if login.read_error_class:
        return f"{login.read_error_class}: {login.read_error_text}"
    if login.error_class and not postgres.owners:
        return f"{login.error_class}: {login.error_text}"
    if not login.error_class and not postgres.sees_all_sessions:
        return f"{login.role} may not see the sessions of others: GRANT pg_monitor TO {login.role}"
    return ""


def _sessions(snapshots: Sequence[Snapshot]) -> Iterator[Row]:
    for snapshot in snapshots:
        for owner in snapshot.postgres.owners:
            who = (owner.state, owner.user, owner.database, owner.application, owner.client)
            yield (*place(snapshot.target), owner.count, *who)


def _queries(snapshots: Sequence[Snapshot]) -> Iterator[Row]:
    for snapshot in snapshots:
        for item in snapshot.postgres.sessions:
            who = (item.pid, item.user, item.database, item.application, item.client)
            runs = (item.state, item.query_seconds, item.transaction_seconds, item.wait_event, item.query)
            yield (*place(snapshot.target), *who, *runs)


def _locks(snapshots: Sequence[Snapshot]) -> Iterator[Row]:
    for snapshot in snapshots:
        yield from _of_server(snapshot, snapshot.postgres)


def _of_server(snapshot: Snapshot, postgres: PostgresSnapshot) -> Iterator[Row]:
    """An edge a row; what the blocker is doing tells what to do about it."""
    known: Mapping[int, PostgresSession] = {item.pid: item for item in postgres.sessions}
    waiting = {edge.waiting for edge in postgres.lock_edges}
    for edge in postgres.lock_edges:
        blocker = known.get(edge.blocking, PostgresSession())
        victim = known.get(edge.waiting, PostgresSession())
        root = "prepared transaction" if edge.blocking == 0 else "waits itself" if edge.blocking in waiting else "root"
        yield (
            *place(snapshot.target),
            edge.waiting,
            edge.waiting_seconds,
            edge.mode or edge.lock_type,
            edge.relation,
            edge.blocking,
            root,
            blocker.state,
            blocker.application,
            blocker.query,
            victim.query,
        )


def _redis_unseen(snapshot: Snapshot) -> str:
    redis = snapshot.redis
    return f"{redis.error_class}: {redis.error_text}" if redis.error_class else ""


def _unless_refused(command: str, snapshot: Snapshot) -> str:
    """Nothing listed by a server that refused to list is no empty table."""
    refused = any(said.startswith(command) for said in snapshot.redis.not_allowed)
    return _redis_unseen(snapshot) or (f"its ACL does not allow {command}" if refused else "")


def _slow(snapshots: Sequence[Snapshot]) -> Iterator[Row]:
    for snapshot in snapshots:
        for item in snapshot.redis.slow_commands:
            yield (*place(snapshot.target), seconds(item.took), timestamp(item.time), item.shape, item.client)


def _keyspace(snapshots: Sequence[Snapshot]) -> Iterator[Row]:
    for snapshot in snapshots:
        for item in snapshot.redis.keyspaces:
            share = 100 * item.expires / item.keys if item.keys else None
            ttl = item.average_ttl_ms / 1000
            yield (*place(snapshot.target), f"db{item.database}", item.keys, item.expires, share, ttl)


def _clients(snapshots: Sequence[Snapshot]) -> Iterator[Row]:
    for snapshot in snapshots:
        redis = snapshot.redis
        for item in redis.clients:
            share = 100 * item.count / redis.max_clients if redis.max_clients else None
            who = (item.address, item.name)
            yield (*place(snapshot.target), item.count, share, *who, item.longest_idle_seconds, item.memory)


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "sessions": Kind(
            "PostgreSQL connections, counted by state and owner.",
            "SELECT count(*), state FROM pg_stat_activity GROUP BY state",
            ("postgres",),
            (
                *SERVER,
                Column("count", "count"),
                *map(Column, ("state", "user", "database", "application", "client")),
            ),
            _sessions,
            _postgres_unseen,
            lambda row: (-number(row[2]), str(row[3])),
        ),
        "queries": Kind(
            "PostgreSQL sessions that do, or hold, something; the oldest statement first.",
            "SELECT pid, now() - query_start, query, state FROM pg_stat_activity WHERE state <> 'idle'",
            ("postgres",),
            (
                *SERVER,
                Column("pid", "count"),
                *map(Column, ("user", "database", "application", "client", "state")),
                Column("query age", "seconds"),
                Column("transaction age", "seconds"),
                *map(Column, ("waits for", "query")),
            ),
            _queries,
            _postgres_unseen,
            lambda row: (-number(row[8]), -number(row[9])),
        ),
        "locks": Kind(
            "Who waits for whom in PostgreSQL; a root waits for nobody.",
            "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
            ("postgres",),
            (
                *SERVER,
                Column("waiting", "count"),
                Column("since", "seconds"),
                *map(Column, ("mode", "relation")),
                Column("blocked by", "count"),
                *map(Column, ("which is", "state", "application", "its query", "waiting query")),
            ),
            _locks,
            _postgres_unseen,
            lambda row: (row[7] != "root", -number(row[3]), number(row[2])),
        ),
        "slowlog": Kind(
            "Slow commands of Redis, the slowest first, without their arguments.",
            "redis-cli SLOWLOG GET",
            ("redis",),
            (*SERVER, Column("took", "seconds"), Column("when", "time"), Column("command"), Column("client")),
            _slow,
            lambda snapshot: _unless_refused("slowlog", snapshot),
            lambda row: (-number(row[2]), -number(row[3])),
        ),
        "keyspace": Kind(
            "Keys of each Redis database, and how many of them expire.",
            "redis-cli INFO keyspace",
            ("redis",),
            (
                *SERVER,
                Column("database"),
                Column("keys", "count"),
                Column("expiring", "count"),
                Column("share", "percent"),
                Column("average ttl", "seconds"),
            ),
            _keyspace,
            _redis_unseen,
            lambda row: (-number(row[3]),),
        ),
        "clients": Kind(
            "Redis clients by address and name, and their share of maxclients.",
            "redis-cli CLIENT LIST TYPE normal",
            ("redis",),
            (
                *SERVER,
                Column("count", "count"),
                Column("of maxclients", "percent"),
                *map(Column, ("address", "name")),
                Column("longest idle", "seconds"),
                Column("memory", "bytes"),
            ),
            _clients,
            lambda snapshot: _unless_refused("client", snapshot),
            lambda row: (-number(row[2]),),
        ),
    }
)
