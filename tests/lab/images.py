"""Makes images without a registry, and runs containers on them with the machine's own programs mounted read-only."""

import contextlib
import io
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from docker.models.containers import Container

from tests.lab import requirements
from tests.lab.dockerd import Engine

HOST_BIND = "lab/hostbind:1"
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "var/run": "../run"}
# sbin is a real folder: Docker puts /sbin/docker-init there, which fails on a link into the read-only /usr.
FOLDERS = {"usr": 0o755, "sbin": 0o755, "etc": 0o755, "proc": 0o755, "sys": 0o755, "dev": 0o755, "run": 0o755}
FOLDERS |= {"var": 0o755, "var/lib": 0o755, "var/log": 0o755, "root": 0o700, "tmp": 0o1777}
FILES = ("etc/passwd", "etc/group", "etc/nsswitch.conf", "etc/ld.so.cache", "etc/os-release")

DATABASES = """
set -e
redis-server --bind 127.0.0.1 --port 6379 --save '' --daemonize yes --dir /tmp
install -d -o postgres -g postgres /run/postgresql /var/lib/postgresql
exec setpriv --reuid=postgres --regid=postgres --clear-groups sh -c '
  {binaries}/initdb -D /var/lib/postgresql/data --auth=trust --no-sync --wal-segsize=1 --locale=C --encoding=UTF8
  exec {binaries}/postgres -D /var/lib/postgresql/data -c listen_addresses= -c fsync=off \\
    -c unix_socket_directories=/run/postgresql -c max_connections=20'
"""


def host_bind(engine: Engine) -> str:
    """Make the image of links and /etc that all containers of the lab start from, once per engine; return its name."""
    return _once(engine, HOST_BIND, [f"ENV PATH={SEARCH}"])


def app(engine: Engine, version: str) -> str:
    """Make the image lab/app:VERSION, which differs from the others in RELEASE and its label; return its name."""
    label = f"LABEL org.opencontainers.image.version={version}"
    return _once(engine, f"lab/app:{version}", [f"ENV PATH={SEARCH}", f"ENV RELEASE={version}", label])


def _once(engine: Engine, name: str, changes: list[str]) -> str:
    if not engine.client.api.images(name=name, quiet=True):
        repository, _, tag = name.partition(":")
        engine.client.api.import_image_from_data(_tree(), repository=repository, tag=tag, changes=changes)
    return name


def _tree() -> bytes:
    """Return a tar of the root file system: nothing in it but links, folders and a few files of /etc."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, mode in FOLDERS.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        for name, target in LINKS.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
        for name in FILES:
            tar.add(Path("/", name).resolve(), arcname=name)
    return buffer.getvalue()


@contextlib.contextmanager
def run_container(
    engine: Engine,
    name: str,
    command: Sequence[str],
    *,
    network: str = "none",
    image: str = HOST_BIND,
    mounts: Mapping[Path, str] = {},
    **more: Any,
) -> Iterator[Container]:
    """Start a container of the name and remove it in the end, in whatever state it then is.

    `mounts` maps a path, the same on both sides, to "ro" or "rw"; /usr and this Python's environment always are
    there, read-only. `more` goes to the SDK's containers.run (labels=, mem_limit=, healthcheck= among others).
    """
    host_bind(engine)
    volumes = {str(path): {"bind": str(path), "mode": mode} for path, mode in {**programs(), **mounts}.items()}
    container: Container | None = None
    try:
        container = engine.client.containers.create(
            image, list(command), name=name, network_mode=network, volumes=volumes, **more
        )
        container.start()
        container.reload()
        yield container
    finally:
        if container is not None:
            _remove(engine, name)


def _remove(engine: Engine, name: str) -> None:
    """Remove by name: a test may have re-created the container, or removed it already."""
    for left in engine.client.api.containers(all=True, filters={"name": f"^/{name}$"}):
        engine.client.api.remove_container(left["Id"], force=True, v=True)


def programs() -> dict[Path, str]:
    """Return /usr, and the virtual environment with the Python it is based on where they lie outside it."""
    wanted = (Path("/usr"), Path(sys.prefix), Path(sys.base_prefix))
    return {path: "ro" for path in wanted if path == Path("/usr") or not path.is_relative_to("/usr")}


@contextlib.contextmanager
def run_databases(engine: Engine, name: str, **more: Any) -> Iterator[Container]:
    """Run the machine's PostgreSQL and Redis in a container that publishes nothing (network none).

    PostgreSQL listens on /run/postgresql/.s.PGSQL.5432 of the container's own files, Redis on its own 127.0.0.1:6379.
    """
    binaries = requirements.required("/usr/lib/postgresql/*/bin/initdb").parent
    script = DATABASES.format(binaries=binaries)
    with run_container(engine, name, ["sh", "-c", script], **more) as container:
        yield container
