"""A Python server: its workers against those it was told to have, and which Python it runs."""

from agent import procfs, python_servers
from agent.config import Config
from agent.probes import network
from agent.python_servers import Server
from fleetmedic.v1.snapshot_pb2 import PythonSnapshot, Snapshot, Target

MOST_WORKERS = 512


def collect(target: Target, config: Config) -> Snapshot:
    del config
    everybody = {process.pid: process for process in procfs.processes()}
    network.same_process(target)
    first = everybody[target.pid]
    server = Server(first, target.name.partition(" ")[0], "")
    made = PythonSnapshot(program=server.program, pid=first.pid, age_seconds=procfs.age_seconds(first))
    made.expected_workers, made.expected_by = python_servers.expected_workers(server)
    made.resident_bytes, made.threads = procfs.resident_bytes(first.pid), procfs.threads(first.pid)
    for worker in python_servers.workers(server, everybody)[:MOST_WORKERS]:
        made.workers.add(
            pid=worker.pid,
            start_ticks=worker.start_ticks,
            age_seconds=procfs.age_seconds(worker),
            state=worker.state,
            resident_bytes=procfs.resident_bytes(worker.pid),
            threads=procfs.threads(worker.pid),
        )
    try:
        made.version = python_servers.version(first.pid)
        made.version_unread = "" if made.version else "its interpreter does not say it"
    except PermissionError:
        made.version_unread = "needs root to read its interpreter"
    except OSError as error:
        made.version_unread = f"its interpreter can't be read: {error.strerror or type(error).__name__}"
    return Snapshot(python=made)
