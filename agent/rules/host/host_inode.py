"""Every filesystem has a tenth of its files' places free.

Without a free inode nothing new can be made, though there is room: "No space left on device" with free bytes.
"""

import shlex
from collections.abc import Iterator

from agent.rule import Limit, Limits, Seen, finding, graded, metric
from fleetmedic.v1.finding_pb2 import STATUS_OK, Finding
from fleetmedic.v1.snapshot_pb2 import Snapshot

NEEDS = ("filesystem",)
WARN = Limit("warn_free_share", 0.10, "ratio", "APA")
CRIT = Limit("crit_free_share", 0.03, "ratio", "NM")
NEXT = "find the folder with very many small files: sessions, mails, caches (du --inodes -x -d 3 {mount} | sort -n)"


def judge(seen: Seen, limits: Limits) -> Iterator[Finding]:
    for snapshot in seen.of("filesystem"):
        if snapshot.filesystem.size_bytes:
            yield _judged(snapshot, limits)


def _judged(snapshot: Snapshot, limits: Limits) -> Finding:
    room = snapshot.filesystem
    mount = shlex.quote(snapshot.target.name)
    command = f"df -i {mount}"
    if not room.files:
        return finding(STATUS_OK, snapshot.target, "makes inodes as they are needed", equal_command=command)
    share = room.files_free / room.files
    status, limit = graded(share, limits.of(WARN), limits.of(CRIT), low_is_bad=True)
    return finding(
        status,
        snapshot.target,
        f"{room.files_free} of {room.files} inodes free ({share:.0%}, limit {limit.value:.0%})",
        metrics=[metric("free_share", share, "ratio", limit)],
        equal_command=command,
        next_step=NEXT.replace("{mount}", mount),
    )
