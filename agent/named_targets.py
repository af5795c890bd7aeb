"""What agent.toml names to be looked at beside servers: URLs, pages, names, TLS endpoints and dependencies."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from agent.toml_reader import Table

LAST_PORT = 65535
SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Named:
    """A DNS name, a page or a URL that is to be looked at."""

    service: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class TlsEndpoint:
    """Where TLS is served, whose authorities it is held against, and the files it is meant to serve."""

    service: str
    host: str
    port: int
    server_name: str
    ca: Path | None
    certificate: Path | None
    key: Path | None
    origin: str


@dataclass(frozen=True, slots=True)
class Dependency:
    """What a service here needs elsewhere: HOST:PORT in `address`, or a URL; `status` 0 for any success."""

    service: str
    address: str
    url: str
    status: int
    ca: Path | None
    origin: str


def service(table: Table, usual: str) -> str:
    return table.name_of("service", usual, SERVICE, "a service: letters, digits, '.', '_' and '-', at most 63")


def tls_endpoint(table: Table) -> TlsEndpoint:
    host, port = _address(table)
    made = TlsEndpoint(
        service=service(table, "tls"),
        host=host,
        port=port,
        server_name=table.text_of("server_name", host),
        ca=_path(table, "ca"),
        certificate=_path(table, "certificate"),
        key=_path(table, "key"),
        origin=origin(table),
    )
    table.end()
    if made.key and not made.certificate:
        raise table.refuse("key", "goes with certificate: the one it must fit")
    return made


def dependency(table: Table) -> Dependency:
    url = table.text_of("url")
    address = table.text_of("address")
    made = Dependency(
        service=service(table, "dependency"),
        address=address,
        url=url,
        status=table.integer("status", 0, 100, 599) if "status" in table.values else 0,
        ca=_path(table, "ca"),
        origin=origin(table),
    )
    table.end()
    if bool(url) == bool(address):
        raise table.refuse("address", "give either address (HOST:PORT) or url")
    if url and not _is_url(url):
        raise table.refuse("url", "must begin with http:// or https:// and name a host")
    if address:
        _split(table, address)
    if address and (made.status or made.ca):
        raise table.refuse("status" if made.status else "ca", "goes with url alone")
    return made


def _path(table: Table, key: str) -> Path | None:
    value = table.text_of(key)
    return Path(value) if value else None


def origin(table: Table) -> str:
    return f"{table.file.name}:{table.line('')}"


def _address(table: Table) -> tuple[str, int]:
    value = table.text_of("address")
    if not value:
        raise table.refuse("address", "is missing")
    return _split(table, value)


def _split(table: Table, value: str) -> tuple[str, int]:
    if not _is_address(value):
        raise table.refuse("address", f"{value!r} must be HOST:PORT")
    host, _, port = value.rpartition(":")
    return host.strip("[]"), int(port)


def named(table: Table, key: str) -> Named:
    value = table.text_of(key)
    made = Named(service(table, table.path[0]), value, origin(table))
    table.end()
    if not value:
        raise table.refuse(key, "is missing")
    if key == "url" and not _is_url(value):
        raise table.refuse(key, f"{value!r} must begin with http:// or https:// and name a host")
    return made


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_address(value: str) -> bool:
    found = re.fullmatch(r".+:([0-9]{1,5})", value)
    return found is not None and 0 < int(found[1]) <= LAST_PORT
