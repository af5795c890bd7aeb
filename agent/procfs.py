"""What /proc tells: processes, the sockets they listen on, their namespaces and containers."""

import os
import pwd
import re
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
MOST_STEPS = 256
LARGEST_COMMAND_LINE = 64 * 1024
LISTEN_TCP = "0A"
LISTEN_UNIX_FLAG = 0x10000
# Compared with what others listen on; nothing is bound to them here.
ANYWHERE = "0.0.0.0"  # noqa: S104 # nosec B104
WILDCARDS = frozenset({ANYWHERE, "::"})
CONTAINER = re.compile(r"(?:docker[-/]|/)([0-9a-f]{64})(?:\.scope)?(?:/|$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    name: str
    parent: int
    start_ticks: int
    # R, S, D, Z and so on.
    state: str = "?"


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket: `host` and `port`, or `path` for a UNIX one."""

    host: str = ""
    port: int = 0
    path: str = ""


def processes() -> Iterator[Process]:
    for entry in os.listdir(PROC):  # noqa: PTH208 - names alone, over every process of the host
        if entry.isdigit() and (process := read_process(int(entry))):
            yield process


def read_process(pid: int) -> Process | None:
    """None where it has gone."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    rest = stat[stat.rindex(")") + 2 :].split()
    return Process(pid, name, int(rest[1]), int(rest[19]), rest[0])


def traffic(pid: int) -> Mapping[str, int]:
    """Bytes and troubles of a process's network, all its interfaces but the loopback together; empty where unknown."""
    try:
        rows = (PROC / str(pid) / "net" / "dev").read_text().splitlines()[2:]
    except OSError:
        return {}
    made = dict.fromkeys(("received_bytes", "sent_bytes", "errors", "dropped"), 0)
    for row in rows:
        name, _, rest = row.partition(":")
        fields = [int(field) for field in rest.split()]
        if name.strip() == "lo" or len(fields) < 12:
            continue
        made["received_bytes"] += fields[0]
        made["sent_bytes"] += fields[8]
        made["errors"] += fields[2] + fields[10]
        made["dropped"] += fields[3] + fields[11]
    return made


def age_seconds(process: Process) -> float:
    """Since it was started."""
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
    return max(0.0, uptime - process.start_ticks / os.sysconf("SC_CLK_TCK"))


def title(pid: int) -> str:
    """The command line, or what the process wrote over it; empty where it has gone."""
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return raw.rstrip(b"\0 ").replace(b"\0", b" ").decode(errors="replace")


def arguments(pid: int) -> list[str]:
    """The words of a command line, at most 64 KiB of it; one alone where the process wrote over it."""
    try:
        with (PROC / str(pid) / "cmdline").open("rb") as opened:
            raw = opened.read(LARGEST_COMMAND_LINE)
    except (FileNotFoundError, ProcessLookupError):
        return []
    return raw.rstrip(b"\0 ").decode(errors="replace").split("\0")


def owner(pid: int) -> tuple[int, int]:
    """The user and group a process runs as."""
    about = (PROC / str(pid)).stat()
    return about.st_uid, about.st_gid


def environment_value(pid: int, name: str) -> str:
    """One variable of a process's first environment; empty where unset or unreadable."""
    try:
        raw = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return ""
    prefix = name.encode() + b"="
    return next(
        (part[len(prefix) :].decode(errors="replace") for part in raw.split(b"\0") if part.startswith(prefix)), ""
    )


def namespace(pid: int | str, kind: str) -> str:
    """The identity of a namespace of a process, such as net:[4026531840]; empty where it may not be read."""
    try:
        return str((PROC / str(pid) / "ns" / kind).readlink())
    except OSError:
        return ""


def container_id(pid: int) -> str:
    try:
        text = (PROC / str(pid) / "cgroup").read_text()
    except OSError:
        return ""
    found = CONTAINER.search(text)
    return found[1] if found else ""


def socket_inodes(pid: int) -> frozenset[str]:
    """Inodes of a process's sockets. PermissionError where its descriptors may not be read."""
    found = set()
    for entry in os.scandir(PROC / str(pid) / "fd"):
        try:
            link = os.readlink(entry.path)  # noqa: PTH115 - a link that is no path
        except FileNotFoundError:
            continue
        if link.startswith("socket:["):
            found.add(link[8:-1])
    return frozenset(found)


def listeners(pid: int | str, inodes: frozenset[str] | None = None) -> list[Listener]:
    """What listens in a process's network namespace; with `inodes`, only those of them."""
    found = []
    for family in ("tcp", "tcp6"):
        for fields in _rows(pid, family):
            if fields[3] == LISTEN_TCP and (inodes is None or fields[9] in inodes):
                found.append(_address(fields[1], family))
    for fields in _rows(pid, "unix"):
        listening = int(fields[3], 16) & LISTEN_UNIX_FLAG
        if len(fields) > 7 and listening and fields[7].startswith("/") and (inodes is None or fields[6] in inodes):
            found.append(Listener(path=fields[7]))
    return found


def _rows(pid: int | str, name: str) -> Iterator[list[str]]:
    try:
        text = (PROC / str(pid) / "net" / name).read_text(errors="replace")
    except OSError:
        return
    for line in text.splitlines()[1:]:
        yield line.split()


def _address(field: str, family: str) -> Listener:
    raw, _, port = field.partition(":")
    words = [struct.pack("<I", int(raw[i : i + 8], 16)) for i in range(0, len(raw), 8)]
    host = socket.inet_ntop(socket.AF_INET6 if family == "tcp6" else socket.AF_INET, b"".join(words))
    return Listener(host=host, port=int(port, 16))


def reachable(host: str) -> str:
    """The address to dial for one that is listened on: a wildcard is dialled on loopback."""
    return "127.0.0.1" if host in WILDCARDS else host


def account(uid: int) -> str:
    """A user's name on this host; empty for one that only a container knows."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def user(pid: int) -> str:
    """The name of a process's user, its number where the host knows none; empty where it has gone."""
    try:
        uid = owner(pid)[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return account(uid) or str(uid)


def cpu_seconds(pid: int) -> float:
    """Of its own and the kernel's for it; 0 where it has gone."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    fields = stat[stat.rindex(")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def threads(pid: int) -> int:
    """0 where the process has gone."""
    return int(_status(pid, "Threads") or 0)


def own_pid(pid: int) -> int:
    """What a process is called in its own namespace; 0 where unknown."""
    return int((_status(pid, "NSpid").split() or ["0"])[-1])


def _status(pid: int, field: str) -> str:
    try:
        rows = (PROC / str(pid) / "status").read_text(errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return next((row.partition(":")[2].strip() for row in rows if row.startswith(f"{field}:")), "")


def resident_bytes(pid: int) -> int:
    """0 where the process has gone."""
    try:
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0


def inside(pid: int, path: str) -> str:
    """A path of a process's own root, as this process reaches it, with every link followed inside that root.

    The kernel follows an absolute link in /proc/PID/root/... from our root: a container could point us at any socket of
    the host. FileNotFoundError for a circle.
    """
    root = PROC / str(pid) / "root"
    waiting = [part for part in reversed(path.split("/")) if part]
    done: list[str] = []
    for _ in range(MOST_STEPS):
        if not waiting:
            return str(root.joinpath(*done))
        part = waiting.pop()
        if part == "..":
            done = done[:-1]
        elif part != ".":
            step = root.joinpath(*done, part)
            if not step.is_symlink():
                done.append(part)
                continue
            link = os.readlink(step)  # noqa: PTH115 - its text, to be followed by ourselves
            done = [] if link.startswith("/") else done
            waiting += [piece for piece in reversed(link.split("/")) if piece]
    raise FileNotFoundError(path)
