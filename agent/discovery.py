"""What there is to look at on this host, found without configuration; in a job, for /proc can lead to a hung mount."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from agent import budgets, mounts, procfs, python_servers, redact
from agent.config import Config, PostgresLogin, RedisLogin
from agent.engine import Engine, EngineError
from agent.jobs import Crew, Work
from agent.named_targets import Dependency, TlsEndpoint
from agent.procfs import Listener, Process
from agent.python_servers import Server
from agent.recorder import Recorder
from fleetmedic.v1.snapshot_pb2 import (
    FAILURE_KIND_CRASHED,
    FAILURE_KIND_GONE,
    FAILURE_KIND_NEEDS_RIGHT,
    FAILURE_KIND_NOT_LOOKED,
    FAILURE_KIND_OUT_OF_TIME,
    DiscoverySnapshot,
    Failure,
    FailureKind,
    Snapshot,
    Target,
)

SERVERS = frozenset({"postgres", "redis", "docker"})
REDIS_NAMES = frozenset({"redis-server", "valkey-server", "keydb-server"})
POSTGRES_NAMES = frozenset({"postgres", "postmaster"})
DOCKER_SOCKET = "/var/run/docker.sock"
DOCKER_FLAG = re.compile(r"(?:-H|--host)[= ]unix://(\S+)")
POSTGRES_SOCKET = re.compile(r"(/.*)/\.s\.PGSQL\.(\d+)")
# What Redis writes over its command line: redis-server 127.0.0.1:6379, or unixsocket:/path.
REDIS_TITLE = re.compile(r"(?:^|\s)(?:(\*|[0-9a-fA-F.:\[\]]*):(\d+)|unixsocket:(\S+))(?:\s|$)")
NOTHING_HERE: Mapping[str, str] = {
    "postgres": "no PostgreSQL found",
    "postgres_disk": "no PostgreSQL process found",
    "redis": "no Redis found",
    "docker": "no Docker engine found",
    "tls": "no TLS listener found (a port that ends in 443), and none is named",
    "dns": "no name to resolve: agent.toml has no [[dns]], the inventory no fleetmedic_dns",
    "http": "no URL to ask: agent.toml has no [[http]], the inventory no fleetmedic_http",
    "page": "no page to ask for: agent.toml has no [[page]], the inventory no fleetmedic_pages",
    "dependency": "no dependency is named: agent.toml has no [[dependency]], the inventory no fleetmedic_dependencies",
    "python": "no Python server found",
    "own_certificate": "agent.toml has no [tls], and so this agent no certificate of its own",
}
# agent.toml alone says where these are.
NEVER_FOUND = frozenset({"own_certificate"})


def run(config: Config, locks: Path) -> DiscoverySnapshot:
    """What agent.toml names and, unless it says `discover = false`, what is found. Bounded; never raises for a host."""
    made = DiscoverySnapshot(targets=named(config))
    for probe in ("memory", "kernel", "processes"):
        made.targets.add(probe=probe, service="host", name=probe, origin="discovered")
    if config.discover:
        _add_found(made, config, locks)
    made.targets.extend(list(_logs(made.targets)))
    return made


def _add_found(made: DiscoverySnapshot, config: Config, locks: Path) -> None:
    crew = Crew(locks)
    target = Target(probe="discovery", name="this host")
    look = Work(target, lambda _: Snapshot(discovery=_discover(config)), budgets.DISCOVERY_KILL, shared=True)
    crew.add([look])
    (snapshot,) = crew.finished(time.monotonic() + budgets.DISCOVERY_KILL + 1)
    if snapshot.HasField("failure"):
        # It says nothing of any server: not looked, and not down.
        detail = f"discovery: {snapshot.failure.detail}"
        unseen = [probe for probe in (*NOTHING_HERE, "filesystem") if probe not in NEVER_FOUND]
        made.blind.extend(_blind(probe, FAILURE_KIND_OUT_OF_TIME, detail) for probe in unseen)
        return
    known = {_place(target) for target in made.targets}
    found = snapshot.discovery.targets
    processes = {_place(target): target for target in found if target.pid}
    for target in made.targets:
        # What is named by its address alone gets the process that serves it, with which its disks are found.
        if (server := processes.get(_place(target))) and target.probe in SERVERS:
            target.pid, target.pid_start_ticks = server.pid, server.pid_start_ticks
    made.targets.extend(target for target in found if _place(target) not in known)
    made.targets.extend(list(_disks(made.targets)))
    made.blind.extend(snapshot.discovery.blind)
    made.blind.extend(_gone(config, made.targets))


def _disks(found: Iterable[Target]) -> Iterator[Target]:
    """A look at the disks of each PostgreSQL server whose process is known."""
    for target in found:
        if target.probe == "postgres" and target.pid:
            disks = Target(probe="postgres_disk", service=target.service, name=target.name, origin=target.origin)
            disks.pid, disks.pid_start_ticks = target.pid, target.pid_start_ticks
            yield disks


def _logs(found: Iterable[Target]) -> Iterator[Target]:
    """The logs of each engine's containers."""
    for target in found:
        if target.probe == "docker":
            yield Target(probe="errors", service="docker", name=target.name, socket=target.socket, origin=target.origin)


def _gone(config: Config, found: Iterable[Target]) -> list[Snapshot]:
    """Servers and engines that were here within a day and are not any more: one that died must not become "none found".

    Those in containers are the engine's matter, which knows whether they ought to run.
    """
    servers = [target for target in found if target.probe in SERVERS and not target.container_id]
    missing = Recorder(config.state).remember(servers, time.time())
    made = []
    for target, last in missing:
        detail = f"was here until {time.strftime('%H:%M:%SZ', time.gmtime(last))}, and is gone"
        made.append(_blind(target.probe, FAILURE_KIND_GONE, detail, target.service, target.name))
    return made


def nothing_here(found: DiscoverySnapshot, requested: Iterable[Target]) -> list[Snapshot]:
    """For each kind of which there is neither a target nor a blind spot: a snapshot that says so."""
    looked = {target.probe for target in (*found.targets, *requested)} | {spot.target.probe for spot in found.blind}
    return [
        _blind(probe, FAILURE_KIND_NOT_LOOKED, reason) for probe, reason in NOTHING_HERE.items() if probe not in looked
    ]


def _blind(probe: str, kind: "FailureKind.ValueType", detail: str, service: str = "", name: str = "") -> Snapshot:
    target = Target(probe=probe, service=service or probe, name=name or "this host")
    return Snapshot(target=target, failure=Failure(kind=kind, detail=detail))


def _place(target: Target) -> tuple[str, str, int, str]:
    """Where a target is, whatever it is called: one that is named is not found a second time."""
    network = f"network of {target.pid}" if target.join_network else target.socket
    return target.probe, target.host, target.port, network


def named(config: Config) -> Iterator[Target]:
    """What agent.toml names."""
    for login in config.postgres:
        yield _login_target("postgres", login)
    for entry in config.redis:
        yield _login_target("redis", entry)
    for item in config.http:
        yield Target(
            probe="http", service=item.service, name=redact.url(item.value), url=item.value, origin=item.origin
        )
    for page in config.pages:
        name = redact.url(page.value)
        yield Target(probe="page", service=page.service, name=name, url=page.value, origin=page.origin)
    for endpoint in config.tls_endpoints:
        yield _tls_target(endpoint)
    for item in config.dns:
        yield Target(probe="dns", service=item.service, name=item.value, host=item.value, origin=item.origin)
    for needed in config.dependencies:
        yield _dependency_target(needed)
    if config.docker_socket or config.docker_expected:
        # Whoever expects containers expects an engine: without its socket it is down, not absent.
        yield _docker_target(config.docker_socket or DOCKER_SOCKET, config.file.name if config.file else "")
    yield from _own_certificate(config)
    for point in () if config.discover else config.mounts:
        yield Target(probe="filesystem", service="host", name=point, origin=config.file.name if config.file else "")


def _own_certificate(config: Config) -> Iterator[Target]:
    if config.tls is not None:
        origin = config.file.name if config.file else ""
        yield Target(probe="own_certificate", service="fleetmedic", name=str(config.tls.certificate), origin=origin)


def _docker_target(socket: str, origin: str) -> Target:
    return Target(probe="docker", service="docker", name=socket, socket=socket, origin=origin)


def _login_target(probe: str, login: PostgresLogin | RedisLogin) -> Target:
    return Target(
        probe=probe,
        service=login.service,
        name=login.socket or f"{login.host}:{login.port}",
        host=login.host,
        port=login.port,
        socket=login.socket,
        origin=login.origin,
    )


def _tls_target(item: TlsEndpoint) -> Target:
    host = f"[{item.host}]" if ":" in item.host else item.host
    name = f"{host}:{item.port}" + ("" if item.server_name == item.host else f" as {item.server_name}")
    return Target(probe="tls", service=item.service, name=name, host=item.host, port=item.port, origin=item.origin)


def _dependency_target(item: Dependency) -> Target:
    made = Target(probe="dependency", service=item.service, origin=item.origin, expected_status=item.status)
    if item.url:
        made.name, made.url = redact.url(item.url), item.url
    else:
        host, _, port = item.address.rpartition(":")
        made.name, made.host, made.port = item.address, host.strip("[]"), int(port)
    return made


def _discover(config: Config) -> DiscoverySnapshot:
    made = DiscoverySnapshot()
    everybody = {process.pid: process for process in procfs.processes()}
    names: dict[str, str] = {}
    for socket in _docker_sockets(config, everybody.values()):
        made.targets.append(_docker_target(socket, "discovered"))
        names |= _container_names(socket)
    for process in everybody.values():
        parent = everybody.get(process.parent)
        if process.name in POSTGRES_NAMES and (parent is None or parent.name not in POSTGRES_NAMES):
            _add(made, "postgres", process, names, _postgres_address)
        elif process.name in REDIS_NAMES and (parent is None or parent.name not in REDIS_NAMES):
            _add(made, "redis", process, names, _redis_address)
    for server in python_servers.find(everybody):
        _add_python(made, server, names)
    own_port = int(config.listen.rpartition(":")[2])
    for listener in _tls_listeners(own_port):
        name = f"{listener.host}:{listener.port}"
        host = procfs.reachable(listener.host)
        made.targets.add(probe="tls", service="tls", name=name, host=host, port=listener.port, origin="discovered")
    real = mounts.real(mounts.read(mounts.MOUNTINFO.read_text()), config.mounts)
    for mount in real:
        made.targets.add(probe="filesystem", service="host", name=mount.point, socket=mount.device, origin="discovered")
    for point in sorted(set(config.mounts) - {mount.point for mount in real}):
        detail = "is not mounted, and agent.toml names it under mounts"
        made.blind.append(_blind("filesystem", FAILURE_KIND_GONE, detail, "host", point))
    return made


def _docker_sockets(config: Config, everybody: Iterable[Process]) -> list[str]:
    """The configured one, the usual one, and those of engines that run as root beside us.

    Anybody can call a process dockerd, and a container has a root of its own: neither may say where the engine is.
    """
    if config.docker_socket:
        return [config.docker_socket]
    found = [DOCKER_SOCKET] if Path(DOCKER_SOCKET).exists() else []
    for process in everybody:
        ours = procfs.namespace(process.pid, "mnt") in ("", procfs.namespace("self", "mnt"))
        if process.name == "dockerd" and ours and procfs.owner(process.pid)[0] == 0:
            found += [match[1] for match in DOCKER_FLAG.finditer(procfs.title(process.pid))]
    # By the name it has in agent.toml, or the usual one, where a flag calls it otherwise: it is one engine.
    return list({str(Path(socket).resolve()): socket for socket in reversed(found)}.values())


def _container_names(socket: str) -> dict[str, str]:
    """Service names by container id: compose's label, else the container's name; none where the engine is silent."""
    names = {}
    with suppress(OSError, EngineError):
        for item in Engine(socket, budgets.DISCOVERY_DOCKER_SOCKET).containers():
            names[str(item.get("Id"))] = service_name(item)
    return names


def service_name(container: Mapping[str, object]) -> str:
    """What a container is called in findings, from its row of /containers/json."""
    labels = container.get("Labels")
    label = labels.get("com.docker.compose.service") if isinstance(labels, dict) else None
    listed = container.get("Names")
    return str(label or (listed[0] if isinstance(listed, list) and listed else "")).lstrip("/")


def _add(
    made: DiscoverySnapshot,
    probe: str,
    process: Process,
    names: Mapping[str, str],
    address: Callable[[Process], Target | None],
) -> None:
    container = procfs.container_id(process.pid)
    service = names.get(container, container[:12]) or probe
    what = f"process {process.pid}"
    try:
        target = address(process)
    except PermissionError:
        detail = f"needs root to look into {what} ({process.name})"
        made.blind.append(_blind(probe, FAILURE_KIND_NEEDS_RIGHT, detail, service, what))
        return
    except OSError as error:
        if procfs.read_process(process.pid) is None:
            return
        detail = f"{what} ({process.name}) can't be looked into: {error.strerror or type(error).__name__}"
        made.blind.append(_blind(probe, FAILURE_KIND_CRASHED, detail, service, what))
        return
    if target is None:
        detail = f"{process.name} listens nowhere: starting, stopping, or shut in"
        made.blind.append(_blind(probe, FAILURE_KIND_OUT_OF_TIME, detail, service, what))
        return
    target.probe, target.service, target.origin = probe, service, "discovered"
    target.pid, target.pid_start_ticks, target.container_id = process.pid, process.start_ticks, container
    if not target.socket:
        network = procfs.namespace(process.pid, "net")
        # Whose namespaces we may not read is in ours, unless it is in a container.
        target.join_network = network != procfs.namespace("self", "net") if network else bool(container)
    place = target.socket.removeprefix(f"/proc/{process.pid}/root") or f"{target.host}:{target.port}"
    target.name = f"{place} in {service}" if container else place
    if any(known.name == target.name and known.probe == probe for known in made.targets):
        # Two of one compose service: by their ids, so that the memory of one is not taken for the other's.
        target.name += f" ({container[:8]})"
    made.targets.append(target)


def _add_python(made: DiscoverySnapshot, server: Server, names: Mapping[str, str]) -> None:
    process = server.process
    container = procfs.container_id(process.pid)
    service = names.get(container, container[:12]) or server.service
    name = f"{server.name} in {service}" if container else server.name
    if any(known.name == name and known.probe == "python" for known in made.targets):
        name += f" ({container[:8] or f'pid {process.pid}'})"
    made.targets.add(
        probe="python",
        service=service,
        name=name,
        pid=process.pid,
        pid_start_ticks=process.start_ticks,
        container_id=container,
        origin="discovered",
    )


def _postgres_address(process: Process) -> Target | None:
    """By what the server listens on (root, or the same user); else by the sockets everybody can see."""
    found = _own_listeners(process)
    if found is None:
        if procfs.container_id(process.pid):
            raise PermissionError
        found = [item for item in procfs.listeners(process.pid) if POSTGRES_SOCKET.fullmatch(item.path)]
    # In an order that the kernel's tables do not shuffle: the address is the server's name in findings.
    paths = sorted(item.path for item in found)
    sockets = [match for path in paths if (match := POSTGRES_SOCKET.fullmatch(path))]
    if sockets:
        return Target(socket=_seen_from_here(process, sockets[0][1]), port=int(sockets[0][2]))
    return _first_tcp(found)


def _redis_address(process: Process) -> Target | None:
    found = _own_listeners(process)
    if found is None:
        title = REDIS_TITLE.search(procfs.title(process.pid))
        if title is None or procfs.container_id(process.pid):
            raise PermissionError
        found = [Listener(path=title[3])] if title[3] else [Listener(host=_titled(title[1]), port=int(title[2]))]
    tcp = _first_tcp(found)
    if tcp is not None:
        return tcp
    paths = sorted(item.path for item in found if item.path)
    return Target(socket=_seen_from_here(process, paths[0])) if paths else None


def _titled(host: str) -> str:
    return "127.0.0.1" if host in ("", "*") else procfs.reachable(host.strip("[]"))


def _own_listeners(process: Process) -> list[Listener] | None:
    try:
        return procfs.listeners(process.pid, procfs.socket_inodes(process.pid))
    except PermissionError:
        return None


def _first_tcp(found: Iterable[Listener]) -> Target | None:
    """A port to dial, IPv4 before IPv6."""
    tcp = sorted((item for item in found if item.port), key=lambda item: (":" in item.host, item.port))
    return Target(host=procfs.reachable(tcp[0].host), port=tcp[0].port) if tcp else None


def _seen_from_here(process: Process, path: str) -> str:
    """A path of the process's mount namespace as this one reaches it: UNIX sockets go by path, not by network."""
    if procfs.namespace(process.pid, "mnt") in ("", procfs.namespace("self", "mnt")):
        return path
    return procfs.inside(process.pid, path)


def _tls_listeners(own_port: int) -> Iterator[Listener]:
    seen = set()
    for listener in procfs.listeners("self"):
        if listener.port % 1000 == 443 and listener.port != own_port and listener.port not in seen:
            seen.add(listener.port)
            yield listener
