"""The inventory in the shape that `ansible-inventory --list` prints, so that it can stand in for it."""

import datetime
import json
from collections.abc import Callable, Collection, Mapping

from controller.inventory.graph import Inventory
from controller.inventory.origins import InventoryError
from controller.inventory.precedence import merged
from controller.inventory.variables import Encrypted, Layer, Unsafe, Variable

MASK = "***"

Hide = Callable[[str, object], object]
"""From a variable's name and its value to what may be shown of it."""


def listing(inventory: Inventory, hosts: Collection[str], hide: Hide, *, export: bool) -> dict[str, object]:
    """Groups with those of their hosts, and their children, and `_meta.hostvars`; of `all` its children alone.

    With `export` groups have their own variables and hosts theirs, else hosts have all that is merged for them.
    Raises InventoryError where a file of variables can't be read.
    """
    hostvars = {}
    for name in hosts:
        host = inventory.host(name)
        readable(host.layers)
        variables = merged(inventory.own(name)) if export else host.variables
        if variables:
            hostvars[name] = shown(variables, hide)
    answer: dict[str, object] = {"_meta": {"hostvars": hostvars}}
    listed = frozenset(hosts)
    for group in inventory.groups.values():
        entry: dict[str, object] = {
            "hosts": [] if group.name == "all" else [host for host in group.hosts if host in listed],
            "children": list(group.children),
            "vars": shown(merged(readable(inventory.precedence.of_group(group.name))), hide) if export else {},
        }
        if any(entry.values()):
            answer[group.name] = {key: value for key, value in entry.items() if value}
    return answer


def readable(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The layers, all of them known. InventoryError where a file of them is encrypted as a whole."""
    for layer in layers:
        if layer.encrypted:
            raise InventoryError(
                f"{layer.encrypted[0]}: encrypted as a whole, so not all variables of {layer.level} can be shown; "
                "encrypt single values (ansible-vault encrypt_string), or try --inventory-backend ansible"
            )
    return layers


def shown(variables: Mapping[str, Variable], hide: Hide) -> dict[str, object]:
    """Variables as JSON has them."""
    return {name: plain(hide(name, variable.value)) for name, variable in variables.items()}


def plain(value: object) -> object:
    """A value as JSON has it: dates as ISO texts, what is no template wrapped as Ansible does, no cipher text."""
    if isinstance(value, Encrypted):
        return MASK
    if isinstance(value, Unsafe):
        return {"__ansible_unsafe": str(value)}
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    return key.isoformat() if isinstance(key, datetime.date) else json.dumps(key)
