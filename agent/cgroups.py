"""What the kernel counts for a process's control group, version 1 and 2 alike; nothing is asked of an engine."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent import procfs
from agent.mounts import MOUNTINFO

# The controllers we read; in version 2 one folder has them all.
CONTROLLERS = ("memory", "cpuacct")
MICROSECONDS = 1_000_000
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Use:
    """`limit_bytes` is 0 where there is none; `oom_kills` counts since the group was made."""

    cpu_seconds: float
    memory_bytes: int
    limit_bytes: int
    oom_kills: int


def hierarchies(mountinfo: str) -> Mapping[str, Path]:
    """Where each controller is mounted; "" for version 2."""
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = (after.split() + ["", "", ""])[:3]
        point = Path(before.split()[4])
        if kind == "cgroup2":
            found.setdefault("", point)
        elif kind == "cgroup":
            found.update((name, point) for name in options.split(",") if name in CONTROLLERS)
    return found


def use(pid: int, container: str, mounted: Mapping[str, Path] | None = None) -> Use | None:
    """What the group of a container's process uses; None where it may not be read, has gone, or is not yet its own.

    A process that is just being started is still in its engine's group, which has counted since the host booted.
    """
    mounted = hierarchies(MOUNTINFO.read_text()) if mounted is None else mounted
    try:
        groups = _groups((procfs.PROC / str(pid) / "cgroup").read_text())
        first = "memory" in mounted and "memory" in groups
        read = CONTROLLERS if first else ("",)
        if not all(container in groups[name] for name in read):
            return None
        folders = [mounted[name] / groups[name].lstrip("/") for name in read]
        return version_1(*folders) if first else version_2(*folders)
    except (OSError, KeyError, ValueError):
        return None


def _groups(text: str) -> Mapping[str, str]:
    """The group's path by controller, from lines such as 4:memory:/docker/ID and 0::/system.slice/x.scope."""
    rows = (line.split(":", 2) for line in text.splitlines())
    return {name: path for _, names, path in rows for name in names.split(",")}


def version_1(memory: Path, processor: Path) -> Use:
    stat = _table(memory / "memory.stat")
    used = _number(memory / "memory.usage_in_bytes") - stat.get("total_inactive_file", 0)
    return Use(
        _number(processor / "cpuacct.usage") / NANOSECONDS,
        max(0, used),
        _limit(_number(memory / "memory.limit_in_bytes")),
        _table(memory / "memory.oom_control").get("oom_kill", 0),
    )


def version_2(folder: Path) -> Use:
    most = (folder / "memory.max").read_text().strip()
    used = _number(folder / "memory.current") - _table(folder / "memory.stat").get("inactive_file", 0)
    return Use(
        _table(folder / "cpu.stat")["usage_usec"] / MICROSECONDS,
        max(0, used),
        0 if most == "max" else _limit(int(most)),
        _table(folder / "memory.events").get("oom_kill", 0),
    )


def _limit(value: int) -> int:
    """0 for one that is not below what the machine has."""
    return value if value < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") else 0


def _number(file: Path) -> int:
    return int(file.read_text())


def _table(file: Path) -> Mapping[str, int]:
    rows = (line.split() for line in file.read_text().splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdecimal()}
