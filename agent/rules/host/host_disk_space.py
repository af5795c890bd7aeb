"""Every filesystem has room: 10 % free, or at least 1 GiB where that is more than a twentieth.

Counted is what an ordinary user can still write; what the filesystem keeps for root is said beside it.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Level, Limit, Limits, Seen, finding, graded, metric, size
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_ERROR, STATUS_WARN, Finding
from fleetmedic.v1.snapshot_pb2 import FilesystemSnapshot, Snapshot

NEEDS = ("filesystem",)
UNANSWERED = STATUS_ERROR
WARN = Limit("warn_free_share", 0.10, "ratio", "APA")
CRIT = Limit("crit_free_share", 0.05, "ratio", "NM")
SCARCE = Limit("crit_free_bytes", 2.0**30, "bytes", "own")
NEXT = "find what grew (docker logs, pg_wal, /var/log) before anything is deleted: the evidence may be what fills it"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("filesystem"):
        # What can't be written can't fill up: HOST-DISK-RO's matter.
        if snapshot.filesystem.size_bytes and not snapshot.filesystem.read_only:
            yield _judged(snapshot, limits)


def status_of(room: FilesystemSnapshot, limits: Limits) -> tuple[Level, Limit]:
    """Under 10 % free is a warning, and critical where that is less than 1 GiB; under 5 % is critical."""
    share = room.available_bytes / room.size_bytes
    status, limit = graded(share, limits.of(WARN), limits.of(CRIT), low_is_bad=True)
    scarce = limits.of(SCARCE)
    if status == STATUS_WARN and room.available_bytes < scarce.value:
        return STATUS_CRIT, limit
    return status, limit


def _judged(snapshot: Snapshot, limits: Limits) -> Finding:
    room = snapshot.filesystem
    status, limit = status_of(room, limits)
    share = room.available_bytes / room.size_bytes
    kept = room.free_bytes - room.available_bytes
    for_root = f", {size(kept)} more for root" if kept else ""
    summary = (
        f"{size(room.available_bytes)} of {size(room.size_bytes)} free ({share:.0%}, limit {limit.value:.0%}){for_root}"
    )
    return finding(
        status,
        snapshot.target,
        summary,
        metrics=[metric("free_share", share, "ratio", limit), metric("free", room.available_bytes, "bytes")],
        equal_command=f"df -h {shlex.quote(snapshot.target.name)}",
        next_step=NEXT,
    )
