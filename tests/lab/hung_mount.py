"""Mounts a file system that hangs: a daemon on /dev/fuse that answers INIT and then nothing more."""

import contextlib
import ctypes
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FUSE_INIT = 26
# len, opcode, unique, nodeid, uid, gid, pid, padding
REQUEST = struct.Struct("<IIQQIIII")
# len, error, unique
ANSWER = struct.Struct("<IiQ")
# major, minor, max_readahead, flags, max_background, congestion, max_write, time_gran, max_pages, alignment, unused
INIT_ANSWER = struct.Struct("<IIIIHHIIHH32x")
READY = "hung mount is ready"
WAITING = "request waits"


@dataclass(frozen=True)
class HungMount:
    """A path whose statvfs() never returns, and the daemon that does not answer."""

    path: Path
    pid: int
    requests: Callable[[], int]
    """How many requests were made so far; each of them waits for its answer."""


@contextlib.contextmanager
def run(path: Path) -> Iterator[HungMount]:
    """Hang `path` for the length of the block; needs root in the sandbox. The end of the daemon frees all who wait."""
    from tests.lab import child, sandbox  # the daemon is this file as a script, and knows no packages

    if not sandbox.inside():
        raise RuntimeError("a hung mount could stop the machine's own programs: run this in tests/lab/sandbox.py")
    path.mkdir(parents=True, exist_ok=True)
    try:
        with child.run(
            [sys.executable, Path(__file__), path],
            log=path.with_name(f"{path.name}.log"),
            ready=lambda daemon: READY in daemon.said(),
            name="hung mount",
        ) as daemon:
            yield HungMount(path, daemon.pid, lambda: daemon.said().count(WAITING))
    finally:
        subprocess.run(["umount", "--lazy", path], check=False, capture_output=True)


def serve(path: str) -> None:
    """Be the daemon: mount, answer INIT, then read requests and say nothing."""
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"hung", path.encode(), b"fuse", 0, options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    while True:
        request = os.read(device, 1 << 17)
        _, operation, unique, *_ = REQUEST.unpack_from(request)
        if operation == FUSE_INIT:
            body = INIT_ANSWER.pack(7, 31, 65536, 0, 16, 12, 65536, 1, 0, 0)
            os.write(device, ANSWER.pack(ANSWER.size + len(body), 0, unique) + body)
            print(READY, flush=True)
        else:
            print(WAITING, operation, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
