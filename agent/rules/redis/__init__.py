"""Rules about Redis and Valkey, and how full one is."""

from fleetmedic.v1.snapshot_pb2 import RedisSnapshot


def used_share(redis: RedisSnapshot) -> float | None:
    """Of maxmemory, without the buffers that eviction does not count; None where there is no maxmemory."""
    if not redis.maxmemory:
        return None
    return max(0, redis.used_memory - redis.not_counted_for_evict) / redis.maxmemory


def blindness(redis: RedisSnapshot) -> str:
    """Why memory can't be judged from this snapshot; empty where it can."""
    return "" if redis.version else f"no INFO: {redis.error_text or 'an empty answer'}"
