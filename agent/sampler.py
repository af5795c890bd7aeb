"""One sample: counters for the flight recorder, and for the worker what is on the host."""

import time
from pathlib import Path

from google.protobuf.message import DecodeError

from agent import budgets, discovery, probes
from agent.check import Medic
from agent.jobs import Crew, forget_old_locks
from agent.recorder import Recorder
from fleetmedic.v1.snapshot_pb2 import DiscoverySnapshot, Target

SAMPLED = ("docker", "redis", "python")
# Of these the worker keeps a resident; nothing else of what was found is written down.
RESIDENT = frozenset({"postgres"})


def sample(medic: Medic) -> None:
    """Looks at what counts something, by the same probes as a check, in jobs with the same budgets."""
    found = discovery.run(medic.config, medic.locks)
    forget_old_locks(medic.locks, time.time())
    place = _place(medic.config.run)
    fresh = place.with_suffix(".new")
    kept = [target for target in found.targets if target.probe in RESIDENT]
    fresh.write_bytes(DiscoverySnapshot(targets=kept).SerializeToString())
    fresh.replace(place)
    crew = Crew(medic.locks)
    crew.add(probes.work(target, medic.config) for target in found.targets if target.probe in SAMPLED)
    snapshots = list(crew.finished(time.monotonic() + max(budgets.PROBE_KILL.values())))
    Recorder(medic.config.state).keep([(item, probes.counters(item)) for item in snapshots], time.time())


def targets(run: Path) -> list[Target]:
    """What the last sample's discovery found; nothing before the first."""
    made = DiscoverySnapshot()
    try:
        made.ParseFromString(_place(run).read_bytes())
    except (FileNotFoundError, DecodeError):
        return []
    return list(made.targets)


def _place(run: Path) -> Path:
    return run / "discovered"
