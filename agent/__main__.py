"""fleetmedic-agent: serve, work, check, discover, config, enroll."""

import argparse
import contextlib
import datetime
import importlib.util
import os
import pwd
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent import VERSION, boundary, config, frames
from agent.identity import identity
from agent.toml_reader import ConfigError
from fleetmedic.v1.local_pb2 import LocalRequest, LocalResponse

if TYPE_CHECKING:
    from agent.check import Medic

# Of glibc's malloc.h.
M_ARENA_MAX = -8
EX_USAGE = 64
EX_DATAERR = 65
EX_OSERR = 71
EX_SOFTWARE = 70
# What anybody may run: with folders of their own where the agent's are not theirs.
AS_CALLER = frozenset({"check", "discover"})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command's exit code: 0, 64 wrong use, 65 a bad configuration, 70 a bug, 71 where the system refuses."""
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as ended:
        return EX_USAGE if ended.code else 0
    os.umask(0o077)
    try:
        result: int = options.act(options)
    except ConfigError as error:
        print(f"fleetmedic-agent: {error}", file=sys.stderr)
        return EX_DATAERR
    except frames.FrameError as error:
        print(f"fleetmedic-agent: standard input: {error}", file=sys.stderr)
        return EX_DATAERR
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"fleetmedic-agent: {where}{error.strerror or type(error).__name__}", file=sys.stderr)
        return EX_OSERR
    except Exception as error:  # noqa: BLE001 - the boundary: a user never sees a traceback
        print(f"fleetmedic-agent: a bug of ours: {boundary.where(error)}; please report this line", file=sys.stderr)
        return EX_SOFTWARE
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fleetmedic-agent",
        description="The agent on a host. Most people need only `fleetmedic`, at their own desk.",
        epilog="Exit codes: 0 well, 64 wrong use, 65 bad configuration, 70 a bug of ours, 71 the system refused.",
    )
    parser.add_argument("--version", action="version", version=f"fleetmedic-agent {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, act, about in (
        ("serve", _serve, "the front: gRPC over mutual TLS, for an unprivileged user"),
        ("work", _work, "the worker: looks and judges, as root where the host is to be seen whole"),
        ("check", _check, "answer framed requests on standard input (--stdio)"),
        ("discover", _discover, "print what an agent with this configuration looks at"),
        ("config", _config, "read the configuration, and print it as it stands"),
    ):
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument(
            "--config", type=Path, metavar="FILE", help="default: /etc/fleetmedic/agent.toml, if it is there"
        )
        command.set_defaults(act=act)
        if name == "check":
            command.add_argument(
                "--stdio", action="store_true", required=True, help="frames on standard input and output"
            )
            command.add_argument(
                "--folder",
                type=Path,
                metavar="DIR",
                help="a visit: write nothing but into this folder, and leave the agent that runs here alone",
            )
        if name == "discover":
            command.add_argument("--toml", action="store_true", help="what was discovered, as tables of an agent.toml")
    _add_enroll(commands)
    return parser


def _add_enroll(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "the agent's first key and certificate, as the front's user; `fleetmedic agent install` calls it"
    command = commands.add_parser("enroll", help=about, description=about)
    steps = command.add_subparsers(dest="step", required=True, metavar="STEP")
    for name, act, does in (
        ("request", _enroll_request, "make a new key, and print a signing request for it"),
        ("accept", _enroll_accept, "read the certificate on standard input, and put it and the key in place"),
    ):
        step = steps.add_parser(name, help=does, description=does)
        step.add_argument("--config", type=Path, metavar="FILE", help="default: /etc/fleetmedic/agent.toml")
        step.set_defaults(act=act)


def _medic(options: argparse.Namespace) -> "Medic":
    from agent import local, registry  # noqa: PLC0415 - the front has no use for them
    from agent.check import Medic  # noqa: PLC0415

    rules = registry.load()
    read = config.load(options.config, rules, os.environ)  # noqa: TID251 - the edge
    if options.command in AS_CALLER:
        read = config.with_own_folders(read, os.environ)  # noqa: TID251 - the edge
    medic = Medic(identity(read.name, time.time()), read, rules)
    local.prepare_folders(medic)
    return medic


def _serve(options: argparse.Namespace) -> int:
    # grpc's own log lines are for its developers. Read when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # noqa: TID251 - the edge
    _spare_openssl()
    _share_memory()
    from agent.front import server  # noqa: PLC0415 - the only command with grpc

    server.serve(
        config.load(options.config, None, os.environ),  # noqa: TID251 - the edge
        _utc,
        lambda port: print(f"fleetmedic-agent: serving on port {port}", flush=True),
        lambda line: print(f"fleetmedic-agent: {line}", file=sys.stderr, flush=True),
    )
    return 0


def _spare_openssl() -> None:
    """Keeps the system's OpenSSL out of this process: grpc and cryptography have their own, and it costs a front 4 MB.

    What would bring it in (asyncio under grpc, hashlib) does without it where there is none.
    """
    sys.modules["ssl"] = None  # type: ignore[assignment]
    # Some systems build Python without hashes of its own.
    if all(map(importlib.util.find_spec, ("_md5", "_sha1"))):
        sys.modules["_hashlib"] = None  # type: ignore[assignment]


def _share_memory() -> None:
    """Has all threads take memory from one place: glibc gives each its own, and what was freed in one fits no other.

    1,000 clients that came and went eight times left a front with 199 MB, and with this 148 (benchmarks/README.md).
    """
    import ctypes  # noqa: PLC0415 - only here

    # A system without glibc has no such function, nor the trouble.
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def _utc() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)  # noqa: TID251 - the edge


def _enroll_request(options: argparse.Namespace) -> int:
    from agent import own_certificate  # noqa: PLC0415 - only here

    files, name = _own_files(options)
    sys.stdout.buffer.write(own_certificate.request(files, name))
    return 0


def _enroll_accept(options: argparse.Namespace) -> int:
    from agent import own_certificate  # noqa: PLC0415 - only here

    files, name = _own_files(options)
    own_certificate.recover(files)
    chain = sys.stdin.buffer.read(own_certificate.LONGEST_CHAIN)
    try:
        own_certificate.accept(files, chain, name, _utc())
    except own_certificate.OwnCertificateError as error:
        print(f"fleetmedic-agent: standard input: {error}", file=sys.stderr)
        return EX_DATAERR
    return 0


def _own_files(options: argparse.Namespace) -> tuple[config.TlsFiles, str]:
    """Where the agent's certificate and key belong, and its name. ConfigError for another user than the front's."""
    read = config.load(options.config, None, os.environ)  # noqa: TID251 - the edge
    if read.tls is None:
        raise ConfigError(f"{read.file or 'agent.toml'}: [tls] is missing: it says where certificate and key belong")
    if read.front_user and os.geteuid() != pwd.getpwnam(read.front_user).pw_uid:
        raise ConfigError(
            f"{read.file}: front_user: the key is to be {read.front_user}'s own: "
            f"runuser -u {read.front_user} -- fleetmedic-agent enroll {options.step}"
        )
    return read.tls, read.name


def _work(options: argparse.Namespace) -> int:
    from agent import zygote  # noqa: PLC0415 - only here

    medic = _medic(options)
    print(f"fleetmedic-agent: working as user {os.geteuid()}", flush=True)
    zygote.run(medic)
    return 0


def _check(options: argparse.Namespace) -> int:
    """Read only by construction: these requests can look and nothing else. A running worker is asked, if it may be."""
    from agent import local  # noqa: PLC0415

    if options.folder is not None:
        return _visit(options.folder)
    medic = _medic(options)
    # Of the agent that runs here, not of folders of the caller's own.
    there = config.load(options.config, None, os.environ).run  # noqa: TID251 - the edge
    with socket.socket(socket.AF_UNIX) as worker:
        through = _connected(worker, there / "worker.sock")
        while (request := frames.read(0, LocalRequest)) is not None:
            signal.alarm(int(local.budget(request) + 3))
            if through and request.WhichOneof("request") in local.LOOKING:
                frames.write(worker.fileno(), request)
                _relay(worker)
                through = False
            else:
                _answer_here(medic, request)
            signal.alarm(0)
    return 0


def _visit(folder: Path) -> int:
    """One answer, for whoever brought us here: as `check`, with nothing of the host's own agent asked or written.

    An agent.toml that is wrong is told and ends with 65, after a look without it: it may be why the agent is dead.
    """
    from agent import jobs, local, registry  # noqa: PLC0415
    from agent.check import Medic  # noqa: PLC0415

    jobs.die_with(os.getppid())
    rules = registry.load()
    read, trouble = config.of_visit(folder, rules, os.environ)  # noqa: TID251 - the edge
    medic = Medic(identity(read.name, time.time()), read, rules)
    local.prepare_folders(medic)
    request = frames.read(0, LocalRequest)
    if request is not None:
        signal.alarm(int(local.budget(request) + 3))
        for answer in local.answer(medic, request, time.time(), looking=True):
            frames.write(1, answer)
        signal.alarm(0)
    if trouble:
        print(f"{trouble}; looked without it", file=sys.stderr)
        return EX_DATAERR
    return 0


def _answer_here(medic: "Medic", request: LocalRequest) -> None:
    from agent import local, recording  # noqa: PLC0415

    last = None
    for last in local.answer(medic, request, time.time(), looking=True):
        frames.write(1, last)
    recording.beside(medic, request, last)


def _connected(worker: socket.socket, place: Path) -> bool:
    worker.settimeout(0.5)
    try:
        worker.connect(str(place))
    except OSError:
        return False
    worker.settimeout(None)
    return True


def _relay(worker: socket.socket) -> None:
    while (answer := frames.read(worker.fileno(), LocalResponse)) is not None:
        frames.write(1, answer)


def _discover(options: argparse.Namespace) -> int:
    from agent import local  # noqa: PLC0415

    medic = _medic(options)
    described = local.describe(medic, time.time())
    if options.toml:
        from agent import discovered_toml  # noqa: PLC0415 - only here

        print(discovered_toml.render(described.targets), end="")
        return 0
    for target in described.targets:
        print(f"{target.probe:<11} {target.service:<16} {target.name}  ({target.origin})")
    return 0


def _config(options: argparse.Namespace) -> int:
    from agent import discovery, registry  # noqa: PLC0415

    rules = registry.load()
    read = config.load(options.config, rules, os.environ)  # noqa: TID251 - the edge
    print(f"file = {str(read.file) if read.file else 'none: every default'}")
    for name in (
        "name",
        "listen",
        "state",
        "run",
        "trust",
        "audit",
        "front_user",
        "discover",
        "sample_seconds",
        "tls",
        "roles",
    ):
        print(f"{name} = {_plain(getattr(read, name))}")
    for target in discovery.named(read):
        print(f"{target.probe}: {target.service} {target.name} ({target.origin})")
    for name in ("docker_socket", "docker_expected", "mounts", "probe_allow"):
        print(f"{name} = {_plain(getattr(read, name))}")
    for name in ("containers", "stateful", "sessions", "approval"):
        print(f"actions.{name} = {_plain(getattr(read.actions, name))}")
    for keys in read.actions.keys:
        print(f"actions.keys = {keys.service} {keys.pattern} in database {keys.database}")
    for rule in rules:
        for limit in rule.limits:
            value, origin = read.limits.get(rule.id, {}).get(limit.name, (limit.value, f"default, {limit.owner}"))
            print(f"{rule.id}.{limit.name} = {value:g} {limit.unit} ({origin})")
    return 0


def _plain(value: object) -> str:
    """A setting for people."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, config.TlsFiles):
        return f"certificate {value.certificate}, key {value.key}, client_ca {value.client_ca}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {inner}" for key, inner in value.items()) or "none"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value or "none")


if __name__ == "__main__":
    sys.exit(main())
