"""No filesystem has become read-only.

After an I/O error the kernel stops writing to protect what is there. Programs then fail one by one. One that /etc/fstab
mounts read-only is meant so.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Limits, Seen, finding
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("filesystem",)
NEXT = "look at dmesg for its I/O errors and move the service away; do not repair it while it is mounted"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    del limits
    for snapshot in seen.of("filesystem"):
        if snapshot.filesystem.size_bytes:
            yield _judged(snapshot)


def _judged(snapshot: Snapshot) -> Finding:
    room = snapshot.filesystem
    command = f"findmnt -o TARGET,SOURCE,OPTIONS,FS-OPTIONS {shlex.quote(snapshot.target.name)}"
    if not room.read_only:
        return finding(STATUS_OK, snapshot.target, "can be written", equal_command=command)
    if room.meant_read_only:
        return finding(STATUS_OK, snapshot.target, "read-only, as /etc/fstab says", equal_command=command)
    summary = f"the {room.type} on {room.device} is read-only, and /etc/fstab does not say so: mostly an I/O error"
    return finding(STATUS_CRIT, snapshot.target, summary, equal_command=command, next_step=NEXT)
