"""Redis and Valkey: PING with its refusals told apart, counters, slow commands and clients, from one connection."""

import re
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from agent import budgets, redact
from agent.config import Config, RedisLogin, login_for, secret
from agent.probes import network
from agent.resp import Connection, Garbled, Refused, Reply, connect
from fleetmedic.v1.snapshot_pb2 import RedisClient, RedisSnapshot, Snapshot, Target

ACL = (
    "ACL SETUSER fleetmedic on >PASSWORD -@all +ping +info +config|get +slowlog|get +slowlog|len +client|list "
    "+client|setname +hello +auth +select +command"
)
MOST_SLOW = 128
MOST_CLIENTS = 50
# A key's first part says what it is for; what follows may be a user, a token, anything.
WORD = re.compile(r"[A-Za-z][A-Za-z_-]{0,31}")
PARTS = re.compile(r"[:/|.]")
# Of these the first argument is no key.
KEYLESS = frozenset({"EVAL", "EVALSHA", "FCALL", "AUTH", "HELLO", "ACL", "CONFIG", "SCRIPT", "MIGRATE", "PING", "ECHO"})
# What the reply begins with, and the class it stands for; the rest of a reply is for the text.
REPLIES = ("NOAUTH", "WRONGPASS", "NOPERM", "LOADING", "MASTERDOWN", "BUSY", "MISCONF", "DENIED", "READONLY")
# Of INFO, each under its own name.
COUNTED = (
    "used_memory",
    "maxmemory",
    "connected_clients",
    "blocked_clients",
    "rejected_connections",
    "evicted_keys",
)
KEYSPACE: Mapping[str, str] = {"keys": "keys", "expires": "expires", "average_ttl_ms": "avg_ttl"}
LATEST = 2**40
# Of what is no Redis protocol at all.
GARBLED = "no-redis"
# Seconds after which a PONG is late enough to ask again, and how often: our own waiting for a processor is not Redis's.
LATE = 0.05
ASKED_AGAIN = 2
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
        took = _pong(connection, began)
        for _ in range(ASKED_AGAIN):
            if took > LATE:
                took = min(took, _pong(connection, time.monotonic()))
        made.ping.FromNanoseconds(int(took * 1e9))
    except Refused as error:
        _refusal(made, error)
        if made.error_class != "MISCONF":
            raise


def _pong(connection: Connection, began: float) -> float:
    """Seconds from `began` (monotonic) to the answer."""
    if connection.ask("PING") != "PONG":
        raise Garbled("another answer to PING than PONG")
    return time.monotonic() - began


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
    made.last_save_status = told.get("rdb_last_bgsave_status", "")
    made.last_append_status = told.get("aof_last_write_status", "")
    made.not_counted_for_evict = _whole(told.get("mem_not_counted_for_evict"))
    made.max_clients = _whole(told.get("maxclients"))
    made.used_memory_resident = _whole(told.get("used_memory_rss"))
    made.used_memory_peak = _whole(told.get("used_memory_peak"))
    for name in COUNTED:
        setattr(made, name, _whole(told.get(name)))
    made.oom_errors = _count(told.get("errorstat_OOM"), "count")
    made.rejected_calls = sum(
        _count(value, "rejected_calls") for name, value in told.items() if name.startswith("cmdstat_")
    )
    _read_keyspaces(told, made)
    _read_settings(connection, made)
    _read_slow(connection, made)
    _read_clients(connection, made)


def _read_keyspaces(told: Mapping[str, str], made: RedisSnapshot) -> None:
    for name, value in told.items():
        if re.fullmatch(r"db[0-9]{1,5}", name):
            counts = {ours: _count(value, theirs) for ours, theirs in KEYSPACE.items()}
            made.keyspaces.add(database=int(name[2:]), **counts)


def _asked(connection: Connection, made: RedisSnapshot, *words: str | int) -> Reply:
    """None where the server refuses the command, which is noted."""
    try:
        return connection.ask(*words)
    except Refused as error:
        if classify(str(error)) == "NOPERM":
            made.not_allowed.append(" ".join(map(str, words[:2])).lower())
        return None


def _read_settings(connection: Connection, made: RedisSnapshot) -> None:
    made.stops_writes = _setting(connection, made, "stop-writes-on-bgsave-error") == "yes"
    if not made.max_clients:
        # INFO tells it from 6.2 on.
        made.max_clients = _whole(_setting(connection, made, "maxclients"))


def _setting(connection: Connection, made: RedisSnapshot, name: str) -> str:
    row = _asked(connection, made, "CONFIG", "GET", name)
    return str(row[-1]) if isinstance(row, list) and row else ""


def _read_slow(connection: Connection, made: RedisSnapshot) -> None:
    rows = _asked(connection, made, "SLOWLOG", "GET", MOST_SLOW)
    for row in rows if isinstance(rows, list) else ():
        if not isinstance(row, list) or len(row) < 4 or not isinstance(row[3], list):
            continue
        slow = made.slow_commands.add(shape=shape(row[3]), client=str(row[4]) if len(row) > 4 else "")
        slow.time.FromSeconds(_number(row[1]))
        slow.took.FromMicroseconds(_number(row[2]))


def _number(value: Reply) -> int:
    """As much as a time of ours can hold."""
    return max(0, min(value, LATEST)) if isinstance(value, int) else 0


def shape(words: Sequence[Reply]) -> str:
    """A command and what kind of key it is about, never a value: GET user:*, EVAL."""
    command, *rest = map(str, words or ["?"])
    name = command.upper() if WORD.fullmatch(command) else "?"
    if not rest or name in KEYLESS:
        return name
    first, *more = PARTS.split(rest[0])
    key = first if WORD.fullmatch(first) else "*"
    return f"{name} {key}{':*' if more and key != '*' else ''}"


def _read_clients(connection: Connection, made: RedisSnapshot) -> None:
    listed = _asked(connection, made, "CLIENT", "LIST", "TYPE", "normal")
    owners: dict[tuple[str, str], RedisClient] = {}
    for line in str(listed or "").splitlines():
        fields = dict(word.partition("=")[::2] for word in line.split(" "))
        address = fields.get("addr", "").rpartition(":")[0]
        name = fields.get("name", "")
        owner = owners.setdefault((address, name), RedisClient(address=address, name=name))
        owner.count += 1
        owner.memory += min(_whole(fields.get("tot-mem") or fields.get("omem")), LATEST)
        owner.longest_idle_seconds = max(owner.longest_idle_seconds, min(_whole(fields.get("idle")), LATEST))
    made.clients.extend(sorted(owners.values(), key=lambda owner: -owner.count)[:MOST_CLIENTS])


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
