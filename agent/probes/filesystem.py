"""Room on one filesystem. statvfs on a hung mount never returns: hence a job for each mount."""

import os

from agent.config import Config
from fleetmedic.v1.snapshot_pb2 import FilesystemSnapshot, Snapshot, Target


def collect(target: Target, config: Config) -> Snapshot:
    del config
    room = os.statvfs(target.name)
    return Snapshot(
        filesystem=FilesystemSnapshot(
            device=target.socket,
            size_bytes=room.f_blocks * room.f_frsize,
            free_bytes=room.f_bfree * room.f_frsize,
            available_bytes=room.f_bavail * room.f_frsize,
            files=room.f_files,
            files_free=room.f_favail,
            read_only=bool(room.f_flag & os.ST_RDONLY),
        )
    )
