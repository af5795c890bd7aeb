"""Room on one filesystem. statvfs on a hung mount never returns: hence a job for each mount."""

import os

from agent import mounts
from agent.config import Config
from agent.jobs import NeedsRight
from agent.probes.postgres_disk import measured
from fleetmedic.v1.snapshot_pb2 import Snapshot, Target


def collect(target: Target, config: Config) -> Snapshot:
    del config
    try:
        made = measured(os.statvfs(target.name))
    except PermissionError as error:
        # A user's FUSE mount without allow_other refuses root as well.
        raise NeedsRight("not readable, for root neither") from error
    made.device = target.socket
    mount = mounts.at(target.name, mounts.MOUNTINFO.read_text())
    if mount:
        # Of the filesystem, not of this mount: a unit with ProtectSystem sees every mount as read-only.
        made.type, made.read_only = mount.type, mount.read_only
        made.meant_read_only = mounts.meant_read_only(target.name)
    return Snapshot(filesystem=made)
