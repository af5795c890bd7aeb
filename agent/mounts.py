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
        "fuse.lxcfs",
        "fuse.portal",
        "fuse.gvfsd-fuse",
    }
)


@dataclass(frozen=True, slots=True)
class Mount:
    point: str
    device: str
    type: str
    read_only: bool


def read(text: str) -> Iterator[Mount]:
    """The lines of a mountinfo file."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, source = before.split(), after.split()
        if len(fields) < 6 or len(source) < 2:
            continue
        yield Mount(_plain(fields[4]), _plain(source[1]), source[0], "ro" in fields[5].split(","))


def real(mounts: Iterator[Mount], wanted: Collection[str]) -> list[Mount]:
    """Mounts that hold data, one for each device (the shortest path), and those that are `wanted` by path."""
    chosen: dict[str, Mount] = {}
    for mount in mounts:
        if mount.point in wanted:
            chosen[mount.point] = mount
        elif mount.type not in NOT_DATA and not mount.point.startswith(("/proc/", "/sys/", "/dev/")):
            known = chosen.get(mount.device)
            # A file bound over another (/etc/resolv.conf in a container) stands for the device's filesystem.
            if known is None or len(mount.point) < len(known.point):
                chosen[mount.device] = mount
    return sorted(chosen.values(), key=lambda mount: mount.point)


def _plain(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
