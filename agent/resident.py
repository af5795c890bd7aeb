"""One process per PostgreSQL server that keeps a connection warm, and answers probe jobs over a socket.

A connection opened before the trouble is the only one that still works when the server is full (checks.md D4). The
process holds nothing else, so that it can be killed when its server hangs; the worker forks it anew.
"""

import hashlib
import importlib
import select
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agent import boundary, frames, jobs, redact
from agent.config import Config
from fleetmedic.v1.snapshot_pb2 import FAILURE_KIND_CRASHED, Failure, Snapshot, Target

if TYPE_CHECKING:
    from agent.probes.postgres import Session

# How soon a connection that died while nobody asked is opened again, in seconds.
LOOK_AFTER = 20.0
CONNECT = 0.5
CALLER_WRITES = 2.0


def path(run: Path, target: Target) -> Path:
    """Where a target's resident answers."""
    place = f"{target.host}\0{target.port}\0{target.socket}\0{target.pid}\0{target.pid_start_ticks}"
    return run / f"postgres-{hashlib.sha256(place.encode()).hexdigest()[:16]}.sock"


def ask(run: Path, target: Target, patience: float) -> Snapshot | None:
    """The resident's snapshot. None where there is no resident, or where it was stuck, and is now killed."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(CONNECT)
        try:
            connection.connect(str(path(run, target)))
        except OSError:
            return None
        connection.settimeout(None)
        try:
            return frames.read(connection.fileno(), Snapshot, time.monotonic() + patience)
        except (frames.FrameError, OSError):
            jobs.kill_group(_peer(connection))
            return None


def _peer(connection: socket.socket) -> int:
    """The pid of the process that listens at the other end."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", raw)[0])


def hold(config: Config, target: Target) -> None:
    """The process itself: opens the connection, keeps it open, and answers whoever connects. Does not return."""
    place = path(config.run, target)
    with suppress(FileNotFoundError):
        place.unlink()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place))
    place.chmod(0o600)
    listener.listen(8)
    secrets = config.secrets()
    warm = _looked_after(config, target, None)
    while True:
        if not select.select([listener], [], [], LOOK_AFTER)[0]:
            warm = _looked_after(config, target, warm)
            continue
        caller = listener.accept()[0]
        with caller:
            caller.settimeout(CALLER_WRITES)
            seen, warm = _look(config, target, warm)
            redact.message(seen, secrets)
            with suppress(OSError):
                frames.write(caller.fileno(), seen)


def _look(config: Config, target: Target, warm: "Session | None") -> tuple[Snapshot, "Session | None"]:
    """A snapshot, and the connection to keep: a fresh one takes the place of one that has died."""
    postgres = importlib.import_module("agent.probes.postgres")

    def crashed(error: Exception) -> tuple[Snapshot, None]:
        return Snapshot(failure=Failure(kind=FAILURE_KIND_CRASHED, detail=boundary.where(error))), None

    def look() -> tuple[Snapshot, "Session | None"]:
        seen, fresh = postgres.look(target, config, warm)
        if warm is not None and not warm.connection.closed:
            if fresh is not None:
                fresh.connection.close()
            return Snapshot(postgres=seen), warm
        return Snapshot(postgres=seen), fresh

    return boundary.contain(look, crashed)


def _looked_after(config: Config, target: Target, warm: "Session | None") -> "Session | None":
    """The connection if it still answers, else a new one, else none: the server may be down or full."""
    postgres = importlib.import_module("agent.probes.postgres")

    def alive() -> "Session | None":
        session: Session | None = warm
        if session is None or session.connection.closed:
            session = postgres.log_in(target, config)
        session.connection.execute("SELECT 1")
        return session

    return boundary.contain(alive, lambda _: None)
