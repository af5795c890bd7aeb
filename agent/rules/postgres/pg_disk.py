"""The filesystems that PostgreSQL writes to have room.

When there is none it first refuses statements, then can't write its log of writes, stops, and does not start again.
Never delete anything in pg_wal.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Limits, Seen, finding, metric, size
from agent.rules.host.host_disk_space import CRIT, SCARCE, WARN, status_of
from fleetmedic.v1.finding_pb2 import STATUS_ERROR, Finding
from fleetmedic.v1.snapshot_pb2 import PostgresDisk, Snapshot

NEEDS = ("postgres_disk",)
UNANSWERED = STATUS_ERROR
# Those of any filesystem, and each to be changed for this rule alone.
__all__ = ["CRIT", "NEEDS", "SCARCE", "UNANSWERED", "WARN", "judge"]
NEXT = "make room outside its folders (docker logs, /var/log), or give the volume more; never delete in pg_wal"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("postgres_disk"):
        for disk in snapshot.postgres_disk.disks:
            if disk.room.size_bytes:
                yield _judged(snapshot, disk, limits)


def _judged(snapshot: Snapshot, disk: PostgresDisk, limits: Limits) -> Finding:
    room = disk.room
    status, limit = status_of(room, limits)
    share = room.available_bytes / room.size_bytes
    return finding(
        status,
        snapshot.target,
        f"{disk.part} ({disk.path}): {size(room.available_bytes)} of {size(room.size_bytes)} free "
        f"({share:.0%}, limit {limit.value:.0%})",
        kind="postgres",
        name=f"{snapshot.target.name} {disk.part}",
        metrics=[metric("free_share", share, "ratio", limit), metric("free", room.available_bytes, "bytes")],
        equal_command=f"df -h {shlex.quote(disk.path)}",
        next_step=NEXT,
    )
