"""Plans and operations by the names they were given, and the hosts they are on, as they were found then."""

import shlex
import sqlite3
from collections.abc import Sequence
from difflib import get_close_matches

from controller.cli import looking, options
from controller.cli.looking import Asked
from controller.cli.options import Desk
from controller.inventory.origins import InventoryError
from controller.store import plans
from controller.store.plans import KeptOperation, KeptPlan


def plan(base: sqlite3.Connection, name: str) -> KeptPlan:
    """InventoryError where there is none of that name, with the nearest."""
    found = plans.load(base, name)
    if found is None:
        close = get_close_matches(name.upper(), plans.names(base), n=1)
        raise InventoryError(f"no plan {name!r} is kept here" + (f"; did you mean {close[0]}?" if close else ""))
    return found


def operations(base: sqlite3.Connection, name: str) -> Sequence[KeptOperation]:
    """InventoryError where none of that name, or of a plan of that name, is kept."""
    found = plans.operations(base, name)
    if not found:
        raise InventoryError(
            f"no operation {name!r} is kept here; `fleetmedic mitigate operations` lists those of hosts"
        )
    return found


def desk_of(inventory: str, flags: "dict[str, str | Sequence[str] | None]") -> Desk:
    """With the inventory by which the hosts were found, unless another is given now."""
    if not flags.get("inventory"):
        flags = {**flags, "inventory": tuple(shlex.split(inventory))}
    return options.desk(**flags)


def asked(desk: Desk, pattern: str, hosts: Sequence[str]) -> Asked:
    """InventoryError where the inventory has one of them no more."""
    inventory = desk.inventory()
    lost = [name for name in hosts if name not in inventory.hosts]
    if lost:
        raise InventoryError(f"{lost[0]}: is not in the inventory any more; plan again")
    return Asked(pattern, desk.fleet(), inventory.resolved(hosts), looking.bounds(desk))
