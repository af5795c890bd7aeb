"""One GET of a health URL, phase by phase: resolve, connect, tls, processing, transfer."""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from google.protobuf.duration_pb2 import Duration

from agent import VERSION, budgets, redact
from agent.config import Config
from fleetmedic.v1.snapshot_pb2 import HttpSnapshot, Snapshot, Target

LARGEST_BODY = 64 * 1024
# Only what no request line may hold is encoded.
SENT_AS_IT_IS = "!#$%&'()*+,/:;=?@[]~"
MOST_CHECKS = 50
LONGEST_SAID = 200
REDIRECTS = frozenset({301, 302, 303, 307, 308})


def collect(target: Target, config: Config) -> Snapshot:
    """A redirect to the same scheme, host and port is followed once, one to elsewhere never: it may not be allowed."""
    del config
    made = _get(target.url)
    if made.redirected_to and _same_place(target.url, made.redirected_to):
        first = made.redirected_to
        made = _get(first)
        made.redirected_to = made.redirected_to or first
    made.redirected_to = redact.url(made.redirected_to)
    return Snapshot(http=made)


def _same_place(one: str, other: str) -> bool:
    return _place(one) == _place(other)


def _place(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return url, None, None
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)


def _get(url: str) -> HttpSnapshot:
    made = HttpSnapshot(phase="resolve")
    try:
        _exchange(urlsplit(url), url, made)
    except (socket.gaierror, UnicodeError) as error:
        made.error_class, made.error_text = "dns", getattr(error, "strerror", None) or "no host name"
    except ssl.SSLCertVerificationError as error:
        made.error_class, made.error_text = "certificate", error.verify_message
    except ssl.SSLError as error:
        made.error_class, made.error_text = "tls", (error.reason or "handshake failed").replace("_", " ").lower()
    except TimeoutError:
        made.error_class, made.error_text = "timeout", f"no answer in {budgets.HTTP_REQUEST:g} s"
    except ConnectionRefusedError:
        made.error_class, made.error_text = "refused", "connection refused"
    except http.client.HTTPException as error:
        made.error_class, made.error_text = "no-http", type(error).__name__
    except OSError as error:
        made.error_class, made.error_text = "cut", error.strerror or type(error).__name__
    return made


def _exchange(parts: SplitResult, url: str, made: HttpSnapshot) -> None:
    deadline = time.monotonic() + budgets.HTTP_REQUEST
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    host = parts.hostname or ""

    def left() -> float:
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    began = time.monotonic()
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    began = _ended(made, "resolve", began)
    made.phase = "connect"
    with connected(addresses, left) as plain:
        began = _ended(made, "connect", began)
        connection = http.client.HTTPConnection(host, port)
        connection.sock = plain
        if secure:
            made.phase = "tls"
            plain.settimeout(left())
            # Certificates are the TLS rules' matter: this one asks whether the service answers.
            connection.sock = _unverified().wrap_socket(plain, server_hostname=host)
            began = _ended(made, "tls", began)
        made.phase = "processing"
        connection.sock.settimeout(left())
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        said = {"User-Agent": f"fleetmedic/{VERSION}", "Accept": "*/*"}
        connection.request("GET", quote(path, safe=SENT_AS_IT_IS), headers=said)
        answer = connection.getresponse()
        began = _ended(made, "processing", began)
        made.phase = "transfer"
        body = answer.read(LARGEST_BODY)
        _ended(made, "transfer", began)
        connection.close()
    _read(answer, body, url, made)


def connected(addresses: Sequence[tuple[Any, ...]], left: Callable[[], float]) -> socket.socket:
    """To the first address that takes it, as every client does; an error is the last one's."""
    for place, (family, kind, protocol, _, address) in enumerate(addresses, 1):
        plain = socket.socket(family, kind, protocol)
        try:
            # A silent one must leave time for the next.
            plain.settimeout(left() / (len(addresses) - place + 1))
            plain.connect(address)
        except OSError:
            plain.close()
            if place == len(addresses):
                raise
        else:
            return plain
    raise socket.gaierror(socket.EAI_NONAME, "no address")


def _ended(made: HttpSnapshot, phase: str, began: float) -> float:
    now = time.monotonic()
    took: Duration = getattr(made, phase)
    took.FromNanoseconds(int((now - began) * 1e9))
    return now


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _read(answer: http.client.HTTPResponse, body: bytes, url: str, made: HttpSnapshot) -> None:
    made.status = answer.status
    made.reason_phrase = redact.text(answer.reason)
    made.content_type = answer.getheader("Content-Type", "").partition(";")[0]
    if answer.status in REDIRECTS:
        # A place that is no URL stays empty: a redirect to nowhere.
        with suppress(ValueError):
            made.redirected_to = urljoin(url, answer.getheader("Location", ""))
    if made.content_type.endswith("json"):
        for name, said in _checks(body).items():
            made.checks[name] = said


def _checks(body: bytes) -> dict[str, str]:
    """The sub-checks of a health body: {"checks": {"database": "timeout"}} or {"database": {"status": "down"}}."""
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(decoded, dict):
        return {}
    rows = next(
        (decoded[key] for key in ("checks", "details", "components") if isinstance(decoded.get(key), dict)), decoded
    )
    said = {}
    for name, value in list(rows.items())[:MOST_CHECKS]:
        value = value.get("status", value.get("state")) if isinstance(value, dict) else value
        if isinstance(value, str | bool):
            said[str(name)[:64]] = redact.text(str(value))[:LONGEST_SAID]
    return said
