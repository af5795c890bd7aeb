"""One name as the system resolves it, and as each name server of resolv.conf answers it."""

import socket
import threading
import time
from pathlib import Path

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype

from agent import budgets
from agent.config import Config
from fleetmedic.v1.snapshot_pb2 import DnsAnswer, DnsSnapshot, Snapshot, Target

RESOLV_CONF = Path("/etc/resolv.conf")
MOST_SERVERS = 3
NO_NAME = "not a name"
SYSTEM_CODES = {
    socket.EAI_NONAME: "NXDOMAIN",
    socket.EAI_AGAIN: "SERVFAIL or timeout",
    socket.EAI_FAIL: "SERVFAIL",
    socket.EAI_NODATA: "no address",
}


def collect(target: Target, config: Config) -> Snapshot:
    """All are asked at once, each in a thread: getaddrinfo can't be told when to stop, but the job can be left."""
    del config
    made = DnsSnapshot(name=target.host)
    servers = _servers(RESOLV_CONF.read_text())
    made.system.server, made.system.code = "system", "timeout"
    made.servers.extend(DnsAnswer(server=server, code="timeout") for server in servers)
    asked = [threading.Thread(target=_ask_system, args=(target.host, made.system), daemon=True)]
    asked += [threading.Thread(target=_ask_server, args=(target.host, answer), daemon=True) for answer in made.servers]
    for thread in asked:
        thread.start()
    end = time.monotonic() + budgets.DNS_LOOKUP
    for thread in asked:
        thread.join(max(0.0, end - time.monotonic()))
    return Snapshot(dns=made)


def _servers(text: str) -> list[str]:
    rows = (line.split() for line in text.splitlines())
    return [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"][:MOST_SERVERS]


def _ask_system(name: str, answer: DnsAnswer) -> None:
    began = time.monotonic()
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        answer.code = SYSTEM_CODES.get(error.errno or 0, error.strerror or "error")
    except UnicodeError:
        # A label that is empty or longer than 63: refused before anybody is asked.
        answer.code = NO_NAME
    else:
        answer.addresses.extend(sorted({str(row[4][0]) for row in found}))
        answer.code = "NOERROR"
    answer.took.FromNanoseconds(int((time.monotonic() - began) * 1e9))


def _ask_server(name: str, answer: DnsAnswer) -> None:
    began = time.monotonic()
    try:
        query = dns.message.make_query(name.rstrip(".") + ".", dns.rdatatype.A)
        reply = dns.query.udp(query, answer.server, timeout=budgets.DNS_LOOKUP)
    except (UnicodeError, dns.exception.SyntaxError, dns.name.NameTooLong):
        answer.code = NO_NAME
    except dns.exception.Timeout:
        answer.code = "timeout"
    except OSError as error:
        answer.code = "refused" if isinstance(error, ConnectionRefusedError) else error.strerror or "unreachable"
    except dns.exception.DNSException as error:
        answer.code = type(error).__name__
    else:
        answer.code = dns.rcode.to_text(reply.rcode())
        records = [record for rrset in reply.answer for record in rrset if record.rdtype == dns.rdatatype.A]
        answer.addresses.extend(sorted(record.address for record in records))
    answer.took.FromNanoseconds(int((time.monotonic() - began) * 1e9))
