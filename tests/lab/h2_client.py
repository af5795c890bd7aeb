"""A gRPC client of our own, in bare HTTP/2 over Python's TLS: it resumes sessions and breaks rules as no other does."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from tests.lab.authority import Files

SECONDS = 5.0


@dataclass(frozen=True)
class Answer:
    """How a call ended: its gRPC status (None where the connection ended first), and the bytes of its messages."""

    code: grpc.StatusCode | None
    details: str
    body: bytes


@dataclass
class Client:
    """One connection. `resumed` says whether its TLS session is an earlier one's; `http` is for rooms that attack."""

    tls: ssl.SSLSocket
    http: H2Connection
    seen: list[Event] = field(default_factory=list)
    # For who reads in a thread: neither OpenSSL nor h2 bears two threads in one connection.
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def resumed(self) -> bool:
        return bool(self.tls.session_reused)

    def call(self, path: str, request: bytes = b"", *, timeout: str = "5S", more: Mapping[str, str] = {}) -> Answer:
        """Makes one call, and waits for its end. ConnectionError or TimeoutError where there is none."""
        return self.ended(self.begin(path, request, timeout=timeout, more=more))

    def begin(self, path: str, request: bytes = b"", *, timeout: str = "5S", more: Mapping[str, str] = {}) -> int:
        """Sends a call's request whole, and returns its stream's number."""
        number = self.http.get_next_available_stream_id()
        fields = {
            ":method": "POST",
            ":scheme": "https",
            ":path": path,
            ":authority": "agent",
            "te": "trailers",
            "content-type": "application/grpc",
            "grpc-timeout": timeout,
            **more,
        }
        self.http.send_headers(number, list(fields.items()))
        self.http.send_data(number, b"\0" + len(request).to_bytes(4, "big") + request, end_stream=True)
        self.flush()
        return number

    def ended(self, number: int) -> Answer:
        """Reads until a stream is over."""
        while True:
            mine = [event for event in self.seen if getattr(event, "stream_id", None) == number]
            if any(isinstance(event, StreamEnded | StreamReset) for event in mine):
                return _answer(mine)
            if any(isinstance(event, ConnectionTerminated) for event in self.seen):
                return Answer(None, "the server ended the connection", b"")
            self.read()

    def read(self) -> None:
        """Takes in what the server sends next. ConnectionError where it sends nothing more."""
        data = self.tls.recv(65536)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        events = self.http.receive_data(data)
        for event in events:
            if isinstance(event, DataReceived) and event.flow_controlled_length:
                self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self.seen += events
        self.flush()

    def flush(self) -> None:
        """Sends what h2 has ready."""
        self.tls.sendall(self.http.data_to_send())


def _answer(events: list[Event]) -> Answer:
    headers = {
        _text(name): _text(value)
        for event in events
        if isinstance(event, ResponseReceived | TrailersReceived)
        for name, value in event.headers or ()
    }
    body = b"".join(event.data for event in events if isinstance(event, DataReceived))
    codes = {str(code.value[0]): code for code in grpc.StatusCode}
    return Answer(codes.get(headers.get("grpc-status", "")), headers.get("grpc-message", ""), body)


def _text(value: bytes | str) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


def context(who: Files | None, trusted: Files, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """A client's TLS settings: exactly one version, the certificate of `who`, the root that `trusted` names."""
    made = ssl.create_default_context(cafile=str(trusted.root))
    made.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    made.minimum_version = made.maximum_version = version
    made.set_alpn_protocols(["h2"])
    if who:
        made.load_cert_chain(who.certificate, who.key)
    return made


@contextlib.contextmanager
def connected(
    port: int, tls: ssl.SSLContext, name: str, *, address: str = "127.0.0.1", session: ssl.SSLSession | None = None
) -> Iterator[Client]:
    """Connect, with an earlier session of the same context to resume. ssl.SSLError, ConnectionError: not let in."""
    with (
        socket.create_connection((address, port), timeout=SECONDS) as plain,
        tls.wrap_socket(plain, server_hostname=name, session=session) as wrapped,
    ):
        http = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        http.initiate_connection()
        made = Client(wrapped, http)
        made.flush()
        yield made
