"""The filesystems of this host worth watching: those that hold data, each device once."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")
# Filesystems that hold no data of their own, or whose numbers are another's.
NOT_DATA = frozenset(
    {
        "overlay",
        "tmpfs",
        "devtmpfs",
        "squashfs",
        "proc",
        "sysfs",
        "cgroup",
        "cgroup2",
        "devpts",
        "mqueue",
        "hugetlbfs",
        "debugfs",
        "tracefs",
        "securityfs",
        "pstore",
        "bpf",
        "configfs",
        "fusectl",
        "autofs",
        "binfmt_misc",
        "ramfs",
        "nsfs",
        "rpc_pipefs",
        "efivarfs",
        "iso9660",
        "selinuxfs",
    }
)
# sshfs, AppImages, snaps and the like: whose numbers they tell, if any, only their owner knows.
USERS_OWN = "fuse."


@dataclass(frozen=True, slots=True)
class Mount:
    point: str
    device: str
    type: str
    # An image or a mount for reading alone, not a filesystem that errors made read-only, nor a view of a writable one.
    read_only: bool
    # The kernel's major:minor. The device's name is whatever the one who mounted it said.
    number: str = ""


def read(text: str) -> Iterator[Mount]:
    """The lines of a mountinfo file."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, source = before.split(), after.split()
        if len(fields) < 6 or len(source) < 2:
            continue
        # Of this mount, and of the filesystem itself: a unit with ProtectSystem sees every mount as `ro`.
        options = (fields[5], source[2] if len(source) > 2 else fields[5])
        read_only = all("ro" in option.split(",") for option in options)
        yield Mount(_plain(fields[4]), _plain(source[1]), source[0], read_only, fields[2])


def real(mounts: Iterator[Mount], wanted: Collection[str]) -> list[Mount]:
    """Writable mounts that hold data, one for each device (the shortest path), and those `wanted` by path."""
    chosen: dict[str, Mount] = {}
    for mount in mounts:
        if mount.point in wanted:
            chosen[mount.point] = mount
        elif _holds_data(mount):
            known = chosen.get(mount.number)
            # A file bound over another (/etc/resolv.conf in a container) stands for the device's filesystem.
            if known is None or len(mount.point) < len(known.point):
                chosen[mount.number] = mount
    return sorted(chosen.values(), key=lambda mount: mount.point)


def _holds_data(mount: Mount) -> bool:
    """An image is full for good, and what can't be written can't fill up."""
    if mount.read_only or mount.type in NOT_DATA or mount.type.startswith(USERS_OWN):
        return False
    return not mount.point.startswith(("/proc/", "/sys/", "/dev/"))


def _plain(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
