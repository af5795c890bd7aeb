"""Visits a host for one check: unpacks the agent into a folder of its own, runs it, and leaves nothing behind.

Never imported: its text is sent over SSH and run by the host's own Python. So it is of the standard library alone, and
old enough in its ways to say which Python is there where that one is too old for the agent. It reads from standard
input, each with four bytes of length before it: an order, the packed agent, and a LocalRequest; then only the end,
at which it leaves.
"""

import fcntl
import json
import os
import platform
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

try:
    import ctypes
except ImportError:
    ctypes = None  # type: ignore[assignment]

# What a login shell prints before us is told from what we print by this.
MARK = b"\0fleetmedic visit\0"
LENGTH = struct.Struct(">I")
# A folder of our own is made there. In memory first: it has room where disks are full, read-only or slow, and forgets
# when the host goes down.
PLACES = (
    Path("/dev/shm"),  # noqa: S108 # nosec B108
    Path("/tmp"),  # noqa: S108 # nosec B108
    Path("/var/tmp"),  # noqa: S108 # nosec B108
    Path("/run"),
)
PREFIX = "fleetmedic-visit-"
LOCK = "visitor.lock"
LIBRARY = "lib"
MOST_FILES = 2000
# Until the order is there, which says how long it may take.
PATIENCE = 60.0
# A folder that old whose visitor is dead was left by SIGKILL or by a host that went down.
LEFT_BEHIND = 3600.0
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGALRM)
PR_SET_CHILD_SUBREAPER = 36
TURN_MS = 20
KILL_GRACE = 1.0
REFUSED = 71


class Ended(Exception):
    """It is over: by a signal, by whoever asked, or because the agent can't be run here."""


def main() -> int:
    for number in ENDING:
        signal.signal(number, _end)
    os.umask(0o077)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        _write(MARK, json.dumps(_facts()).encode())
        order = json.loads(_exactly(*LENGTH.unpack(_exactly(LENGTH.size))))
        signal.setitimer(signal.ITIMER_REAL, order["seconds"])
        return _visit(order["room"])
    except Ended as error:
        sys.stderr.write(f"{error}\n")
    except OSError as error:
        sys.stderr.write(f"{error.filename or 'standard output'}: {error.strerror}\n")
    return REFUSED


def _end(number: int, _: object) -> None:
    # One is enough: what clears up is not to be broken off by a second.
    _quiet()
    raise Ended("out of time" if number == signal.SIGALRM else f"ended by signal {number}")


def _quiet() -> None:
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def _facts() -> "dict[str, object]":
    """Who is here."""
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, OSError, ValueError):
        libc = ""
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "machine": platform.machine(),
        "libc": libc or "another libc",
        "uid": os.geteuid(),
        "time": time.time(),
    }


def _visit(room: int) -> int:
    """The agent's exit code; `room` in bytes is what it takes."""
    _forget_left_behind()
    folder = None
    # A signal between the making of the folder and our knowing of it would leave it behind.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=str(_place(room))))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            held = os.open(str(folder / LOCK), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(held, fcntl.LOCK_EX)
            _unpack(folder)
            return _run(folder)
        finally:
            # A signal in this very line ends in the next one, and is the last.
            _quiet()
    finally:
        _bury()
        if folder is not None:
            _remove(folder)


def _place(room: int) -> Path:
    """Where a folder may be made: with room, and where libraries may be loaded from."""
    places = PLACES if _memory() > 4 * room else PLACES[1:] + PLACES[:1]
    for folder in places:
        try:
            about = os.statvfs(str(folder))
        except OSError:
            continue
        full = about.f_bavail * about.f_frsize < room or (about.f_files and about.f_favail < MOST_FILES)
        if not full and not about.f_flag & (os.ST_NOEXEC | os.ST_RDONLY) and os.access(folder, os.W_OK | os.X_OK):
            return folder
    looked = ", ".join(map(str, places))
    raise Ended(f"no room for {room >> 20} MiB where libraries may be loaded from: {looked}")


def _memory() -> int:
    """Bytes that are available; as good as all where the kernel does not say."""
    try:
        with Path("/proc/meminfo").open() as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) << 10
    except (OSError, StopIteration, ValueError):
        return 1 << 62


def _unpack(folder: Path) -> None:
    import tarfile  # only here: an old Python need not have it to say who it is

    (size,) = LENGTH.unpack(_exactly(LENGTH.size))
    packed = _Packed(size)
    with tarfile.open(fileobj=packed, mode="r|gz") as archive:  # type: ignore[call-overload]
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None, "files alone are packed"
            place = folder / LIBRARY / member.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.read())
    packed.read(packed.left)


class _Packed:
    """So many bytes of standard input, as a file."""

    def __init__(self, left: int) -> None:
        self.left = left

    def read(self, most: int) -> bytes:
        made = _exactly(min(most, self.left))
        self.left -= len(made)
        return made


def _run(folder: Path) -> int:
    """Runs the agent, whose standard output is ours, until it has ended."""
    if ctypes is not None:
        # What it forks, and leaves when it is killed, is then ours to bury.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    size = _exactly(LENGTH.size)
    request = _exactly(*LENGTH.unpack(size))
    # -S: neither packages of the host nor what they do at start.
    words = [sys.executable, "-P", "-s", "-S", "-B", "-m", "agent", "check", "--stdio", "--folder", str(folder)]
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(folder / LIBRARY),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "TMPDIR": str(folder),
    }
    child = subprocess.Popen(words, stdin=subprocess.PIPE, env=environment, cwd="/", start_new_session=True)
    assert child.stdin is not None
    try:
        child.stdin.write(size + request)
        child.stdin.close()
    except BrokenPipeError:
        # It says itself why it ended.
        pass
    asker = select.poll()
    asker.register(0, select.POLLIN)
    while child.poll() is None:
        if asker.poll(TURN_MS) and not os.read(0, 4096):
            raise Ended("nobody waits for the answer any more")
    return child.returncode


def _bury() -> None:
    """Ends all that was started, whoever its parent was; what even SIGKILL does not end is left to the kernel."""
    until = time.monotonic() + KILL_GRACE
    while time.monotonic() < until:
        try:
            for pid in _children():
                os.kill(pid, signal.SIGKILL)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        except ProcessLookupError:
            pass
        time.sleep(0.005)


def _children() -> "list[int]":
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:
        return []


def _remove(folder: Path) -> None:
    shutil.rmtree(str(folder), ignore_errors=True)
    if folder.exists():
        raise Ended(f"{folder} could not be removed: remove it by hand")


def _forget_left_behind() -> None:
    """Removes folders of our user's whose visitors are long dead."""
    for place in PLACES:
        try:
            left = list(place.glob(PREFIX + "*"))
        except OSError:
            continue
        for folder in left:
            try:
                about = folder.lstat()
                ours = stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid()
                if ours and about.st_mtime < time.time() - LEFT_BEHIND and _dead(folder):
                    shutil.rmtree(str(folder), ignore_errors=True)
            except OSError:
                continue


def _dead(folder: Path) -> bool:
    """Whether nobody holds its lock."""
    try:
        held = os.open(str(folder / LOCK), os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(held)
    return True


def _exactly(size: int) -> bytes:
    """So many bytes of standard input. Ended where it ends before."""
    made = sys.stdin.buffer.read(size)
    if len(made) < size:
        raise Ended("standard input ended before the agent was here")
    return made


def _write(mark: bytes, body: bytes) -> None:
    data = mark + LENGTH.pack(len(body)) + body
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    sys.exit(main())
