"""Whether something this host's services need elsewhere can be reached from here: a TCP connect, or a GET."""

import socket
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

from agent import budgets, dialling, fetching
from agent.config import Config
from fleetmedic.v1.snapshot_pb2 import DependencySnapshot, Snapshot, Target

LARGEST_BODY = 64 * 1024
# Phases before there is a connection.
BEFORE = frozenset({"resolve", "connect"})


def collect(target: Target, config: Config) -> Snapshot:
    made = DependencySnapshot()
    if target.url:
        _fetch(target, made, config)
    else:
        _dial(target.host, target.port, made)
    return Snapshot(dependency=made)


def _dial(host: str, port: int, made: DependencySnapshot) -> None:
    began = time.monotonic()
    left = dialling.until(began + budgets.TCP_CONNECT)
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with dialling.connected(addresses, left) as plain:
            made.address = plain.getpeername()[0]
            made.connect.FromNanoseconds(int((time.monotonic() - began) * 1e9))
    except (OSError, UnicodeError) as error:
        made.error_class, made.error_text = dialling.why(error, f"no connection in {budgets.TCP_CONNECT:g} s")


def _fetch(target: Target, made: DependencySnapshot, config: Config) -> None:
    """The answer counts whoever signed the certificate; what is wrong with that is told beside it."""
    deadline = time.monotonic() + budgets.HTTP_REQUEST
    answer, _ = fetching.get(target.url, budgets.HTTP_REQUEST, LARGEST_BODY)
    made.http.CopyFrom(answer)
    if answer.error_class and answer.phase in BEFORE:
        made.error_class, made.error_text = answer.error_class, answer.error_text
        return
    made.connect.CopyFrom(answer.connect)
    parts = urlsplit(target.url)
    if parts.scheme == "https" and not answer.error_class:
        entry = next(
            (item for item in config.dependencies if (item.url, item.origin) == (target.url, target.origin)), None
        )
        made.certificate_error = _distrust(
            parts.hostname or "", parts.port or 443, entry.ca if entry else None, deadline
        )


def _distrust(host: str, port: int, authorities: Path | None, deadline: float) -> str:
    """What a client that verifies says of the certificate; empty where it is content, or did not come to it."""
    left = dialling.until(deadline)
    try:
        context = ssl.create_default_context(cafile=authorities)
        with (
            socket.create_connection((host, port), timeout=left()) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except FileNotFoundError:
        return f"{authorities} is missing"
    except OSError:
        return ""
