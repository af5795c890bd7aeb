"""Everything that is wrong or odd in an inventory, all of it at once: what commands would stumble over one by one."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from controller.inventory import connection, requests
from controller.inventory.graph import Host, Inventory
from controller.inventory.names import shown
from controller.inventory.origins import InventoryError
from controller.inventory.services import schema
from controller.inventory.services.described import described

LOOKS: tuple[Callable[[Host], object], ...] = (
    connection.endpoint,
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
    for host in hosts:
        for text in _wrong(host):
            errors.setdefault(text, []).append(host.name)
        for text in _unknown(host):
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


def _unknown(host: Host) -> Iterator[str]:
    """Variables that begin as ours do and are none of ours: a misspelt one would be passed over in silence."""
    ours = [name for name in host.variables if name.startswith(schema.PREFIX)]
    if not ours:
        return
    try:
        services = requests.services(host)
    except InventoryError:
        return
    suffixes = {field.suffix for field in schema.OF_SERVICE} | schema.OF_ROLLBACK
    known = {f"{schema.PREFIX}{field.suffix}" for field in schema.OF_HOST}
    known |= {schema.variable(service, suffix) for service in services for suffix in suffixes}
    for name in ours:
        if name not in known:
            near = get_close_matches(name, sorted(known), n=1)
            mend = f"did you mean {near[0]}?" if near else "is its service in fleetmedic_services?"
            yield f"{host.variables[name].origin}: {shown(name)} is no variable of fleetmedic's; {mend}"


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
    """Files of variables for groups and hosts that are not there."""
    known = {"group_vars": inventory.groups.keys(), "host_vars": inventory.hosts.keys()}
    for folder in inventory.precedence.folders:
        for kind, names in known.items():
            for name in sorted(folder.names(kind) - names):
                near = get_close_matches(name, sorted(names), n=1)
                mend = f"did you mean {near[0]}?" if near else "add it, or take the file away"
                yield f"{folder.place(kind) / name}: no {kind.removesuffix('_vars')} has this name; {mend}"
