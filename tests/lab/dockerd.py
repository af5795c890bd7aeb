"""Starts a real Docker engine without networks of its own; only inside the sandbox."""

import contextlib
import http.client
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.errors
import requests

from tests.lab import child, requirements, sandbox

FLAGS = [
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
    "--userland-proxy=false",
    "--storage-driver=overlay2",
    "--log-driver=json-file",
    "--log-opt=max-size=5m",
    "--log-opt=max-file=2",
    "--shutdown-timeout=3",
]
LONGEST_SOCKET = 107
APART = ["unshare", "--mount", "--propagation", "private"]


@dataclass(frozen=True)
class Engine:
    """A running engine; containers may use the networks none and host, there is no other."""

    socket: Path
    pid: int
    containerd_pid: int
    client: docker.DockerClient
    data: Path
    log: Path


@contextlib.contextmanager
def run(directory: Path, *, address: Path | None = None, apart: bool = False) -> Iterator[Engine]:
    """Run dockerd and its containerd with all their files in `directory`; at the end all containers are removed.

    `address` is the engine's socket, DIRECTORY/s by default; inside the sandbox /run/docker.sock is free. An engine
    that is `apart` has mounts of its own, and so is none that an agent of the sandbox finds.
    """
    if not sandbox.inside():
        # --bridge=none deletes docker0 of any other engine in the same network namespace.
        raise RuntimeError("a second Docker engine would harm the machine's own: run this in tests/lab/sandbox.py")
    directory.mkdir(parents=True, exist_ok=True)
    address = address or directory / "s"
    if len(str(address)) > LONGEST_SOCKET:
        raise ValueError(f"{address}: too long for a UNIX socket, at most {LONGEST_SOCKET} characters")
    places: list[str | Path] = [
        "--host",
        f"unix://{address}",
        "--data-root",
        directory / "data",
        "--exec-root",
        directory / "exec",
    ]
    with child.run(
        [*(APART if apart else []), requirements.required("dockerd"), *places, "--pidfile", directory / "pid", *FLAGS],
        log=directory / "dockerd.log",
        ready=lambda _: answers(address),
        name="dockerd",
        environment={"PATH": requirements.SEARCH},
        seconds=20.0,
        patience=8.0,
    ) as daemon:
        client = docker.DockerClient(base_url=f"unix://{address}", timeout=30)
        try:
            yield Engine(address, daemon.pid, _containerd(daemon.pid), client, directory / "data", daemon.log)
        finally:
            child.wake(daemon.pid)
            _remove_containers(client, daemon)
            client.close()


def answers(address: Path) -> bool:
    """Say whether an engine answers GET /_ping on its socket."""
    connection = http.client.HTTPConnection("engine", timeout=1.0)
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(1.0)
        connection.sock.connect(str(address))
        connection.request("GET", "/_ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _containerd(daemon: int) -> int:
    return next(pid for pid in child.descendants(daemon) if Path(f"/proc/{pid}/comm").read_text() == "containerd\n")


def _remove_containers(client: docker.DockerClient, daemon: child.Child) -> None:
    """Remove what is left, so that no container outlives its engine; an engine that is dead has none to remove."""
    try:
        for left in client.api.containers(all=True, quiet=True):
            with contextlib.suppress(docker.errors.NotFound):
                client.api.remove_container(left["Id"], force=True, v=True)
    except (docker.errors.DockerException, requests.RequestException):
        if daemon.alive():
            raise
