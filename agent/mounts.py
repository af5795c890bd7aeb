"""The filesystems of this host worth watching: those that hold data, each device once."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

FSTAB = Path("/etc/fstab")
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
# What errors turn read-only.
ON_DISKS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs", "zfs", "bcachefs"})
# What the kernel says instead of "ro" where a filesystem is shut down.
STOPPED = frozenset({"ro", "emergency_ro", "abort", "shutdown"})
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
        own, whole = (set(option.split(",")) for option in options)
        read_only = bool(whole & (STOPPED - {"ro"})) or ("ro" in own and "ro" in whole)
        yield Mount(_plain(fields[4]), _plain(source[1]), source[0], read_only, fields[2])


def at(point: str, text: str) -> Mount | None:
    """What is mounted at a path, last and so visible; None where nothing is."""
    found = [mount for mount in read(text) if mount.point == point]
    return found[-1] if found else None


def meant_read_only(point: str) -> bool:
    """Whether /etc/fstab mounts a path read-only."""
    try:
        lines = FSTAB.read_text(errors="replace").splitlines()
    except OSError:
        return False
    rows = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return any(len(row) >= 4 and _plain(row[1]) == point and "ro" in row[3].split(",") for row in rows)


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
    """An image is full for good; a disk that can't be written may have become so."""
    if mount.type in NOT_DATA or mount.type.startswith(USERS_OWN):
        return False
    if mount.read_only and (mount.type not in ON_DISKS or mount.device.startswith("/dev/loop")):
        return False
    return not mount.point.startswith(("/proc/", "/sys/", "/dev/"))


def _plain(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
