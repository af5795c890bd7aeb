"""Redis and Valkey: PING with its refusals told apart, memory, policy and error counters, from one connection."""

import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

from agent import budgets, redact
from agent.config import Config, RedisLogin, login_for, secret
from agent.probes import network
from agent.resp import Connection, Garbled, Refused, connect
from fleetmedic.v1.snapshot_pb2 import RedisSnapshot, Snapshot, Target

ACL = (
    "ACL SETUSER fleetmedic on >PASSWORD -@all +ping +info +config|get +slowlog|get +slowlog|len +client|list "
    "+client|setname +hello +auth +select +command"
)
# What the reply begins with, and the class it stands for; the rest of a reply is for the text.
REPLIES = ("NOAUTH", "WRONGPASS", "NOPERM", "LOADING", "MASTERDOWN", "BUSY", "MISCONF", "DENIED", "READONLY")
# Of what is no Redis protocol at all.
GARBLED = "no-redis"
# The number of this message in a TLS handshake.
CERTIFICATE_REQUEST = 13
MESSAGES = (
    # With TLS 1.3 it is an alert of its own, with 1.2 any failed handshake.
    ("CERTIFICATE_REQUIRED", "client-certificate"),
    ("certificate required", "client-certificate"),
    ("HANDSHAKE_FAILURE", "client-certificate"),
    ("handshake failure", "client-certificate"),
    ("max number of clients", "maxclients"),
    ("called with the client already authenticated", "NOAUTH"),
    ("Authentication required", "NOAUTH"),
    ("without any password configured", "WRONGPASS"),
    ("invalid username-password", "WRONGPASS"),
    ("invalid password", "WRONGPASS"),
    ("loading the dataset", "LOADING"),
    ("protected mode", "DENIED"),
)
# What the system says of a connection that did not come about, or ended.
ENDINGS: tuple[tuple[type[Exception], str, str], ...] = (
    (ConnectionRefusedError, "refused", "Connection refused"),
    (FileNotFoundError, "refused", "No such file or directory"),
    (TimeoutError, "timeout", "no answer"),
    (ConnectionError, "cut", "Connection closed by server"),
    (ssl.SSLEOFError, "cut", "Connection closed in the TLS handshake"),
    (ssl.SSLZeroReturnError, "cut", "Connection closed in the TLS handshake"),
)


def collect(target: Target, config: Config) -> Snapshot:
    """In plain text, and once over TLS where that is cut off before any answer: a TLS port does so."""
    network.join(target)
    login = login_for(target, config.redis)
    made = _look(target, login, secured=login is not None and login.tls)
    # Most TLS ports close, some answer with an alert, which is no Redis protocol.
    unanswered = made.error_class in ("cut", GARBLED)
    if unanswered and not made.tls and not target.socket:
        secured = _look(target, login, secured=True)
        # One that cuts off both was no TLS port.
        if secured.error_class not in ("cut", "timeout", "unknown", GARBLED):
            made = secured
    return Snapshot(redis=made)


def _look(target: Target, login: RedisLogin | None, *, secured: bool) -> RedisSnapshot:
    made = RedisSnapshot(tls=secured)
    began = time.monotonic()
    context = _unverified() if secured else None
    try:
        with connect(target.host, target.port, target.socket, budgets.REDIS_SOCKET, context) as connection:
            _log_in(connection, login)
            _ping(connection, made, began)
            # For whoever reads CLIENT LIST; an ACL may forbid it.
            with suppress(Refused):
                connection.ask("CLIENT", "SETNAME", "fleetmedic-agent")
            _read(connection, made)
    except PermissionError:
        raise
    except (Refused, Garbled, OSError) as error:
        _refusal(made, error)
    if secured and made.error_class == "cut" and _wants_certificate(target):
        made.error_class = "client-certificate"
    return made


def _unverified() -> ssl.SSLContext:
    """The agent only reads, and certificates are TLS-EXPIRY's to judge."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _wants_certificate(target: Target) -> bool:
    """Whether a server that cuts TLS off asks for a client certificate first.

    It says that it required one in an alert, which the kernel drops when the server closes with our last words unread:
    so its question counts.
    """
    asked: list[bool] = []
    context = _unverified()
    # Private, and the one way to see the handshake's messages.
    cast("Any", context)._msg_callback = lambda *seen: asked.append(seen[4] == CERTIFICATE_REQUEST)
    with (
        suppress(OSError),
        socket.create_connection((target.host, target.port), timeout=budgets.REDIS_SOCKET) as plain,
        context.wrap_socket(plain),
    ):
        pass
    return any(asked)


def _log_in(connection: Connection, login: RedisLogin | None) -> None:
    password = secret(login.password_file) if login else ""
    if login and password:
        connection.ask("AUTH", *([login.user] if login.user else []), password)


def _ping(connection: Connection, made: RedisSnapshot, began: float) -> None:
    """With MISCONF even PING is refused, and INFO is not."""
    try:
        if connection.ask("PING") != "PONG":
            raise Garbled("another answer to PING than PONG")
        made.ping.FromNanoseconds(int((time.monotonic() - began) * 1e9))
    except Refused as error:
        _refusal(made, error)
        if made.error_class != "MISCONF":
            raise


def _refusal(made: RedisSnapshot, error: Exception) -> None:
    made.error_class, text = _class_and_text(error)
    made.error_text = redact.text(text.partition("\n")[0])
    if made.error_class in ("NOAUTH", "WRONGPASS", "NOPERM"):
        made.acl = ACL


def _class_and_text(error: Exception) -> tuple[str, str]:
    if isinstance(error, Garbled):
        return GARBLED, str(error)
    if isinstance(error, Refused):
        return classify(str(error)), str(error)
    for kind, name, text in ENDINGS:
        if isinstance(error, kind):
            return name, text
    # A name that does not resolve, a network that is not there, TLS that fails.
    text = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
    return classify(text), text


def classify(text: str) -> str:
    first = text.partition(" ")[0].rstrip(".:")
    if first in REPLIES:
        return first
    return next((name for part, name in MESSAGES if part.lower() in text.lower()), "unknown")


def _read(connection: Connection, made: RedisSnapshot) -> None:
    told = info(connection.ask("INFO", "all"))
    made.version = told.get("valkey_version") or told.get("redis_version", "")
    made.server_name = told.get("server_name", "redis")
    made.role = told.get("role", "")
    made.maxmemory_policy = told.get("maxmemory_policy", "")
    made.not_counted_for_evict = _whole(told.get("mem_not_counted_for_evict"))
    for name in ("used_memory", "maxmemory", "connected_clients"):
        setattr(made, name, _whole(told.get(name)))
    made.oom_errors = _count(told.get("errorstat_OOM"), "count")
    made.rejected_calls = sum(
        _count(value, "rejected_calls") for name, value in told.items() if name.startswith("cmdstat_")
    )


def info(reply: object) -> Mapping[str, str]:
    """INFO's lines; those of sections and what is no line of INFO are left out."""
    rows = (line.partition(":") for line in str(reply).splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in rows if colon}


def _whole(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _count(field: str | None, name: str) -> int:
    """Of a field such as calls=3,usec=10."""
    inner = dict(part.partition("=")[::2] for part in (field or "").split(","))
    return _whole(inner.get(name))
