"""What a host's `fleetmedic_*` variables ask its agent to look at: targets, limits and services."""

import re
from collections.abc import Iterator, Mapping

from controller.inventory.graph import Host
from controller.inventory.names import address_flaw, is_ipv6, shown
from controller.inventory.origins import InventoryError
from controller.inventory.templates import used
from controller.inventory.variables import Variable
from fleetmedic.v1.agent_pb2 import Limit
from fleetmedic.v1.snapshot_pb2 import Target

_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_RULE = re.compile(r"[A-Z0-9]+(?:-[A-Z0-9]+)+")
_LIMIT = re.compile(r"[a-z][a-z0-9_]*")
_HIGHEST = 1e18
_HOST_AND_PORT = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+)):([0-9]{1,5})")


def targets(host: Host) -> tuple[Target, ...]:
    """What `fleetmedic_http`, `_tls`, `_dns`, `_pages` and `_dependencies` name, in that order.

    Raises InventoryError naming file, line and field where one of them is not what it should be.
    """
    found: list[Target] = []
    for field, usual, made in (
        ("fleetmedic_http", "http", http),
        ("fleetmedic_tls", "tls", tls),
        ("fleetmedic_dns", "dns", dns),
        ("fleetmedic_pages", "page", page),
        ("fleetmedic_dependencies", "dependency", dependency),
    ):
        if (variable := used(host, field)) is not None:
            found += [made(variable, field, service, text) for service, text in _services(variable, field, usual)]
    return tuple(found)


def limits(host: Host) -> tuple[Limit, ...]:
    """The limits of `fleetmedic_limits`, a mapping from rule to limit name to number."""
    variable = used(host, "fleetmedic_limits")
    if variable is None:
        return ()
    found: list[Limit] = []
    for rule, values in _mapping(variable.value, variable, "fleetmedic_limits").items():
        if not isinstance(rule, str) or not _RULE.fullmatch(rule):
            raise _wrong(variable, "fleetmedic_limits", f"{shown(rule)} is not a rule id", "write one as PG-LOCK-ROOT")
        for name, value in _mapping(values, variable, f"fleetmedic_limits {rule}").items():
            found.append(_limit(variable, rule, name, value))
    return tuple(found)


def services(host: Host) -> tuple[str, ...]:
    """The services that run on the host, of `fleetmedic_services`; none where it isn't given."""
    variable = used(host, "fleetmedic_services")
    if variable is None:
        return ()
    names = tuple(dict.fromkeys(_texts(variable, "fleetmedic_services")))
    for name in names:
        _check_service(variable, "fleetmedic_services", name)
    return names


def http(variable: Variable, field: str, service: str, text: str) -> Target:
    """The target of a health URL. InventoryError where it is none; so with the other kinds."""
    return _url("http", variable, field, service, text)


def page(variable: Variable, field: str, service: str, text: str) -> Target:
    """The target of a front page's URL."""
    return _url("page", variable, field, service, text)


def dependency(variable: Variable, field: str, service: str, text: str) -> Target:
    """The target of a URL or of host:port."""
    probe = _url if "://" in text else address
    return probe("dependency", variable, field, service, text)


def tls(variable: Variable, field: str, service: str, text: str) -> Target:
    """The target of a TLS listener's host:port."""
    return address("tls", variable, field, service, text)


def dns(variable: Variable, field: str, service: str, text: str) -> Target:
    """The target of a name."""
    if address_flaw(text) is not None or ":" in text:
        raise _wrong(variable, field, f"{variable.said(text)} is not a DNS name", "write one as db.example")
    return Target(probe="dns", service=service, name=text, host=text, origin=str(variable.origin))


def address(probe: str, variable: Variable, field: str, service: str, text: str) -> Target:
    """The target of host:port."""
    found = _HOST_AND_PORT.fullmatch(text)
    if found is None or not _is_host(found) or not 1 <= int(found[3]) <= 65535:
        raise _wrong(variable, field, f"{variable.said(text)} is not host:port", "write one as db01.example:5432")
    return Target(
        probe=probe,
        service=service,
        name=text,
        host=found[1] or found[2],
        port=int(found[3]),
        origin=str(variable.origin),
    )


def _url(probe: str, variable: Variable, field: str, service: str, text: str) -> Target:
    from urllib.parse import urlsplit, urlunsplit  # only inventories with URLs pay for it

    # The URL may hold a password or a token: no message shows it.
    wrong = _wrong(variable, field, f"the URL of {service} is not one", "write http:// or https://, a host, a path")
    if not text.isprintable() or " " in text:
        raise wrong
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise wrong from None
    name = parts.hostname
    if parts.scheme not in ("http", "https") or not name or address_flaw(name) is not None or port == 0:
        raise wrong
    bare = parts.netloc.rpartition("@")[2]
    return Target(
        probe=probe,
        service=service,
        name=urlunsplit((parts.scheme, bare, parts.path, "", "")),
        url=text,
        host=name,
        port=port or (443 if parts.scheme == "https" else 80),
        origin=str(variable.origin),
    )


def _is_host(found: re.Match[str]) -> bool:
    return is_ipv6(found[1]) if found[1] is not None else address_flaw(found[2]) is None


def _limit(variable: Variable, rule: str, name: object, value: object) -> Limit:
    field = "fleetmedic_limits"
    if not isinstance(name, str) or not _LIMIT.fullmatch(name):
        raise _wrong(variable, field, f"{shown(name)} of {rule} is not a limit's name", "write one as warn_percent")
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _HIGHEST:
        mend = f"write a number of at most {_HIGHEST:g}, without quotes"
        raise _wrong(variable, field, f"{rule} {name} is not a number that an agent takes", mend)
    return Limit(rule=rule, name=name, value=float(value), origin=str(variable.origin))


def _services(variable: Variable, field: str, usual: str) -> Iterator[tuple[str, str]]:
    """Pairs of service and text from a mapping of them, or from texts alone under the usual service name."""
    if not isinstance(variable.value, Mapping):
        for text in _texts(variable, field):
            yield usual, text
        return
    for service, text in variable.value.items():
        _check_service(variable, field, service)
        if not isinstance(text, str) or not text:
            raise _wrong(variable, field, f"the value of {shown(service)} is not a text", "write service: 'text'")
        yield service, text


def _texts(variable: Variable, field: str) -> list[str]:
    """A list of texts, or one text alone."""
    value = [variable.value] if isinstance(variable.value, str) else variable.value
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise _wrong(variable, field, "not a list of texts", "write [first, second], each in quotes")
    return value


def _mapping(value: object, variable: Variable, field: str) -> Mapping[object, object]:
    if isinstance(value, Mapping):
        return value
    raise _wrong(variable, field, "not a mapping", "write RULE-ID: {limit_name: number}")


def _check_service(variable: Variable, field: str, name: object) -> None:
    if not isinstance(name, str) or not _SERVICE.fullmatch(name):
        raise _wrong(
            variable, field, f"{shown(name)} is not a service name", "use letters, digits, '.', '_' and '-', at most 63"
        )


def _wrong(variable: Variable, field: str, what: str, mend: str) -> InventoryError:
    return InventoryError.at(variable.origin, f"{field}: {what}", mend)
