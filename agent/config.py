"""What agent.toml says: names, files, logins by reference, targets and limits."""

import ipaddress
import os
import pwd
import re
import socket
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from agent import allowed, named_targets, permitted
from agent.named_targets import LAST_PORT, Dependency, Named, TlsEndpoint
from agent.permitted import Permitted
from agent.toml_reader import ConfigError, Table, read

if TYPE_CHECKING:
    from agent.registry import Rule
    from fleetmedic.v1.snapshot_pb2 import Target

DEFAULT_FILE = Path("/etc/fleetmedic/agent.toml")
DEFAULT_PORT = 7443
LONGEST_PAUSE = 24 * 3600
UNSAID = Path()
ROLES = ("observer", "responder", "admin")
USER = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
LOGIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.$-]{0,62}")
CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    certificate: Path
    key: Path
    client_ca: Path


@dataclass(frozen=True, slots=True)
class PostgresLogin:
    """How to log in to one server: at `socket` (a directory) or `host`, with a password from a file."""

    service: str
    host: str
    port: int
    socket: str
    user: str
    dbname: str
    password_file: Path | None
    origin: str


@dataclass(frozen=True, slots=True)
class RedisLogin:
    """How to reach one Redis; `tls` for one that is known to speak it (else it is tried where plain text is cut)."""

    service: str
    host: str
    port: int
    socket: str
    user: str
    password_file: Path | None
    origin: str
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """The agent's configuration, whole; an empty file gives this with every default.

    `trust` holds what the front reads, the denylist and a freeze; `audit` the audit log. Both are in `state` where they
    are not said.
    """

    file: Path | None
    name: str
    state: Path
    run: Path
    trust: Path = UNSAID
    audit: Path = UNSAID
    listen: str = f"0.0.0.0:{DEFAULT_PORT}"
    tls: TlsFiles | None = None
    front_user: str = ""
    roles: Mapping[str, str] = field(default_factory=dict)
    discover: bool = True
    sample_seconds: float = 120.0
    postgres: tuple[PostgresLogin, ...] = ()
    redis: tuple[RedisLogin, ...] = ()
    docker_socket: str = ""
    docker_expected: tuple[str, ...] = ()
    http: tuple[Named, ...] = ()
    tls_endpoints: tuple[TlsEndpoint, ...] = ()
    dns: tuple[Named, ...] = ()
    pages: tuple[Named, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    mounts: tuple[str, ...] = ()
    probe_allow: tuple[str, ...] = ()
    actions: Permitted = Permitted()
    limits: Mapping[str, Mapping[str, tuple[float, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("trust", "audit"):
            if getattr(self, name) == UNSAID:
                object.__setattr__(self, name, self.state / name)

    @property
    def journal(self) -> Path:
        """Plans, operations and the evidence that was kept before them."""
        return self.state / "operations"

    def secrets(self) -> tuple[str, ...]:
        """The values this agent holds itself, which no job may let out."""
        files = [login.password_file for login in self.postgres] + [login.password_file for login in self.redis]
        return tuple(filter(None, map(_readable, files)))


def default_folders(environment: Mapping[str, str], uid: int) -> tuple[Path, Path]:
    """Where state and sockets live: the system's places for root, the user's own otherwise."""
    if uid == 0:
        return Path("/var/lib/fleetmedic/agent"), Path("/run/fleetmedic")
    home = Path(environment.get("HOME", "/nonexistent"))
    state = Path(environment.get("XDG_STATE_HOME") or home / ".local/state") / "fleetmedic/agent"
    runtime = environment.get("XDG_RUNTIME_DIR")
    return state, Path(runtime) / "fleetmedic" if runtime else state / "run"


def with_own_folders(config: Config, environment: Mapping[str, str]) -> Config:
    """For a caller who is not the agent's user: the same, with state, sockets and audit log of the caller's own.

    `trust` stays the agent's: everybody may read there that it is frozen.
    """
    uid = os.geteuid()
    if uid == 0 or _belongs_to(config.run, uid):
        return config
    state, run = default_folders(environment, uid)
    return replace(config, state=state, run=run, audit=state / "audit")


def _belongs_to(folder: Path, uid: int) -> bool:
    """Whether it is the user's, or may become so: a folder that is not there yet belongs to who can make it."""
    while not folder.exists():
        folder = folder.parent
        if os.access(folder, os.W_OK):
            return True
    return folder.stat().st_uid == uid


def load(file: Path | None, rules: "tuple[Rule, ...] | None", environment: Mapping[str, str]) -> Config:
    """Reads a file, or gives the defaults. ConfigError names the file, line and field.

    Without `rules` it is read for the front, which neither judges nor logs in: limits and secrets stay unread.
    """
    if file is None:
        file = DEFAULT_FILE if DEFAULT_FILE.exists() else None
    if file is None:
        uid = os.geteuid()
        state, run = default_folders(environment, uid)
        return Config(None, socket.gethostname(), state, run, *_kept_beside(state, uid))
    top = read(file, _text(file))
    # An agent with a front of another user is the system's, whichever of the two reads this.
    uid = 0 if top.values.get("front_user") else os.geteuid()
    return _config(top, rules, environment, uid)


def _kept_beside(state: Path, uid: int) -> tuple[Path, Path]:
    """Where trust and audit lie: beside the state of the system's agent, which is for root alone; else in it."""
    folder = state.parent if uid == 0 else state
    return folder / "trust", folder / "audit"


def of_visit(folder: Path, rules: "tuple[Rule, ...]", environment: Mapping[str, str]) -> tuple[Config, str]:
    """For a look that leaves nothing behind: all it writes lies in `folder`. And why agent.toml is not heeded, if so.

    Only root heeds it: others could not read the secrets that it names.
    """
    own = read = Config(None, socket.gethostname(), folder / "state", folder / "run")
    trouble = ""
    if os.geteuid() == 0:
        try:
            read = load(None, rules, environment)
        except ConfigError as error:
            trouble = str(error)
    return replace(read, front_user="", state=own.state, run=own.run, trust=own.trust, audit=own.audit), trouble


def _text(file: Path) -> str:
    try:
        about = file.stat()
        text = file.read_text()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8 text") from error
    if os.geteuid() == 0 and (about.st_uid != 0 or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        raise ConfigError(f"{file}: must belong to root and be writable by root alone: chown root, chmod 0644")
    return text


def _config(top: Table, rules: "tuple[Rule, ...] | None", environment: Mapping[str, str], uid: int) -> Config:
    default_state, default_run = default_folders(environment, uid)
    state = Path(top.text_of("state", str(default_state)))
    trust, audit = _kept_beside(state, uid)
    docker = top.table("docker")
    sampler = top.table("sampler")
    limits = top.table("limits")
    made = Config(
        file=top.file,
        name=_name(top),
        listen=_listen(top),
        state=state,
        run=Path(top.text_of("run", str(default_run))),
        trust=Path(top.text_of("trust", str(trust))),
        audit=Path(top.text_of("audit", str(audit))),
        tls=_tls(top.table("tls")),
        front_user=_front_user(top),
        roles=_roles(top.table("roles")),
        discover=top.flag("discover", default=True),
        sample_seconds=sampler.number("seconds", 120.0),
        postgres=tuple(_postgres(table, logs_in=rules is not None) for table in top.tables("postgres")),
        redis=tuple(_redis(table, logs_in=rules is not None) for table in top.tables("redis")),
        docker_socket=docker.text_of("socket"),
        docker_expected=_containers(docker),
        http=tuple(named_targets.named(table, "url") for table in top.tables("http")),
        tls_endpoints=tuple(map(named_targets.tls_endpoint, top.tables("tls_endpoint"))),
        dns=tuple(named_targets.named(table, "name") for table in top.tables("dns")),
        pages=tuple(named_targets.named(table, "url") for table in top.tables("page")),
        dependencies=tuple(map(named_targets.dependency, top.tables("dependency"))),
        mounts=top.texts("mounts"),
        probe_allow=_allow(top),
        actions=permitted.read(top.table("actions")),
        limits={} if rules is None else _limits(limits, rules),
    )
    for table in (docker, sampler, top):
        table.end()
    if not 1 <= made.sample_seconds <= LONGEST_PAUSE:
        raise sampler.refuse("seconds", f"must lie between 1 and {LONGEST_PAUSE}")
    return made


def _name(top: Table) -> str:
    name = top.text_of("name", socket.gethostname())
    if not HOST_NAME.fullmatch(name):
        raise top.refuse("name", f"{name!r} is no host name: letters, digits, dots, hyphens and underscores")
    return name


def _front_user(top: Table) -> str:
    user = top.text_of("front_user")
    if user:
        try:
            pwd.getpwnam(user)
        except KeyError as error:
            raise top.refuse("front_user", f"no user {user!r} on this host: useradd --system {user}") from error
    return user


def _roles(table: Table) -> Mapping[str, str]:
    """Users of the organisation who have a lower role on this host than their certificates say."""
    made = {}
    for user in table.values:
        made[user] = table.text_of(user)
        if not USER.fullmatch(user):
            raise table.refuse(user, "is no user name: small letters, digits, dots, hyphens, underscores")
        if made[user] not in ROLES:
            raise table.refuse(user, f"{made[user]!r} is no role: one of {', '.join(ROLES)}")
    return made


def _listen(top: Table) -> str:
    listen = top.text_of("listen", f"0.0.0.0:{DEFAULT_PORT}")
    host, _, port = listen.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError as error:
        raise top.refuse("listen", f"{listen!r} must be ADDRESS:PORT, such as 0.0.0.0:{DEFAULT_PORT}") from error
    if not port.isdecimal() or not port.isascii() or int(port) > LAST_PORT:
        raise top.refuse("listen", f"{port!r} is no port")
    return listen


def _tls(table: Table) -> TlsFiles | None:
    if not table.values:
        return None
    paths = {key: table.text_of(key) for key in ("certificate", "key", "client_ca")}
    table.end()
    for key, value in paths.items():
        if not value:
            raise table.refuse(key, "is missing; [tls] needs certificate, key and client_ca")
    return TlsFiles(Path(paths["certificate"]), Path(paths["key"]), Path(paths["client_ca"]))


def _postgres(table: Table, *, logs_in: bool) -> PostgresLogin:
    made = PostgresLogin(
        service=named_targets.service(table, "postgres"),
        host=table.text_of("host"),
        port=table.integer("port", 5432, 1, 65535),
        socket=table.text_of("socket"),
        user=table.name_of("user", "fleetmedic", LOGIN, "a user"),
        dbname=table.text_of("dbname", "postgres"),
        password_file=_file(table, "password_file", check=logs_in),
        origin=named_targets.origin(table),
    )
    table.end()
    if bool(made.host) == bool(made.socket):
        raise table.refuse("host", "give either host or socket (the directory of .s.PGSQL.PORT)")
    return made


def _redis(table: Table, *, logs_in: bool) -> RedisLogin:
    made = RedisLogin(
        service=named_targets.service(table, "redis"),
        host=table.text_of("host"),
        port=table.integer("port", 6379, 1, 65535),
        socket=table.text_of("socket"),
        user=table.name_of("user", "", LOGIN, "a user"),
        password_file=_file(table, "password_file", check=logs_in),
        origin=named_targets.origin(table),
        tls=table.flag("tls", default=False),
    )
    table.end()
    if bool(made.host) == bool(made.socket):
        raise table.refuse("host", "give either host or socket")
    if made.tls and made.socket:
        raise table.refuse("tls", "goes with host alone: a socket speaks no TLS")
    return made


def _file(table: Table, key: str, *, check: bool) -> Path | None:
    """A file with a secret in it: named here, read only when it is used, refused where others may read it."""
    value = table.text_of(key)
    if not value:
        return None
    path = Path(value)
    if not check:
        return path
    try:
        about = path.stat()
    except OSError as error:
        raise table.refuse(key, f"{value}: {error.strerror}") from error
    if about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise table.refuse(key, f"{value} may be read by others: chmod 0600 it")
    return path


Login = TypeVar("Login", PostgresLogin, RedisLogin)


def login_for(target: "Target", logins: Iterable[Login]) -> Login | None:
    """The login of a target that this file itself names.

    None for what was found: another network's 127.0.0.1:6379, or whatever sits at an address that looks alike, must not
    be given a password.
    """
    if target.join_network:
        return None
    place = (target.host, target.port, target.socket, target.origin)
    return next((item for item in logins if (item.host, item.port, item.socket, item.origin) == place), None)


def secret(path: Path | None) -> str:
    """The first line of a secret's file; empty for None."""
    return path.read_text().partition("\n")[0] if path else ""


def _readable(path: Path | None) -> str:
    """Empty for a secret that this user may not read, and so can't let out."""
    try:
        return secret(path)
    except OSError:
        return ""


def _containers(docker: Table) -> tuple[str, ...]:
    names = docker.texts("expected")
    for name in names:
        if not CONTAINER.fullmatch(name):
            raise docker.refuse("expected", f"{name!r} is no name of a container: write it as docker ps shows it")
    return names


def _allow(top: Table) -> tuple[str, ...]:
    """Where a request may point HTTP, TLS and DNS probes: networks, host patterns, either with :PORT."""
    entries = top.texts("probe_allow")
    for entry in entries:
        name, port = allowed.place(entry)
        if "/" in name:
            try:
                ipaddress.ip_network(name)
            except ValueError as error:
                raise top.refuse("probe_allow", f"{entry!r} is no network, such as 10.0.0.0/8") from error
        if not name or (port is not None and not 0 < port <= LAST_PORT):
            raise top.refuse("probe_allow", f"{entry!r} must be a network or a host pattern, either with :PORT")
    return entries


def _limits(table: Table, rules: "tuple[Rule, ...]") -> Mapping[str, Mapping[str, tuple[float, str]]]:
    known = {rule.id: {limit.name for limit in rule.limits} for rule in rules}
    made: dict[str, dict[str, tuple[float, str]]] = {}
    for rule_id in table.values:
        if rule_id not in known:
            close = get_close_matches(rule_id, known, n=1)
            raise table.refuse(rule_id, "is no check" + (f"; did you mean {close[0]}?" if close else ""))
        inner = table.table(rule_id)
        made[rule_id] = {}
        for name in inner.values:
            if name not in known[rule_id]:
                raise inner.refuse(name, f"{rule_id} has no such limit; it has {', '.join(sorted(known[rule_id]))}")
            made[rule_id][name] = (inner.number(name, 0), f"{table.file.name}:{inner.line(name)}")
    return made
