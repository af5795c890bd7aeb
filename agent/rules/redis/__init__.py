"""Rules about Redis and Valkey, and how full one is."""

import shlex

from fleetmedic.v1.snapshot_pb2 import RedisSnapshot, Snapshot


def at(snapshot: Snapshot, command: str) -> str:
    """Commands of redis-cli for this very server, where it is not the one that redis-cli goes to by itself."""
    target = snapshot.target
    if (target.host, target.port) == ("127.0.0.1", 6379):
        return command
    place = f"-h {shlex.quote(target.host)} -p {target.port}"
    if target.socket:
        place = f"-s {shlex.quote(target.socket)}"
    return command.replace("redis-cli ", f"redis-cli {place} ")


def used_share(redis: RedisSnapshot) -> float | None:
    """Of maxmemory, without the buffers that eviction does not count; None where there is no maxmemory."""
    if not redis.maxmemory:
        return None
    return max(0, redis.used_memory - redis.not_counted_for_evict) / redis.maxmemory


def blindness(redis: RedisSnapshot) -> str:
    """Why memory can't be judged from this snapshot; empty where it can."""
    return "" if redis.version else f"no INFO: {redis.error_text or 'an empty answer'}"
