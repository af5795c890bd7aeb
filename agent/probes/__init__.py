"""What looks: a file per area, `collect(target, config)` gives a snapshot, redacted, in a job of its own."""

import importlib
from collections.abc import Iterable, Mapping
from functools import partial

from agent import budgets
from agent.config import Config
from agent.jobs import Work
from fleetmedic.v1.snapshot_pb2 import Container, Snapshot, Target

REDIS_COUNTERS = ("oom_errors", "rejected_connections", "evicted_keys")
CONTAINER_COUNTERS = ("cpu_seconds", "oom_kills", "dropped", "errors")


def work(target: Target, config: Config) -> Work:
    """The job that looks at a target."""
    return Work(target, partial(_collect, config=config), budgets.PROBE_KILL[target.probe], config.secrets())


def _collect(target: Target, config: Config) -> Snapshot:
    # Imported in the job: psycopg, redis and dnspython never enter the worker.
    made: Snapshot = importlib.import_module(f"agent.probes.{target.probe}").collect(target, config)
    return made


def counters(snapshot: Snapshot) -> Mapping[str, float]:
    """What of a snapshot the flight recorder keeps, so that rules can judge rates."""
    if snapshot.HasField("docker"):
        return _of_containers(snapshot.docker.containers)
    if snapshot.HasField("redis") and snapshot.redis.version:
        redis = snapshot.redis
        counted = {name: float(getattr(redis, name)) for name in REDIS_COUNTERS}
        return counted | {f"keys {item.database}": float(item.keys) for item in redis.keyspaces}
    if snapshot.HasField("python"):
        python = snapshot.python
        first = f"first {python.pid} {snapshot.target.pid_start_ticks}"
        return {first: 1.0} | {f"worker {item.pid} {item.start_ticks}": 1.0 for item in python.workers}
    if snapshot.HasField("kernel"):
        return {"oom_kills": float(snapshot.kernel.oom_kills)}
    return {}


def _of_containers(containers: Iterable[Container]) -> Mapping[str, float]:
    made = {}
    for item in containers:
        made[f"restarts {item.id}"] = float(item.restart_count)
        if item.HasField("use"):
            made |= {f"{name} {item.id}": float(getattr(item.use, name)) for name in CONTAINER_COUNTERS}
    return made
