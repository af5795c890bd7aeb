"""Joins another process's network namespace: how a job reaches a server in a container that publishes no port."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from agent import procfs
from agent.jobs import NeedsRight
from fleetmedic.v1.snapshot_pb2 import Target

CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def join(target: Target) -> None:
    """Moves this job into the network of the target's process, if the address exists only there."""
    if not target.join_network:
        return
    try:
        descriptor = os.open(f"/proc/{target.pid}/ns/net", os.O_RDONLY)
    except PermissionError as error:
        raise NeedsRight("needs root to join the container's network") from error
    try:
        same_process(target)
        # os.setns comes with Python 3.12.
        if _libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise NeedsRight(f"needs root to join the container's network: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(descriptor)


@contextmanager
def home() -> Iterator[None]:
    """Back in this process's own network afterwards, whatever was joined meanwhile."""
    before = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        # Where nothing was joined an unprivileged agent may not, and need not.
        _libc.setns(before, CLONE_NEWNET)
        os.close(before)


def same_process(target: Target) -> None:
    """ProcessLookupError where the pid has passed to another process since discovery."""
    process = procfs.read_process(target.pid)
    if process is None or process.start_ticks != target.pid_start_ticks:
        raise ProcessLookupError(f"process {target.pid} has gone")
