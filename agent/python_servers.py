"""Which processes are Python servers: gunicorn, uvicorn and their like, or whatever Python a container begins with."""

import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath

from agent import procfs
from agent.procfs import Process

PROGRAMS = ("gunicorn", "uvicorn", "hypercorn", "granian", "daphne", "celery")
PYTHON = "python"
# Of these the first process does the work itself where there is one worker.
ALONE = frozenset({"uvicorn", "hypercorn"})
# Helpers of multiprocessing, which serve nobody.
NOT_WORKERS = ("resource_tracker", "semaphore_tracker")
WORKERS = re.compile(r"(?<!\S)(?:--workers|-w)(?:[= ]|(?=\d))(\d{1,5})(?=\s|$)")
CELERY_WORKERS = re.compile(r"(?<!\S)(?:--concurrency|-c)(?:[= ]|(?=\d))(\d{1,5})(?=\s|$)")
# With these the number is not that of processes: threads of a kind, or one child that is watched.
NOT_PROCESSES = re.compile(r"(?<!\S)(?:(?:-P|--pool)[= ]?(?:gevent|eventlet|threads|solo)|--reload)\b")
APP = re.compile(r"(?:^|\s)([A-Za-z_][\w.]*:[A-Za-z_][\w.]*)(?:\s|$|\(|\])")
# Too common to tell a service by.
ANY_APP = frozenset({"app", "main", "server", "src", "wsgi", "asgi", "application", "api"})
# Python's own options that take the next word.
WITH_VALUE = frozenset({"-X", "-W", "--check-hash-based-pycs"})
LONGEST_TITLE = 8192
LARGEST_BINARY = 64 * 1024 * 1024
PIECE = 1024 * 1024
LONGEST_VERSION = 32


@dataclass(frozen=True, slots=True)
class Server:
    """A first process. `app` is what it was told to serve, such as orders:app; empty where nothing says so."""

    process: Process
    program: str
    app: str

    @property
    def name(self) -> str:
        return f"{self.program} {self.app}".strip()

    @property
    def service(self) -> str:
        first = self.app.partition(":")[0].partition(".")[0]
        return self.program if not first or first in ANY_APP else first


def find(everybody: Mapping[int, Process]) -> Iterator[Server]:
    """Servers by their first processes, among all of a host by pid."""
    known: dict[int, str] = {}

    def program_of(process: Process | None) -> str:
        if process is None or not _may_be(process):
            return ""
        if process.pid not in known:
            known[process.pid] = program(_title(process.pid))
        return known[process.pid]

    ours = set(_ours(everybody))
    for process in everybody.values():
        if not _may_be(process) or process.pid in ours:
            continue
        parent = everybody.get(process.parent)
        said = program_of(process)
        if said and said != program_of(parent):
            yield Server(process, said, _app(_title(process.pid)))
        elif not said and not _may_be(parent) and _begins_container(process, everybody):
            yield Server(process, PYTHON, "")


def _ours(everybody: Mapping[int, Process]) -> Iterator[int]:
    """This process and the Pythons that led to it: over SSH into a container they are no server that it begins with."""
    process = everybody.get(os.getpid())
    while process is not None and _may_be(process):
        yield process.pid
        process = everybody.get(process.parent)


def _may_be(process: Process | None) -> bool:
    return process is not None and process.name.startswith((PYTHON, *PROGRAMS))


def _begins_container(process: Process, everybody: Mapping[int, Process]) -> bool:
    """Whether it is a container's first process, or below it with shells and the like alone between; no docker exec."""
    seen: Process | None = process
    while seen is not None and procfs.container_id(seen.pid):
        if procfs.own_pid(seen.pid) == 1:
            return True
        seen = everybody.get(seen.parent)
    return False


def program(title: str) -> str:
    """Which server a command line runs: its program, Python's script or its -m; or what gunicorn calls itself."""
    words = title.split(" ")
    if words[0].rstrip(":") in PROGRAMS:
        return words[0].rstrip(":")
    name = PurePath(words[0]).name
    if name in PROGRAMS:
        return name
    if not name.startswith(PYTHON):
        return ""
    rest = iter(words[1:])
    for word in rest:
        if word == "-m":
            return _known(next(rest, ""))
        if word == "-c":
            return ""
        if word in WITH_VALUE:
            next(rest, "")
        elif not word.startswith("-"):
            return _known(PurePath(word).name)
    return ""


def _known(name: str) -> str:
    return name if name in PROGRAMS else ""


def _title(pid: int) -> str:
    return procfs.title(pid)[:LONGEST_TITLE]


def _app(title: str) -> str:
    found = APP.search(title) or re.search(r"\[([\w.:-]{1,64})\]", title)
    return found[1] if found else ""


def expected_workers(server: Server) -> tuple[int, str]:
    """How many there should be, and the words that say so; 0 where none do, for a file of its own may."""
    title = _title(server.process.pid)
    if NOT_PROCESSES.search(title):
        return 0, ""
    # The last one counts, as every parser of options has it.
    given = list((CELERY_WORKERS if server.program == "celery" else WORKERS).finditer(title))
    if given:
        return int(given[-1][1]), given[-1][0]
    said = procfs.environment_value(server.process.pid, "WEB_CONCURRENCY")
    if said.isascii() and said.isdecimal() and len(said) < 6 and server.program != "celery":
        return int(said), f"WEB_CONCURRENCY={said}"
    return 0, ""


def workers(server: Server, everybody: Mapping[int, Process]) -> Sequence[Process]:
    """The Python processes right below the first one, but those that serve nobody."""
    below = [item for item in everybody.values() if item.parent == server.process.pid and item.name]
    return [item for item in below if not any(word in _title(item.pid) for word in NOT_WORKERS)]


def version(pid: int) -> str:
    """The interpreter's own word, such as 3.11.2, from its binary: nothing is run. OSError where it can't be read."""
    executable = PurePath(os.readlink(procfs.PROC / str(pid) / "exe"))  # noqa: PTH115 - of its own root
    named = re.search(r"python(\d+)\.(\d+)$", executable.name)
    minor = rf"{named[1]}\.{named[2]}" if named else r"[23]\.\d{1,2}"
    # A shared build has it in its library.
    for path in dict.fromkeys([procfs.PROC / str(pid) / "exe", *_libraries(pid)]):
        found = _search(path, minor)
        if found:
            return found
    return ""


def _libraries(pid: int) -> Iterator[Path]:
    with (procfs.PROC / str(pid) / "maps").open(errors="replace") as rows:
        for row in rows:
            path = row.rstrip("\n").partition("/")[2]
            if PurePath(path).name.startswith("libpython") and not path.endswith(" (deleted)"):
                yield Path(procfs.inside(pid, f"/{path}"))
                return


def _search(file: Path, minor: str) -> str:
    """Read in pieces, never mapped: what a container may cut short meanwhile would end this job."""
    wanted = re.compile(rb"\0(" + minor.encode() + rb"\.\d{1,3}(?:(?:a|b|rc)\d+)?)\+?\0")
    with _opened(file) as descriptor:
        before = b""
        for at in range(0, LARGEST_BINARY, PIECE):
            piece = os.pread(descriptor, PIECE, at)
            if not piece:
                break
            if found := wanted.search(before + piece):
                return found[1].decode()
            before = piece[-LONGEST_VERSION:]
    return ""


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    """A regular file's descriptor; OSError for a pipe or a device, which are not even opened to see that."""
    place = os.open(file, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(errno.EINVAL, "is no file")
        descriptor = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
