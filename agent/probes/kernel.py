"""Load, pressure and killings for want of memory, as the kernel tells them."""

import os
import re
import time
from collections.abc import Iterator

from agent import procfs
from agent.config import Config
from fleetmedic.v1.snapshot_pb2 import KernelSnapshot, OomKill, Pressure, Snapshot, Target

LOG = "/dev/kmsg"
RESOURCES = ("cpu", "memory", "io")
MOST_RECORDS = 20_000
MOST_KILLINGS = 20
LARGEST_RECORD = 8192
# 6,1234,5678901,-;oom-kill:constraint=CONSTRAINT_MEMCG,...,task_memcg=/docker/ID,task=python3,pid=22,uid=0
KILLING = re.compile(
    r"^\d+,\d+,(?P<at>\d+),[^;]*;oom-kill:constraint=(?P<constraint>\w+),.*?task_memcg=(?P<group>[^,]*),"
    r"task=(?P<name>[^,]*),pid=(?P<pid>\d+)"
)


def collect(target: Target, config: Config) -> Snapshot:
    del target, config
    made = KernelSnapshot(processors=os.cpu_count() or 1)
    made.load_1, made.load_5, made.load_15 = os.getloadavg()
    for name in RESOURCES:
        if seen := _pressure(name):
            made.pressure[name].CopyFrom(seen)
    rows = dict(line.split() for line in (procfs.PROC / "vmstat").read_text().splitlines())
    made.oom_kills = int(rows.get("oom_kill", 0))
    if made.oom_kills:
        _read_killings(made)
    return Snapshot(kernel=made)


def _pressure(name: str) -> Pressure | None:
    """None for a kernel without it (CONFIG_PSI)."""
    try:
        text = (procfs.PROC / "pressure" / name).read_text()
    except OSError:
        return None
    values = {
        f"{kind}_{window}": float(value)
        for kind, window, value in re.findall(r"(some|full) .*?avg(10)=([\d.]+)", text)
        + re.findall(r"(some|full) .*?avg(60)=([\d.]+)", text)
    }
    return Pressure(**values)


def _read_killings(made: KernelSnapshot) -> None:
    try:
        killings = list(_killings())[-MOST_KILLINGS:]
    except OSError as error:
        made.log_unread = f"the kernel's log can't be read: {error.strerror}"
        return
    made.killings.extend(reversed(killings))


def _killings() -> Iterator[OomKill]:
    """From the kernel's log, oldest first; its times count from boot."""
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    descriptor = os.open(LOG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        for _ in range(MOST_RECORDS):
            try:
                record = os.read(descriptor, LARGEST_RECORD)
            except BlockingIOError:
                return
            except BrokenPipeError:
                # Overwritten while we read: the next one is there.
                continue
            if found := KILLING.match(record.decode(errors="replace")):
                yield killing(found, boot)
    finally:
        os.close(descriptor)


def killing(found: re.Match[str], boot: float) -> OomKill:
    container = procfs.CONTAINER.search(found["group"])
    made = OomKill(
        pid=int(found["pid"]),
        name=found["name"],
        container_id=container[1] if container else "",
        constraint="memcg" if found["constraint"] == "CONSTRAINT_MEMCG" else "none",
    )
    made.time.FromMilliseconds(int((boot + int(found["at"]) / 1e6) * 1000))
    return made
