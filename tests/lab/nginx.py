"""Starts a real nginx with TLS in front of one backend, all its files in one directory."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab import child, requirements
from tests.lab.waiting import listens, until

CONFIGURATION = """
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log info;
events {{ worker_connections 128; }}
http {{
    access_log {directory}/access.log;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen {host}:{http_port};
        listen {host}:{tls_port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{
            proxy_pass http://{backend};
            proxy_set_header Host $host;
            proxy_connect_timeout 1s;
            proxy_read_timeout 2s;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A running server; its certificate and key are read again by reload()."""

    host: str
    tls_port: int
    http_port: int
    pid: int
    directory: Path
    log: Path

    def reload(self) -> None:
        """Have the files read again (SIGHUP), and wait until no old worker is left."""
        old = set(child.descendants(self.pid))
        os.kill(self.pid, signal.SIGHUP)
        until("new nginx worker", lambda: (now := set(child.descendants(self.pid))) and not now & old)

    def test(self) -> subprocess.CompletedProcess[str]:
        """Run nginx -t on the configuration as it is now."""
        return subprocess.run([*_command(self.directory), "-t"], capture_output=True, text=True, check=False)


@contextlib.contextmanager
def run(
    directory: Path,
    *,
    tls_port: int,
    http_port: int,
    backend_port: int,
    certificate: Path,
    key: Path,
    host: str = "127.0.0.1",
    backend_host: str = "127.0.0.1",
) -> Iterator[Nginx]:
    """Run nginx until the block ends; `certificate` is a PEM chain, leaf first."""
    directory.mkdir(parents=True, exist_ok=True)
    text = CONFIGURATION.format(
        user="user root;" if os.geteuid() == 0 else "",  # its own user could not write below a folder of 0700
        directory=directory,
        host=host,
        http_port=http_port,
        tls_port=tls_port,
        certificate=certificate,
        key=key,
        backend=f"{backend_host}:{backend_port}",
    )
    (directory / "nginx.conf").write_text(text)
    with child.run(
        [*_command(directory), "-g", "daemon off;"],
        log=directory / "nginx.log",
        ready=lambda _: listens(tls_port, host),
        name="nginx",
        environment={"PATH": requirements.SEARCH},
    ) as server:
        yield Nginx(host, tls_port, http_port, server.pid, directory, directory / "error.log")


def _command(directory: Path) -> list[str]:
    start = [str(requirements.required("nginx")), "-p", str(directory), "-e", str(directory / "error.log")]
    return [*start, "-c", str(directory / "nginx.conf")]
