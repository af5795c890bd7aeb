"""Rules about the host itself."""

from agent.rule import errored
from fleetmedic.v1.finding_pb2 import Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot


def unread(snapshot: Snapshot) -> Finding | None:
    """An error where the kernel told nothing: every machine has a processor."""
    return None if snapshot.kernel.processors else errored(snapshot.target, "the kernel tells nothing of itself")
