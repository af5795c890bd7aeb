"""A host's services as its variables describe them, every value checked, with file, line and field."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from controller.inventory.graph import Host
from controller.inventory.names import printable, shown
from controller.inventory.origins import InventoryError
from controller.inventory.requests import address, dependency, dns, http, page, services, tls
from controller.inventory.services.schema import SUFFIXES, variable
from controller.inventory.templates import used
from controller.inventory.variables import Variable
from fleetmedic.v1.snapshot_pb2 import Target

Links = tuple[tuple[str, str], ...]
"""Titles and addresses."""

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@:/-]{0,254}")
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
# As the agent's own.
_KEYS = re.compile(r"[A-Za-z0-9_.:/|{}-]{2}[A-Za-z0-9_.:/|{}*?-]{0,198}", re.ASCII)
_LOGIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.$-]{0,62}")
_LONGEST_PATH = 1024
_SOCKET = re.compile(r"(/.*)/\.s\.PGSQL\.([0-9]{1,5})")
_PASSWORDS = ("postgres_password", "redis_password", "password")


@dataclass(frozen=True, slots=True)
class Server:
    """Where a PostgreSQL or Redis listens, and who logs in; empty texts and port 0 where nothing is said."""

    kind: str
    host: str
    port: int
    socket: str
    user: str
    dbname: str
    password_file: str
    tls: bool


@dataclass(frozen=True, slots=True)
class Service:
    """One service of a host: what its agent is to look at, and where people look."""

    name: str
    targets: tuple[Target, ...]
    servers: tuple[Server, ...]
    containers: tuple[str, ...]
    links: Links
    treatable: "Treatable"


@dataclass(frozen=True, slots=True)
class Treatable:
    """What may be done to a service: containers that may be restarted, those that hold data, sessions, keys."""

    containers: tuple[str, ...]
    stateful: tuple[str, ...]
    sessions: bool
    keys: tuple[str, ...]


def described(host: Host) -> tuple[Service, ...]:
    """The services of `fleetmedic_services`, in that order. InventoryError at the first wrong value of theirs."""
    names = services(host)
    _refuse_shared(host, names)
    return tuple(_service(host, name) for name in names)


def links(host: Host) -> Mapping[str, Links]:
    """The links of each service that has some. InventoryError where they are none."""
    if "fleetmedic_services" not in host.variables:
        return {}
    return {name: found for name in services(host) if (found := _links(host, name))}


def _refuse_shared(host: Host, names: Iterable[str]) -> None:
    """One variable of two services: of a-b and a_b all, of shop's Redis and the service shop-redis `_tls`."""
    owners: dict[str, str] = {}
    for name in names:
        for suffix in sorted(SUFFIXES):
            field = variable(name, suffix)
            other = owners.setdefault(field, name)
            if other != name and field in host.variables:
                what = f"{field}: is of both services {other} and {name}"
                raise InventoryError.at(host.variables[field].origin, what, "give one of them another name")


def _service(host: Host, name: str) -> Service:
    for suffix in _PASSWORDS:
        refused = host.variables.get(variable(name, suffix))
        if refused is not None:
            field = variable(name, suffix)
            what = f"{field}: a password does not belong in an inventory"
            raise InventoryError.at(refused.origin, what, f"write {field}_file: a path on the host")
    for suffix in ("previous", "current"):
        _version(host, variable(name, suffix))
    targets: list[Target] = []
    for suffix, target in (("http", http), ("page", page), ("dependency", dependency), ("tls", tls), ("dns", dns)):
        field = variable(name, suffix)
        if (found := used(host, field)) is not None:
            targets += [target(found, field, name, text) for text in dict.fromkeys(_texts(found, field))]
    servers = [made for kind in ("postgres", "redis") if (made := _server(host, name, kind)) is not None]
    containers = _containers(host, variable(name, "containers"))
    return Service(name, tuple(targets), tuple(servers), containers, _links(host, name), _treatable(host, name))


def _treatable(host: Host, name: str) -> Treatable:
    return Treatable(
        containers=_containers(host, variable(name, "may_restart")),
        stateful=_containers(host, variable(name, "stateful")),
        sessions=_yes(host, variable(name, "may_end_sessions")),
        keys=_keys(host, variable(name, "may_flush")),
    )


def _keys(host: Host, field: str) -> tuple[str, ...]:
    found = used(host, field)
    if found is None:
        return ()
    for pattern in (patterns := _texts(found, field)):
        if not _KEYS.fullmatch(pattern):
            said = f"{found.said(pattern)} does not begin with two signs of its own"
            raise _wrong(found, field, said, "write one such as cache:*")
    return tuple(patterns)


def _server(host: Host, service: str, kind: str) -> Server | None:
    field = variable(service, kind)
    found = used(host, field)
    if found is None:
        return None
    place = _text(found, field)
    user = _matching(host, variable(service, f"{kind}_user"), _LOGIN, "a user's name")
    dbname = _matching(host, variable(service, "postgres_dbname"), _LOGIN, "a database's name")
    file = _path(host, variable(service, f"{kind}_password_file"))
    speaks_tls = kind == "redis" and _yes(host, variable(service, "redis_tls"))
    if place.startswith("/"):
        if speaks_tls:
            raise _wrong(found, field, "a socket speaks no TLS", f"take {variable(service, 'redis_tls')} away")
        folder, port = _socket(kind, _checked_path(found, field, place))
        return Server(kind, "", port, folder, user, dbname, file, speaks_tls)
    target = address(kind, found, field, service, place)
    return Server(kind, target.host, target.port, "", user, dbname, file, speaks_tls)


def _socket(kind: str, path: str) -> tuple[str, int]:
    """A PostgreSQL's socket is named by its folder and port; 0 for the usual one."""
    found = _SOCKET.fullmatch(path) if kind == "postgres" else None
    return (found[1], int(found[2])) if found is not None and 1 <= int(found[2]) <= 65535 else (path, 0)


def _containers(host: Host, field: str) -> tuple[str, ...]:
    found = used(host, field)
    if found is None:
        return ()
    for name in (names := _texts(found, field)):
        if not _CONTAINER.fullmatch(name):
            raise _wrong(
                found, field, f"{found.said(name)} is not a container's name", "write it as docker ps shows it"
            )
    return tuple(names)


def _links(host: Host, service: str) -> Links:
    field = variable(service, "links")
    found = used(host, field)
    if found is None:
        return ()
    value = found.value if isinstance(found.value, Mapping) else {text: text for text in _texts(found, field)}
    made = []
    for title, link in value.items():
        if not isinstance(title, str) or not isinstance(link, str) or not re.match(r"https?://[^\s/]", link):
            raise _wrong(found, field, f"{found.said(title)} is no link", "write title: 'https://...'")
        if not (link + title).isprintable() or " " in link:
            raise _wrong(found, field, f"{found.said(title)} holds a character that can't be shown", "write plain text")
        if "@" in re.split(r"[/?#]", link.partition("://")[2])[0]:
            raise _wrong(found, field, "a link holds a password or a user", "write it without: it is printed")
        made.append(("" if title == link else title, link))
    return tuple(made)


def _version(host: Host, field: str) -> None:
    found = used(host, field)
    if found is None:
        return
    if not isinstance(found.value, str):
        raise _no_text(host, found, field)
    if not _VERSION.fullmatch(found.value):
        raise _wrong(found, field, f"{found.said()} is no version", "use letters, digits and ._+@:/-, at most 255")


def _no_text(host: Host, found: Variable, field: str) -> InventoryError:
    """With what is written there, which only the file itself still has."""
    from controller.inventory.services.written import written  # where something is wrong, and nowhere else

    template = host.variables[field].value
    if isinstance(template, str):
        mend = f"put it in quotes where {shown(template)} has it from"
        return _wrong(found, field, f"a version must be a text, and this is read as {_read(found.value)}", mend)
    there = None if isinstance(found.value, list | Mapping) else written(found.origin, field)
    if there is None:
        mend = f'write it in quotes, as {field}: "1a2b3c4"'
        return _wrong(found, field, f"a version must be a text, and this is read as {_read(found.value)}", mend)
    what = f"a version must be a text, and {there.value} without quotes is read as {_read(found.value)}"
    return _wrong(found, field, what, f"write {there.quoted}")


def _read(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {value}"
        case date():
            return f"the date {value}"
        case list():
            return "a list"
        case Mapping():
            return "a mapping"
        case _:
            return printable(str(value))


def _matching(host: Host, field: str, pattern: re.Pattern[str], what: str) -> str:
    found = used(host, field)
    if found is None:
        return ""
    text = _text(found, field)
    if not pattern.fullmatch(text):
        raise _wrong(found, field, f"its value is not {what}", "use letters, digits, '_', '.' and '-'")
    return text


def _path(host: Host, field: str) -> str:
    found = used(host, field)
    return "" if found is None else _checked_path(found, field, _text(found, field))


def _checked_path(found: Variable, field: str, text: str) -> str:
    if not text.startswith("/") or len(text) > _LONGEST_PATH or not text.isprintable():
        raise _wrong(found, field, "its value is no absolute path", "write one as /etc/fleetmedic/password")
    return text


def _yes(host: Host, field: str) -> bool:
    found = used(host, field)
    if found is None:
        return False
    if not isinstance(found.value, bool):
        raise _wrong(found, field, f"{found.said()} is neither true nor false", "write true or false, unquoted")
    return found.value


def _text(found: Variable, field: str) -> str:
    if not isinstance(found.value, str) or not found.value:
        raise _wrong(found, field, "not a text", "write one, in quotes")
    return found.value


def _texts(found: Variable, field: str) -> list[str]:
    value = [found.value] if isinstance(found.value, str) else found.value
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise _wrong(found, field, "not a text and not a list of texts", "write one, or [first, second], in quotes")
    return value


def _wrong(found: Variable, field: str, what: str, mend: str) -> InventoryError:
    return InventoryError.at(found.origin, f"{field}: {what}", mend)
