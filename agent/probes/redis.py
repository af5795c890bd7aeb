"""Redis and Valkey: PING with its refusals told apart, memory, policy and error counters, from one connection."""

import socket
import ssl
import time
from contextlib import suppress
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from agent import budgets, redact
from agent.config import Config, RedisLogin, login_for, secret
from agent.probes import network
from fleetmedic.v1.snapshot_pb2 import RedisSnapshot, Snapshot, Target

ACL = (
    "ACL SETUSER fleetmedic on >PASSWORD -@all +ping +info +config|get +slowlog|get +slowlog|len +client|list "
    "+client|setname +hello +auth +select +command"
)
# What the reply begins with, and the class it stands for; the rest of a reply is for the text.
REPLIES = ("NOAUTH", "WRONGPASS", "NOPERM", "LOADING", "MASTERDOWN", "BUSY", "MISCONF", "DENIED", "READONLY")
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
    ("Connection refused", "refused"),
    ("No such file or directory", "refused"),
    ("Timeout", "timeout"),
    ("timed out", "timeout"),
    ("Connection closed", "cut"),
    ("Connection reset", "cut"),
    ("Broken pipe", "cut"),
    ("EOF occurred", "cut"),
)


def collect(target: Target, config: Config) -> Snapshot:
    """In plain text, and once over TLS where that is cut off before any answer: a TLS port does so."""
    network.join(target)
    login = login_for(target, config.redis)
    made = _look(target, login, secured=login is not None and login.tls)
    # Most TLS ports close, some answer with an alert, which is no Redis protocol.
    unanswered = made.error_class == "cut" or made.error_text.startswith("Protocol Error")
    if unanswered and not made.tls and not target.socket:
        secured = _look(target, login, secured=True)
        # One that cuts off both was no TLS port.
        if secured.error_class not in ("cut", "timeout", "unknown"):
            made = secured
    return Snapshot(redis=made)


def _look(target: Target, login: RedisLogin | None, *, secured: bool) -> RedisSnapshot:
    made = RedisSnapshot(tls=secured)
    began = time.monotonic()
    try:
        # Connects at once, for it is the client of a single connection.
        with _client(target, login, secured=secured) as client:
            _ping(client, made, began)
            _read(client, made)
    except redis.RedisError as error:
        _refusal(made, error)
    if secured and made.error_class == "cut" and _wants_certificate(target):
        made.error_class = "client-certificate"
    return made


def _wants_certificate(target: Target) -> bool:
    """Whether a server that cuts TLS off asks for a client certificate first.

    It says that it required one in an alert, which the kernel drops when the server closes with our last words unread:
    so its question counts.
    """
    asked: list[bool] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # Private, and the one way to see the handshake's messages.
    cast("Any", context)._msg_callback = lambda *seen: asked.append(seen[4] == CERTIFICATE_REQUEST)
    with (
        suppress(OSError),
        socket.create_connection((target.host, target.port), timeout=budgets.REDIS_SOCKET) as plain,
        context.wrap_socket(plain),
    ):
        pass
    return any(asked)


def _ping(client: "redis.Redis", made: RedisSnapshot, began: float) -> None:
    """With MISCONF even PING is refused, and INFO is not."""
    try:
        client.ping()
        made.ping.FromNanoseconds(int((time.monotonic() - began) * 1e9))
    except redis.ResponseError as error:
        _refusal(made, error)
        if made.error_class != "MISCONF":
            raise


def _client(target: Target, login: RedisLogin | None, *, secured: bool) -> "redis.Redis":
    """One connection, no retries: the defaults try for 57 s against a silent server (security.md D3).

    TLS is not verified: the agent only reads, and certificates are TLS-EXPIRY's to judge.
    """
    return redis.Redis(
        host=target.host or "localhost",
        port=target.port,
        unix_socket_path=target.socket or None,
        username=login.user or None if login else None,
        password=secret(login.password_file) or None if login else None,
        socket_timeout=budgets.REDIS_SOCKET,
        socket_connect_timeout=budgets.REDIS_SOCKET,
        retry=Retry(NoBackoff(), 0),
        single_connection_client=True,
        ssl=secured,
        ssl_cert_reqs="none",
        ssl_check_hostname=False,
        client_name="fleetmedic-agent",
        decode_responses=True,
        encoding_errors="replace",
        # The names and versions that redis-py would set need an ACL of their own.
        driver_info=None,
    )


def _refusal(made: RedisSnapshot, error: redis.RedisError) -> None:
    text = str(error)
    made.error_class = classify(text)
    made.error_text = redact.text(text.partition("\n")[0])
    if made.error_class in ("NOAUTH", "WRONGPASS", "NOPERM"):
        made.acl = ACL


def classify(text: str) -> str:
    first = text.partition(" ")[0].rstrip(".:")
    if first in REPLIES:
        return first
    return next((name for part, name in MESSAGES if part.lower() in text.lower()), "unknown")


def _read(client: "redis.Redis", made: RedisSnapshot) -> None:
    info: dict[str, Any] = client.info("all")
    made.version = str(info.get("valkey_version") or info.get("redis_version", ""))
    made.server_name = str(info.get("server_name", "redis"))
    made.role = str(info.get("role", ""))
    made.used_memory = int(info.get("used_memory", 0))
    made.not_counted_for_evict = int(info.get("mem_not_counted_for_evict", 0))
    made.maxmemory = int(info.get("maxmemory", 0))
    made.maxmemory_policy = str(info.get("maxmemory_policy", ""))
    made.connected_clients = int(info.get("connected_clients", 0))
    made.oom_errors = _count(info.get("errorstat_OOM"), "count")
    made.rejected_calls = sum(
        _count(value, "rejected_calls") for name, value in info.items() if name.startswith("cmdstat_")
    )


def _count(field: object, name: str) -> int:
    return int(field.get(name, 0)) if isinstance(field, dict) else 0
