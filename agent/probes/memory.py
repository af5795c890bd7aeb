"""Memory of the host, and the processes that hold most of it."""

from agent import procfs
from agent.config import Config
from fleetmedic.v1.snapshot_pb2 import MemoryHolder, MemorySnapshot, Snapshot, Target

MOST_HOLDERS = 5
KIB = 1024


def collect(target: Target, config: Config) -> Snapshot:
    del target, config
    rows = (line.split() for line in (procfs.PROC / "meminfo").read_text().splitlines())
    values = {row[0].rstrip(":"): int(row[1]) * KIB for row in rows}
    return Snapshot(
        memory=MemorySnapshot(
            total_bytes=values["MemTotal"],
            available_bytes=values["MemAvailable"],
            swap_total_bytes=values.get("SwapTotal", 0),
            swap_free_bytes=values.get("SwapFree", 0),
            holders=_holders(),
        )
    )


def _holders() -> list[MemoryHolder]:
    found = []
    for process in procfs.processes():
        resident = procfs.resident_bytes(process.pid)
        if resident:
            found.append((resident, process))
    found.sort(key=lambda pair: -pair[0])
    return [
        MemoryHolder(
            pid=process.pid, name=process.name, resident_bytes=resident, container_id=procfs.container_id(process.pid)
        )
        for resident, process in found[:MOST_HOLDERS]
    ]
