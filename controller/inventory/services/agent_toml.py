"""The agent.toml that a host's variables come to, for its own disk: nothing of it is sent in a request."""

import json
import re
from collections.abc import Iterator

from controller.inventory.connection import listens
from controller.inventory.graph import Host
from controller.inventory.names import shown
from controller.inventory.origins import InventoryError
from controller.inventory.requests import limits
from controller.inventory.services.described import Server, Service, described
from controller.inventory.services.limits import limit_flaw
from fleetmedic.v1.snapshot_pb2 import Target

_TABLES = {"http": "http", "page": "page", "dependency": "dependency", "tls": "tls_endpoint", "dns": "dns"}
_IDENTITY = "/var/lib/fleetmedic/identity"
_CLIENT_CA = "/etc/fleetmedic/operator-ca.crt"
_FRONT_USER = "fleetmedic"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
"""A certificate has the name too."""


def render(host: Host, *, targets: bool = True) -> str:
    """The whole file as text; without `targets` whatever is to be looked at comes from elsewhere.

    InventoryError where a variable of a service is wrong, or the host's name is none.
    """
    if not _NAME.fullmatch(host.name):
        what = f"{shown(host.name)} can't be the name of an agent"
        raise InventoryError(f"{what}; use letters, digits, '.', '_' and '-', and give its address as ansible_host")
    services = described(host) if targets else ()
    blocks = [
        [f"name = {_toml(host.name)}", f"front_user = {_toml(_FRONT_USER)}", f"listen = {_toml(listens(host))}"],
        [
            "[tls]",
            f"certificate = {_toml(f'{_IDENTITY}/agent.crt')}",
            f"key = {_toml(f'{_IDENTITY}/agent.key')}",
            f"client_ca = {_toml(_CLIENT_CA)}",
        ],
        *_servers(services),
        *_docker(services),
        *(_target(target) for service in services for target in service.targets),
        *_actions(services),
        *_limits(host),
    ]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _servers(services: tuple[Service, ...]) -> Iterator[list[str]]:
    for service in services:
        for server in service.servers:
            yield [f"[[{server.kind}]]", f"service = {_toml(service.name)}", *_login(server)]


def _login(server: Server) -> Iterator[str]:
    if server.socket:
        yield f"socket = {_toml(server.socket)}"
    else:
        yield f"host = {_toml(server.host)}"
    if server.port:
        yield f"port = {server.port}"
    if server.user:
        yield f"user = {_toml(server.user)}"
    if server.dbname and server.kind == "postgres":
        yield f"dbname = {_toml(server.dbname)}"
    if server.password_file:
        yield f"password_file = {_toml(server.password_file)}"
    if server.tls and server.kind == "redis":
        yield "tls = true"


def _docker(services: tuple[Service, ...]) -> Iterator[list[str]]:
    expected = [name for service in services for name in service.containers]
    if expected:
        yield ["[docker]", f"expected = {_list(expected)}"]


def _actions(services: tuple[Service, ...]) -> Iterator[list[str]]:
    """What may be done to the host; nothing where nothing is said."""
    named = {
        "containers": [name for service in services for name in service.treatable.containers],
        "stateful": [name for service in services for name in service.treatable.stateful],
        "sessions": [service.name for service in services if service.treatable.sessions],
    }
    lines = [f"{key} = {_list(names)}" for key, names in named.items() if names]
    if lines:
        yield ["[actions]", *lines]
    for service in services:
        for pattern in service.treatable.keys:
            yield ["[[actions.keys]]", f"service = {_toml(service.name)}", f"pattern = {_toml(pattern)}"]


def _list(names: list[str]) -> str:
    return f"[{', '.join(map(_toml, dict.fromkeys(names)))}]"


def _target(target: Target) -> list[str]:
    head = [f"[[{_TABLES[target.probe]}]]", f"service = {_toml(target.service)}"]
    if target.probe == "dns":
        return [*head, f"name = {_toml(target.name)}"]
    if target.url:
        return [*head, f"url = {_toml(target.url)}"]
    return [*head, f"address = {_toml(target.name)}"]


def _limits(host: Host) -> Iterator[list[str]]:
    rules: dict[str, list[str]] = {}
    for limit in limits(host):
        if (flaw := limit_flaw(limit)) is not None:
            # The agent would not start with it.
            raise InventoryError(flaw)
        rules.setdefault(limit.rule, []).append(f"{_toml(limit.name)} = {limit.value!r}")
    for rule, values in rules.items():
        yield [f"[limits.{_toml(rule)}]", *values]


def _toml(text: str) -> str:
    """A basic string: JSON's escapes are TOML's too, but for one character and for halves of others."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
