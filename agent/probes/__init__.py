"""What looks: a file per area, `collect(target, config)` gives a snapshot, redacted, in a job of its own."""

import importlib
from collections.abc import Mapping
from functools import partial

from agent import budgets
from agent.config import Config
from agent.jobs import Work
from fleetmedic.v1.snapshot_pb2 import Snapshot, Target


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
        return {f"restarts {item.id}": float(item.restart_count) for item in snapshot.docker.containers}
    if snapshot.HasField("redis") and not snapshot.redis.error_class:
        return {"oom_errors": float(snapshot.redis.oom_errors)}
    return {}
