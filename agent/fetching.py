"""One GET, phase by phase: resolve, connect, tls, processing, transfer."""

import http.client
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from google.protobuf.duration_pb2 import Duration

from agent import VERSION, dialling, redact
from fleetmedic.v1.snapshot_pb2 import HttpSnapshot

# Only what no request line may hold is encoded.
SENT_AS_IT_IS = "!#$%&'()*+,/:;=?@[]~"
REDIRECTS = frozenset({301, 302, 303, 307, 308})


def get(url: str, seconds: float, largest: int) -> tuple[HttpSnapshot, bytes]:
    """The answer and the first `largest` bytes of its body; an error is told, not raised.

    A redirect to the same scheme, host and port is followed once, one to elsewhere never: it may not be allowed.
    """
    left = dialling.until(time.monotonic() + seconds)
    silence = f"no answer in {seconds:g} s"
    made, body = _get(url, left, silence, largest)
    if made.redirected_to and place(url) == place(made.redirected_to):
        first = made.redirected_to
        made, body = _get(first, left, silence, largest)
        made.redirected_to = made.redirected_to or first
    made.redirected_to = redact.url(made.redirected_to)
    return made, body


def place(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port: what a probe was allowed to ask."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return url, None, None
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)


def _get(url: str, left: Callable[[], float], silence: str, largest: int) -> tuple[HttpSnapshot, bytes]:
    made = HttpSnapshot(phase="resolve")
    try:
        return made, _exchange(urlsplit(url), url, made, left, largest)
    except http.client.HTTPException as error:
        made.error_class, made.error_text = "no-http", type(error).__name__
    except (OSError, UnicodeError) as error:
        made.error_class, made.error_text = dialling.why(error, silence)
    return made, b""


def _exchange(parts: SplitResult, url: str, made: HttpSnapshot, left: Callable[[], float], largest: int) -> bytes:
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    host = parts.hostname or ""
    began = time.monotonic()
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    began = _ended(made, "resolve", began)
    made.phase = "connect"
    with dialling.connected(addresses, left) as plain:
        began = _ended(made, "connect", began)
        connection = http.client.HTTPConnection(host, port)
        connection.sock = plain
        if secure:
            made.phase = "tls"
            plain.settimeout(left())
            # Certificates are other rules' matter: this one asks whether the service answers.
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
        body = answer.read(largest)
        _ended(made, "transfer", began)
        connection.close()
    _read(answer, url, made)
    return body


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


def _read(answer: http.client.HTTPResponse, url: str, made: HttpSnapshot) -> None:
    made.status = answer.status
    made.reason_phrase = redact.text(answer.reason)
    made.content_type = answer.getheader("Content-Type", "").partition(";")[0].strip().lower()
    if answer.status in REDIRECTS:
        # A place that is no URL stays empty: a redirect to nowhere.
        with suppress(ValueError):
            made.redirected_to = urljoin(url, answer.getheader("Location", ""))
