"""Who this agent is, and the stamps by which a caller corrects its clock."""

from pathlib import Path

from agent import VERSION
from fleetmedic.v1.agent_pb2 import Clock, Identity

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def identity(name: str, started: float) -> Identity:
    made = Identity(name=name, version=VERSION, boot_id=BOOT_ID.read_text().strip())
    made.started_time.FromMilliseconds(int(started * 1000))
    return made


def clock(received: float) -> Clock:
    """`received`: when the request came in, epoch seconds; the answer is taken to leave now."""
    made = Clock()
    made.received_time.FromNanoseconds(int(received * 1e9))
    made.answered_time.GetCurrentTime()
    return made
