"""Room on one filesystem. statvfs on a hung mount never returns: hence a job for each mount."""

import os

from agent.config import Config
from agent.jobs import NeedsRight
from fleetmedic.v1.snapshot_pb2 import FilesystemSnapshot, Snapshot, Target


def collect(target: Target, config: Config) -> Snapshot:
    del config
    try:
        room = os.statvfs(target.name)
    except PermissionError as error:
        # A user's FUSE mount without allow_other refuses root as well.
        raise NeedsRight("not readable, for root neither") from error
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
