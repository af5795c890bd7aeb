"""Strict SSH to one host, through gateways too: a host whose key is not known, or is another, is never spoken to.

The only importer of fabric and paramiko. fabric alone would accept any key of anybody (security.md D1): here the host
keys are loaded first, what they do not name is refused, and there is no way to switch that off.
"""

import logging
import shlex
import socket
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import fabric
import paramiko
from paramiko.ssh_exception import (
    AuthenticationException,
    BadHostKeyException,
    NoValidConnectionsError,
    PasswordRequiredException,
    SSHException,
)

from controller.inventory.connection import DEFAULT_SSH_PORT, ssh_address
from controller.inventory.graph import Host
from controller.inventory.origins import InventoryError
from controller.inventory.templates import used

# Of one command: an answer that is longer is not read to its end.
MOST_OUT = 4 * 1024 * 1024
MOST_ERR = 64 * 1024
MOST_GATEWAYS = 4
PIECE = 32 * 1024
PAUSE = 0.01
# paramiko logs to standard error what it raises as well.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False


class SshError(Exception):
    """No session with a host, or it broke; one line says which, why, and the mend. `kind` is for programs.

    name, unreachable, refused, host-key, login, broken, late, too-much. `why` is the line without the host's name.
    """

    def __init__(self, host: str, kind: str, why: str) -> None:
        super().__init__(f"{host}: {why}")
        self.kind = kind
        self.why = why


@dataclass(frozen=True, slots=True)
class Destination:
    """Where to log in: as `user` at `address`, by way of `gateway` where there is one."""

    name: str
    address: str
    port: int = DEFAULT_SSH_PORT
    user: str = "root"
    key: Path | None = None
    gateway: "Destination | None" = None


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose keys are known, how we log in besides a destination's own key, and how long a set-up may take (seconds)."""

    known_hosts: tuple[Path, ...]
    patience: float = 10.0
    # The keys of ssh-agent and of ~/.ssh are tried too.
    own_keys: bool = True


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended: its exit code and what it wrote."""

    code: int
    out: bytes
    err: bytes

    @property
    def said(self) -> str:
        """The last line of standard error, for a message; hostile text as any other."""
        return self.err.decode(errors="replace").strip().rpartition("\n")[2]


def destination(host: Host, hosts: Mapping[str, Host], user: str) -> Destination:
    """From Ansible's connection variables. InventoryError where one is wrong, or a way that we can't go.

    `hosts` are those a gateway may be, by their inventory names; `user` is who logs in where no variable says so.
    """
    return _destination(host, hosts, user, ())


def _destination(host: Host, hosts: Mapping[str, Host], user: str, seen: tuple[str, ...]) -> Destination:
    if host.name in seen or len(seen) >= MOST_GATEWAYS:
        raise InventoryError(f"{host.name}: its gateways lead in a ring, or over more than {MOST_GATEWAYS} hosts")
    place = ssh_address(host)
    jump = place.gateway
    gateway: Destination | None = None
    if jump in hosts:
        gateway = _destination(hosts[jump], hosts, user, (*seen, host.name))
    elif jump:
        gateway = _written(jump, place.user or user)
    key = used(host, "ansible_ssh_private_key_file") or used(host, "ansible_private_key_file")
    file = Path(str(key.value)).expanduser() if key is not None else None
    return Destination(host.name, place.address, place.port, place.user or user, file, gateway)


def _written(text: str, user: str) -> Destination:
    """A gateway as ssh has it: USER@HOST:PORT, the first and the last may be left out."""
    who, at, rest = text.rpartition("@")
    name, colon, port = rest.rpartition(":")
    if not colon or not port.isdecimal():
        name, port = rest, str(DEFAULT_SSH_PORT)
    return Destination(rest, name.strip("[]"), int(port), who if at else user)


class Session:
    """A login that came about. Everything goes over its one transport."""

    def __init__(self, name: str, transport: paramiko.Transport) -> None:
        self.name = name
        self._transport = transport

    def run(self, words: Sequence[str], *, stdin: bytes = b"", patience: float) -> Done:
        """Runs a program with its arguments, and gives it `stdin`. SshError where it does not end in `patience` s.

        A program that could not be started ends with 127, as ssh has it.
        """
        with self.start(words) as remote:
            return remote.finish(stdin, patience)

    @contextmanager
    def start(self, words: Sequence[str]) -> "Iterator[Remote]":
        """A program that is spoken with while it runs; it is hung up on when the block ends."""
        try:
            channel = self._transport.open_session(timeout=self._transport.auth_timeout)
            # sshd gives the line to the user's shell: each word is quoted for it.
            line = shlex.join(words)
            channel.exec_command(line)  # nosec B601
        except (SSHException, OSError, EOFError) as error:
            raise SshError(self.name, "broken", f"the SSH connection broke: {_text(error)}") from error
        try:
            yield Remote(self.name, channel)
        finally:
            channel.close()

    def hang_up(self) -> None:
        """Ends the connection, from another thread too: whoever reads or writes on it gets an SshError."""
        self._transport.close()

    def put(self, content: bytes, path: str, mode: int) -> None:
        """Writes a new file, which is nobody else's at any moment. SshError where it can't."""
        with self._sftp() as sftp, sftp.open(path, "wx") as file:
            file.chmod(0o600)
            file.set_pipelined(True)
            file.write(content)
            file.chmod(stat.S_IMODE(mode))

    @contextmanager
    def _sftp(self) -> Iterator[paramiko.SFTPClient]:
        try:
            client = paramiko.SFTPClient.from_transport(self._transport)
            assert client is not None
            with client:
                yield client
        except (SSHException, OSError, EOFError) as error:
            raise SshError(self.name, "broken", f"SFTP: {_text(error)}") from error


class Remote:
    """A program on a host, and its three streams."""

    def __init__(self, host: str, channel: paramiko.Channel) -> None:
        self._host = host
        self._channel = channel

    def write(self, data: bytes, patience: float | None = None) -> None:
        """All of it. SshError where the program has gone, or takes nothing for `patience` seconds."""
        self._channel.settimeout(patience)
        try:
            self._channel.sendall(data)
        except TimeoutError as error:
            raise SshError(self._host, "late", f"took nothing for {patience:g}s") from error
        except OSError as error:
            raise self._broke(error) from error

    def end_input(self) -> None:
        self._channel.shutdown_write()

    def read(self, most: int, patience: float) -> bytes:
        """What is there, at least one byte; empty at the end. SshError after `patience` seconds without any."""
        self._channel.settimeout(patience)
        try:
            return self._channel.recv(most)
        except TimeoutError as error:
            raise SshError(self._host, "late", f"silent for {patience:g}s") from error
        except OSError as error:
            raise self._broke(error) from error

    def read_error(self) -> bytes:
        """What it has written to standard error by now."""
        return self._channel.recv_stderr(MOST_ERR) if self._channel.recv_stderr_ready() else b""

    def ended(self, patience: float) -> int | None:
        """Its exit code; None where it has none after `patience` seconds, or the connection broke before it."""
        until = time.monotonic() + patience
        while not self._channel.exit_status_ready():
            if time.monotonic() > until:
                return None
            time.sleep(PAUSE)
        code = self._channel.recv_exit_status()
        return None if code < 0 else code

    def finish(self, stdin: bytes, patience: float) -> Done:
        """Gives it `stdin` while reading what it writes, until it ends."""
        end = time.monotonic() + patience
        out, err = bytearray(), bytearray()
        channel = self._channel
        channel.settimeout(0.0)
        left = memoryview(stdin)
        closed = False
        while True:
            left = self._fed(left)
            if not left and not closed:
                channel.shutdown_write()
                closed = True
            moved = self._taken(out, err)
            if channel.exit_status_ready() and not moved and channel.eof_received:
                return Done(channel.recv_exit_status(), bytes(out), bytes(err))
            if channel.closed and not moved:
                raise SshError(self._host, "broken", "the SSH connection broke before the command had ended")
            if time.monotonic() > end:
                raise SshError(self._host, "late", f"the command did not end in {patience:g}s")
            if not moved:
                time.sleep(PAUSE)

    def _fed(self, left: memoryview) -> memoryview:
        if left and self._channel.send_ready():
            try:
                return left[self._channel.send(bytes(left[:PIECE])) :]
            except TimeoutError:
                return left
            except OSError:
                # It ended without reading all: its exit code says more than our broken pipe.
                return memoryview(b"")
        return left

    def _taken(self, out: bytearray, err: bytearray) -> bool:
        moved = False
        if self._channel.recv_ready():
            out += self._channel.recv(PIECE)
            moved = True
        if self._channel.recv_stderr_ready():
            err += self._channel.recv_stderr(PIECE)
            moved = True
        if len(out) > MOST_OUT or len(err) > MOST_ERR:
            raise SshError(self._host, "too-much", "the command wrote more than it may: not read to its end")
        return moved

    def _broke(self, error: Exception) -> SshError:
        return SshError(self._host, "broken", f"the SSH connection broke: {_text(error)}")


@contextmanager
def connected(to: Destination, trust: Trust) -> Iterator[Session]:
    """A login at a host, by way of its gateways, all with keys that are known. SshError where none comes about."""
    opened: list[fabric.Connection] = []
    try:
        yield Session(to.name, _transport(_opened(to, trust, opened)))
    finally:
        for connection in reversed(opened):
            connection.close()


def _strict(to: Destination, trust: Trust, gateway: fabric.Connection | None) -> fabric.Connection:
    """fabric's connection without its trust in everybody, and without anybody's configuration files."""
    made = fabric.Connection(
        to.address,
        user=to.user,
        port=to.port,
        config=fabric.Config(lazy=True),
        gateway=gateway,
        forward_agent=False,
        connect_timeout=trust.patience,
        connect_kwargs={
            # fabric takes no None for "none".
            **({} if to.key is None else {"key_filename": [str(to.key)]}),
            "allow_agent": trust.own_keys,
            "look_for_keys": trust.own_keys,
            "banner_timeout": trust.patience,
            "auth_timeout": trust.patience,
            "channel_timeout": trust.patience,
        },
    )
    made.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    for file in trust.known_hosts:
        if file.exists():
            made.client.load_system_host_keys(str(file))
    return made


def _opened(to: Destination, trust: Trust, opened: list[fabric.Connection]) -> fabric.Connection:
    gateway = _opened(to.gateway, trust, opened) if to.gateway is not None else None
    connection = _strict(to, trust, gateway)
    opened.append(connection)
    try:
        connection.open()
    except Exception as error:
        raise _failure(to, trust, error) from error
    return connection


def _failure(to: Destination, trust: Trust, error: Exception) -> Exception:
    """What is known of why no session came about; any other exception is a bug of ours, and stays what it is."""
    files = " or ".join(str(file) for file in trust.known_hosts)
    place = to.address if to.port == DEFAULT_SSH_PORT else f"[{to.address}]:{to.port}"
    if isinstance(error, BadHostKeyException):
        told = f"the key of {place} is not the one in {files}: it was set up anew, or is somebody else"
        return SshError(to.name, "host-key", f"{told}; ask its owner before you change the file")
    if isinstance(error, SSHException) and "not found in known_hosts" in str(error):
        told = f"the key of {place} is in no {files}"
        return SshError(
            to.name, "host-key", f"{told}: add it there, once you know from the host itself that it is right"
        )
    if isinstance(error, PasswordRequiredException):
        return SshError(to.name, "login", f"{to.key}: has a passphrase: add it to ssh-agent")
    if isinstance(error, AuthenticationException):
        return SshError(
            to.name, "login", f"{to.user}@{place} takes none of our keys: see ansible_user and --private-key"
        )
    if isinstance(error, socket.gaierror):
        return SshError(to.name, "name", f"the name {to.address} does not resolve: {error.strerror}")
    if isinstance(error, NoValidConnectionsError | ConnectionRefusedError):
        return SshError(to.name, "refused", f"nothing listens at {to.address} port {to.port}")
    if isinstance(error, TimeoutError):
        return SshError(to.name, "unreachable", f"no answer from {to.address} port {to.port} in {trust.patience:g}s")
    if isinstance(error, SSHException | OSError | EOFError):
        return SshError(to.name, "unreachable", f"{to.address} port {to.port}: {_text(error)}")
    return error


def _transport(connection: fabric.Connection) -> paramiko.Transport:
    made: paramiko.Transport = connection.transport
    # A host that dies in the middle is noticed without anybody speaking.
    made.set_keepalive(5)
    return made


def _text(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
