"""Everything that is wrong or odd in an inventory, all of it at once: what commands would stumble over one by one."""

import re
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from difflib import get_close_matches

from controller.inventory import connection, requests
from controller.inventory.graph import Host, Inventory
from controller.inventory.names import shown
from controller.inventory.origins import InventoryError
from controller.inventory.services import schema
from controller.inventory.services.described import described
from controller.inventory.services.limits import limit_flaw

_ALIKE = 0.75
"""Of which short names with two letters exchanged are just so."""
_SERVER = re.compile(r"(postgres|redis)_.")

LOOKS: tuple[Callable[[Host], object], ...] = (
    connection.endpoint,
    connection.listens,
    connection.has_agent,
    requests.services,
    requests.targets,
    requests.limits,
    described,
)
"""What commands read of a host; each raises InventoryError at the first thing that is wrong for it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One line, and the hosts it concerns; none where it concerns the inventory itself."""

    text: str
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Validated:
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    hosts: int
    groups: int


def validate(inventory: Inventory, names: Iterable[str]) -> Validated:
    """Looks at those hosts as every command would, and at all files of variables."""
    errors: dict[str, list[str]] = {}
    warnings: dict[str, list[str]] = {}
    hosts: list[Host] = []
    asked = tuple(names)
    for name in asked:
        try:
            hosts.append(inventory.host(name))
        except InventoryError as error:
            errors.setdefault(str(error), []).append(name)
    for name in inventory.groups:
        # A group without hosts has files too.
        try:
            inventory.precedence.of_group(name)
        except InventoryError as error:
            errors.setdefault(str(error), [])
    known = _Known(inventory)
    for host in hosts:
        for text in _wrong(host):
            errors.setdefault(text, []).append(host.name)
        for text in (*_unknown(host, known), *_idle(host), *_no_limits(host)):
            warnings.setdefault(text, []).append(host.name)
    for text, twins in _twins(hosts):
        warnings[text] = twins
    for text in (*inventory.warnings, *_of_nobody(inventory)):
        warnings.setdefault(text, [])
    return Validated(_problems(errors), _problems(warnings), len(asked), len(inventory.groups) - 1)


def _problems(found: dict[str, list[str]]) -> tuple[Problem, ...]:
    return tuple(Problem(text, tuple(hosts)) for text, hosts in found.items())


def _wrong(host: Host) -> Iterator[str]:
    seen = set()
    for look in LOOKS:
        try:
            look(host)
        except InventoryError as error:
            if str(error) not in seen:
                seen.add(str(error))
                yield str(error)


class _Known:
    """The names of variables that mean something, somewhere in the inventory."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._anywhere: Set[str] | None = None

    def here(self, host: Host) -> Set[str]:
        return {f"{schema.PREFIX}{field.suffix}" for field in schema.OF_HOST} | _of_services(host)

    def anywhere(self) -> Set[str]:
        """Those of the services of all hosts: one level may describe services that only some of its hosts have."""
        if self._anywhere is None:
            found: set[str] = set()
            for name in self._inventory.hosts:
                try:
                    found |= _of_services(self._inventory.host(name))
                except InventoryError:
                    continue
            self._anywhere = found
        return self._anywhere


def _of_services(host: Host) -> Set[str]:
    try:
        return {schema.variable(service, suffix) for service in requests.services(host) for suffix in schema.SUFFIXES}
    except InventoryError:
        return frozenset()


def _unknown(host: Host, known: _Known) -> Iterator[str]:
    """Variables that begin as ours do and are none of ours: a misspelt one would be passed over in silence."""
    ours = [name for name in host.variables if name.startswith(schema.PREFIX)]
    if not ours:
        return
    here = known.here(host)
    for name in ours:
        if name in here or name in known.anywhere():
            continue
        # What all begin with makes none of them alike.
        bare = sorted(one.removeprefix(schema.PREFIX) for one in here)
        near = get_close_matches(name.removeprefix(schema.PREFIX), bare, n=1, cutoff=_ALIKE)
        mend = f"did you mean {schema.PREFIX}{near[0]}?" if near else "is its service in fleetmedic_services?"
        yield f"{host.variables[name].origin}: {shown(name)} is no variable of fleetmedic's; {mend}"


def _idle(host: Host) -> Iterator[str]:
    """Logins for a server that is not named: the agent would not use them for one that it finds."""
    try:
        services = requests.services(host)
    except InventoryError:
        return
    for service in services:
        for field in schema.OF_SERVICE:
            kind = _SERVER.match(field.suffix)
            name = schema.variable(service, field.suffix)
            if kind is None or name not in host.variables:
                continue
            server = schema.variable(service, kind[1])
            if server not in host.variables:
                yield f"{host.variables[name].origin}: {name} is for the server of {server}, which is not set; set it"


def _no_limits(host: Host) -> Iterator[str]:
    """Limits that an agent of this version would refuse."""
    try:
        limits = requests.limits(host)
    except InventoryError:
        return
    yield from filter(None, map(limit_flaw, limits))


def _twins(hosts: Iterable[Host]) -> Iterator[tuple[str, list[str]]]:
    """Hosts that are dialled at one address and port."""
    dialled: dict[tuple[str, int], list[str]] = {}
    for host in hosts:
        try:
            if connection.has_agent(host):
                endpoint = connection.endpoint(host)
                dialled.setdefault((endpoint.address, endpoint.port), []).append(host.name)
        except InventoryError:
            continue
    for (address, port), names in dialled.items():
        if len(names) > 1:
            yield f"dialled at one place, {address} port {port}: is one of them a copy?", names


def _of_nobody(inventory: Inventory) -> Iterator[str]:
    """Files of variables for groups and hosts that are not there, and files that others keep from being read."""
    known = {"group_vars": inventory.groups.keys(), "host_vars": inventory.hosts.keys()}
    for folder in inventory.precedence.folders:
        for kind, names in known.items():
            for name, (first, *others) in folder.entries(kind).items():
                if name not in names:
                    near = get_close_matches(name, sorted(names), n=1)
                    mend = f"did you mean {near[0]}?" if near else "add it, or take the file away"
                    yield f"{first}: no {kind.removesuffix('_vars')} has this name; {mend}"
                for other in others if name in names else ():
                    yield f"{other}: is not read, for {first.name} is there; make them one"
