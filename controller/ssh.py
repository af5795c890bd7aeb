"""Strict SSH to one host, through gateways too: a host whose key is not known, or is another, is never spoken to.

The only importer of fabric and paramiko. fabric alone would accept any key of anybody (security.md D1): here the host
keys are loaded first, what they do not name is refused, and there is no way to switch that off.
"""

import logging
import re
import shlex
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import fabric
import paramiko
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey
from paramiko.pkey import UnknownKeyType
from paramiko.ssh_exception import (
    AuthenticationException,
    BadHostKeyException,
    ChannelException,
    NoValidConnectionsError,
    PasswordRequiredException,
    SSHException,
)

from controller.inventory.connection import DEFAULT_SSH_PORT, ssh_address
from controller.inventory.graph import Host
from controller.inventory.names import address_flaw, shown
from controller.inventory.origins import InventoryError
from controller.inventory.templates import used

# Of one command: an answer that is longer is not read to its end.
MOST_OUT = 4 * 1024 * 1024
MOST_ERR = 64 * 1024
MOST_GATEWAYS = 4
LAST_PORT = 65535
_GATEWAY = re.compile(
    r"(?:(?P<name>[^\[\]:]+)|\[(?P<ipv6>[^\[\]]+)\])(?::(?P<port>[0-9]{1,5}))?|(?P<bare>[0-9a-fA-F:]+)"
)
PIECE = 32 * 1024
PAUSE = 0.01
# What paramiko raises of a connection that is not there any more.
GONE = (SSHException, OSError, EOFError)
NO_KEY = "No authentication methods available"
NOT_KNOWN = "not found in known_hosts"
BROKE_EARLY = "the SSH connection broke before the command had ended"
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
    """A command that ended: its exit code, -1 where a signal ended it, and what it wrote."""

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
        for hop in jump.split(","):
            gateway = replace(_written(host.name, hop, place.user or user), gateway=gateway)
    key = used(host, "ansible_ssh_private_key_file") or used(host, "ansible_private_key_file")
    file = Path(str(key.value)).expanduser() if key is not None else None
    return Destination(host.name, place.address, place.port, place.user or user, file, gateway)


def _written(host: str, text: str, user: str) -> Destination:
    """A gateway as ssh has it: USER@HOST:PORT, the first and the last may be left out. InventoryError for none."""
    who, at, rest = text.rpartition("@")
    found = _GATEWAY.fullmatch(rest)
    name = (found["name"] or found["ipv6"] or found["bare"]) if found else ""
    port = int(found["port"] or DEFAULT_SSH_PORT) if found else 0
    if not name or not 0 < port <= LAST_PORT or (at and not who) or address_flaw(name):
        raise InventoryError(f"{host}: its gateway {shown(text)} is none: write -J USER@HOST:PORT")
    return Destination(rest, name, port, who if at else user)


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
        channel = self._begun(shlex.join(words))
        try:
            yield Remote(self.name, channel)
        finally:
            with suppress(*GONE):
                channel.close()

    def _begun(self, line: str) -> paramiko.Channel:
        """sshd gives the line to the user's shell: each word of it is quoted."""
        patience = self._transport.auth_timeout
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._transport.close()

        # paramiko waits for ever where a host is frozen; a connection that is closed ends that too.
        guard = threading.Timer(patience, give_up)
        guard.daemon = True
        guard.start()
        try:
            channel = self._transport.open_session(timeout=patience)
            channel.exec_command(line)  # nosec B601
        except GONE as error:
            if late.is_set():
                raise SshError(self.name, "late", f"silent for {patience:g}s, and began no command") from error
            raise SshError(self.name, "broken", f"the SSH connection broke: {_text(error)}") from error
        finally:
            guard.cancel()
        return channel

    def hang_up(self) -> None:
        """Ends the connection, from another thread too: whoever reads or writes on it gets an SshError."""
        self._transport.close()


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
        except GONE as error:
            raise self._broke(error) from error

    def end_input(self) -> None:
        """Nothing more comes; whether it is still there shows in what it answers."""
        with suppress(*GONE):
            self._channel.shutdown_write()

    def read(self, most: int, patience: float) -> bytes:
        """What is there, at least one byte; empty at the end. SshError after `patience` seconds without any."""
        self._channel.settimeout(patience)
        try:
            data = self._channel.recv(most)
        except TimeoutError as error:
            raise SshError(self._host, "late", f"silent for {patience:g}s") from error
        except GONE as error:
            raise self._broke(error) from error
        if not data and not self._channel.eof_received:
            # paramiko makes an end of what was cut.
            raise SshError(self._host, "broken", BROKE_EARLY)
        return data

    def read_error(self) -> bytes:
        """What it has written to standard error by now."""
        with suppress(*GONE):
            return self._channel.recv_stderr(MOST_ERR) if self._channel.recv_stderr_ready() else b""
        return b""

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
            waiting = len(left)
            left = self._fed(left)
            if not left and not closed:
                self.end_input()
                closed = True
            # Asked before what is there is taken: what comes in between is taken the next time.
            ended = channel.exit_status_ready() and channel.eof_received
            cut = channel.closed
            moved = self._taken(out, err) or len(left) < waiting
            if ended and not moved:
                return self._done(bytes(out), bytes(err))
            if cut and not moved:
                raise SshError(self._host, "broken", BROKE_EARLY)
            if time.monotonic() > end:
                raise SshError(self._host, "late", f"the command did not end in {patience:g}s")
            if not moved:
                time.sleep(PAUSE)

    def _done(self, out: bytes, err: bytes) -> Done:
        code = self._channel.recv_exit_status()
        if code < 0 and not self._channel.get_transport().is_active():
            raise SshError(self._host, "broken", BROKE_EARLY)
        return Done(code, out, err)

    def _fed(self, left: memoryview) -> memoryview:
        if left and self._channel.send_ready():
            try:
                return left[self._channel.send(bytes(left[:PIECE])) :]
            except TimeoutError:
                return left
            except GONE:
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
            # fabric closes only what was logged in to; an impostor's connection is not to stay open either.
            connection.client.close()


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
            # A list, where there is none too: fabric puts more to it.
            "key_filename": [] if to.key is None else [str(to.key)],
            "allow_agent": trust.own_keys,
            "look_for_keys": trust.own_keys,
            "banner_timeout": trust.patience,
            "auth_timeout": trust.patience,
            "channel_timeout": trust.patience,
        },
    )
    made.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    known = made.client.get_host_keys()
    for name, key in _keys(to.name, trust.known_hosts):
        known.add(name, key.get_name(), key)
    return made


def _keys(host: str, files: Sequence[Path]) -> Iterator[tuple[str, paramiko.PKey]]:
    """Names and their keys; of several keys of one kind the first, and none that is revoked. SshError for a bad file.

    A line that is none is passed over, as by ssh: it makes nobody known.
    """
    lines = [words for file in files for words in _lines(host, file)]
    revoked = {words[3] for words in lines if words[0] == "@revoked" and len(words) > 3}
    seen = set()
    for words in lines:
        entry = None
        with suppress(SSHException, InvalidHostKey, ValueError, struct.error):
            entry = HostKeyEntry.from_line(" ".join(words[:3])) if words[0][0] not in "@#" else None
        if entry is None or words[2] in revoked:
            continue
        for name in entry.hostnames or ():
            if (name, entry.key.get_name()) not in seen:
                seen.add((name, entry.key.get_name()))
                yield name, entry.key


def _lines(host: str, file: Path) -> Sequence[Sequence[str]]:
    try:
        text = file.read_text(errors="replace")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise SshError(
            host, "host-key", f"{file}: can't be read, and who is there can't be known: {error.strerror}"
        ) from error
    return [words for line in text.splitlines() if (words := line.split())]


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
    if isinstance(error, BadHostKeyException) or (isinstance(error, SSHException) and NOT_KNOWN in str(error)):
        return _stranger(to, trust, changed=isinstance(error, BadHostKeyException))
    if isinstance(error, PasswordRequiredException):
        return SshError(to.name, "login", f"{to.key or 'a key'}: has a passphrase: add it to ssh-agent")
    if isinstance(error, AuthenticationException) or NO_KEY in str(error):
        mend = "see ansible_user and --private-key"
        return SshError(to.name, "login", f"{to.user}@{_place(to)} takes none of our keys: {mend}")
    if to.key is not None and _of_key(error, to.key):
        return SshError(to.name, "login", f"{to.key}: is no private key that can be used: {_text(error)}")
    if isinstance(error, socket.gaierror):
        return SshError(to.name, "name", f"the name {to.address} does not resolve: {error.strerror}")
    if isinstance(error, NoValidConnectionsError | ConnectionRefusedError):
        return _not_connected(to, error)
    if isinstance(error, ChannelException):
        assert to.gateway is not None
        told = f"its gateway {to.gateway.name} can't reach {to.address} port {to.port}: {error.text}"
        return SshError(to.name, "unreachable", told)
    if isinstance(error, TimeoutError):
        return SshError(to.name, "unreachable", f"no answer from {to.address} port {to.port} in {trust.patience:g}s")
    if isinstance(error, SSHException | OSError | EOFError):
        return SshError(to.name, "unreachable", f"{to.address} port {to.port}: {_text(error)}")
    return error


def _stranger(to: Destination, trust: Trust, *, changed: bool) -> SshError:
    files = " or ".join(str(file) for file in trust.known_hosts)
    if changed:
        told = f"the key of {_place(to)} is not the one in {files}: it was set up anew, or is somebody else"
        return SshError(to.name, "host-key", f"{told}; ask its owner before you change the file")
    told = f"the key of {_place(to)} is in no {files}"
    return SshError(to.name, "host-key", f"{told}: add it there, once you know from the host itself that it is right")


def _place(to: Destination) -> str:
    """As known_hosts names it."""
    return to.address if to.port == DEFAULT_SSH_PORT else f"[{to.address}]:{to.port}"


def _of_key(error: Exception, key: Path) -> bool:
    """Whether it was the file that can't be used: paramiko says so in many ways."""
    if isinstance(error, OSError):
        return error.filename is not None and Path(str(error.filename)) == key
    return isinstance(error, ValueError | UnknownKeyType) or "private key" in str(error)


def _not_connected(to: Destination, error: OSError) -> SshError:
    causes = getattr(error, "errors", {}).values() or (error,)
    if all(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return SshError(to.name, "refused", f"nothing listens at {to.address} port {to.port}")
    why = next(_text(cause) for cause in causes if not isinstance(cause, ConnectionRefusedError))
    return SshError(to.name, "unreachable", f"{to.address} port {to.port}: {why}")


def _transport(connection: fabric.Connection) -> paramiko.Transport:
    made: paramiko.Transport = connection.transport
    # A host that dies in the middle is noticed without anybody speaking.
    made.set_keepalive(5)
    return made


def _text(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
