"""Processes of the host and its containers, as ps would list them; no ps is needed in an image."""

import os

from agent import procfs, redact
from agent.config import Config
from agent.procfs import Process
from fleetmedic.v1.snapshot_pb2 import HostProcess, ProcessesSnapshot, Snapshot, Target

MOST = 300
LONGEST_COMMAND = 200


def collect(target: Target, config: Config) -> Snapshot:
    """Those in containers before the host's own, by resident memory."""
    del target, config
    found = [(process, procfs.container_id(process.pid), procfs.resident_bytes(process.pid)) for process in _all()]
    found.sort(key=lambda row: (not row[1], -row[2], row[0].pid))
    made = ProcessesSnapshot(omitted=max(0, len(found) - MOST))
    made.processes.extend(_told(*row) for row in found[:MOST])
    return Snapshot(processes=made)


def _all() -> list[Process]:
    """Without the kernel's own threads and this job."""
    return [item for item in procfs.processes() if 2 not in (item.pid, item.parent) and item.pid != os.getpid()]


def _told(process: Process, container: str, resident: int) -> HostProcess:
    # Redacted before it is cut: half a secret is not known for one.
    command = redact.arguments(procfs.arguments(process.pid))[:LONGEST_COMMAND]
    return HostProcess(
        pid=process.pid,
        parent=process.parent,
        user=procfs.user(process.pid),
        state=process.state,
        threads=procfs.threads(process.pid),
        resident_bytes=resident,
        age_seconds=procfs.age_seconds(process),
        cpu_seconds=procfs.cpu_seconds(process.pid),
        container_id=container,
        name=process.name,
        command=command,
    )
