"""Rules about certificates."""

from agent.rule import skipped
from fleetmedic.v1.finding_pb2 import Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot


def unread(snapshot: Snapshot) -> Finding | None:
    """Where no certificate was served; what that means is TLS-EXPIRY's to say."""
    return None if snapshot.tls.chain else skipped(snapshot.target, "no certificate to see, see TLS-EXPIRY")
