"""Room on the filesystems that a PostgreSQL server writes to: its data, its log of writes, its tablespaces.

Found by the server's own process, whose working directory is its data, so that a server that takes no login is looked
at as well. A job of its own: statvfs on a hung mount never returns.
"""

import os
from collections.abc import Iterator

from agent import procfs
from agent.config import Config
from agent.jobs import NeedsRight
from agent.probes import network
from fleetmedic.v1.snapshot_pb2 import FilesystemSnapshot, PostgresDiskSnapshot, Snapshot, Target


def collect(target: Target, config: Config) -> Snapshot:
    del config
    network.same_process(target)
    made = PostgresDiskSnapshot()
    try:
        data = os.readlink(procfs.PROC / str(target.pid) / "cwd")  # noqa: PTH115 - as the process sees it
        for part, path in _parts(target.pid, data):
            room = os.statvfs(procfs.inside(target.pid, path))
            made.disks.add(part=part, path=path, room=measured(room))
    except PermissionError as error:
        raise NeedsRight("needs root to see a server's data folder") from error
    return Snapshot(postgres_disk=made)


def _parts(pid: int, data: str) -> Iterator[tuple[str, str]]:
    yield "data", data
    log = f"{data}/pg_wal"
    root = procfs.PROC / str(pid) / "root"
    if (root / log.lstrip("/")).is_symlink():
        yield "pg_wal", log
    spaces = procfs.inside(pid, f"{data}/pg_tblspc")
    for entry in sorted(os.listdir(spaces)):  # noqa: PTH208 - names alone
        yield f"tablespace {entry}", f"{data}/pg_tblspc/{entry}"


def measured(room: os.statvfs_result) -> FilesystemSnapshot:
    """What statvfs tells, in bytes and files; read_only is the mount's matter, and not set."""
    return FilesystemSnapshot(
        size_bytes=room.f_blocks * room.f_frsize,
        free_bytes=room.f_bfree * room.f_frsize,
        available_bytes=room.f_bavail * room.f_frsize,
        files=room.f_files,
        files_free=room.f_favail,
    )
