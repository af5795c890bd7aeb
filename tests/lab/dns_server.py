"""A tiny real DNS server on UDP, and how to make it the system's resolver inside the sandbox."""

import contextlib
import ipaddress
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.lab import sandbox

MODES = ("answer", "rotate", "servfail", "nxdomain", "refused", "silent")
RESOLV_CONF = Path("/etc/resolv.conf")


@dataclass
class _Behaviour:
    mode: str
    answers: dict[str, tuple[str, ...]]
    questions: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class DnsServer:
    """A running server; unknown names get NXDOMAIN, known names without a record of the asked type an empty answer."""

    host: str
    port: int
    _behaviour: _Behaviour

    @property
    def questions(self) -> list[str]:
        """The names asked for so far, with a closing dot."""
        return list(self._behaviour.questions)

    def set(self, mode: str) -> None:
        """Answer from now on as `mode` says: answer, rotate (one address, another each time), servfail and so on."""
        if mode not in MODES:
            raise ValueError(f"no mode {mode}: {', '.join(MODES)}")
        self._behaviour.mode = mode


@contextlib.contextmanager
def run(
    answers: Mapping[str, Sequence[str]] = {}, *, host: str = "127.0.0.53", port: int = 53, mode: str = "answer"
) -> Iterator[DnsServer]:
    """Serve `answers` (name to IPv4 or IPv6 addresses) until the block ends."""
    known = {f"{name.rstrip('.').lower()}.": tuple(addresses) for name, addresses in answers.items()}
    behaviour = _Behaviour("answer", known)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.bind((host, port))
        server = DnsServer(host, line.getsockname()[1], behaviour)
        server.set(mode)
        thread = threading.Thread(target=_serve, args=(line, behaviour), name="lab-dns", daemon=True)
        thread.start()
        try:
            yield server
        finally:
            # An empty datagram ends the loop: closing a socket does not wake who reads from it.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", (host, server.port))
            thread.join(5)


def _serve(line: socket.socket, behaviour: _Behaviour) -> None:
    while True:
        data, sender = line.recvfrom(4096)
        if not data:
            return
        with contextlib.suppress(dns.exception.DNSException):
            if reply := _reply(dns.message.from_wire(data), behaviour):
                line.sendto(reply.to_wire(), sender)


def _reply(query: dns.message.Message, behaviour: _Behaviour) -> dns.message.Message | None:
    question = query.question[0]
    name = question.name.to_text().lower()
    behaviour.questions.append(name)
    if behaviour.mode == "silent":
        return None
    reply = dns.message.make_response(query)
    reply.flags |= dns.flags.RA
    if behaviour.mode not in ("answer", "rotate"):
        reply.set_rcode(dns.rcode.from_text(behaviour.mode.upper()))
    elif name not in behaviour.answers:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    elif addresses := [text for text in behaviour.answers[name] if _kind(text) == question.rdtype]:
        if behaviour.mode == "rotate":
            addresses = [addresses[len(behaviour.questions) % len(addresses)]]
        reply.answer.append(dns.rrset.from_text(question.name, 5, "IN", _kind(addresses[0]), *addresses))
    return reply


def _kind(address: str) -> dns.rdatatype.RdataType:
    return dns.rdatatype.AAAA if ipaddress.ip_address(address).version == 6 else dns.rdatatype.A


@contextlib.contextmanager
def resolver(path: Path, nameservers: Sequence[str], *, options: str = "timeout:1 attempts:1") -> Iterator[Path]:
    """Make `nameservers` the sandbox's own: write them to `path`, bind it over /etc/resolv.conf, undo in the end.

    The system resolver asks port 53 only. A process that is running already notices within one look-up.
    """
    if not sandbox.inside():
        raise RuntimeError("this would change the machine's own resolver: run it in tests/lab/sandbox.py")
    path.write_text("".join(f"nameserver {address}\n" for address in nameservers) + f"options {options}\n")
    over = RESOLV_CONF.resolve()
    if not over.exists():  # a link into /run, which the sandbox hides
        over.parent.mkdir(parents=True, exist_ok=True)
        over.touch()
    subprocess.run(["mount", "--bind", path, over], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", over], check=True)
