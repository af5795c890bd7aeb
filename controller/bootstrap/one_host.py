"""One host: what it is, the agent onto it, or off it again; nothing that happens there is raised."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from controller.bootstrap import installing, probing, signing
from controller.bootstrap.bundle import Bundle, BundleError, Facts
from controller.bootstrap.installing import Ending, Judge, Order, Outcome, Progress
from controller.bootstrap.probing import Seen, Unsuitable
from controller.bootstrap.side_by_side import Sessions
from controller.bootstrap.signing import Authority
from controller.bootstrap.verifying import Verify
from controller.inventory import connection
from controller.inventory.connection import Endpoint
from controller.inventory.graph import Host
from controller.inventory.origins import InventoryError
from controller.inventory.services import agent_toml
from controller.ssh import Destination, SshError
from controller.trust.files import TrustError

# For an agent to answer once it is started.
ANSWERS = 20.0
# What becomes of a session that was there.
BEGUN = frozenset({"broken", "late", "too-much"})
NO_SSH = "by the inventory SSH does not lead there: its ansible_connection is another"
UNITS = Path(__file__).parent / "units"
MARK = """\
# Written by `fleetmedic agent install`, which writes it anew each time: change the inventory, and not this file.

"""


@dataclass(frozen=True, slots=True)
class Target:
    """One host of the inventory, and where we log in."""

    host: Host
    to: Destination


@dataclass(frozen=True, slots=True)
class Known:
    """A host, and what is there; or how it ended already."""

    target: Target
    seen: Seen | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """All that one host's installation needs."""

    target: Target
    seen: Seen
    bundle: Bundle
    config: str
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Wanted:
    """Who signs, where bundles are, and how many hosts at once.

    `discover`: agent.toml comes from what is found there. `new_key`: the one that is there is not kept.
    """

    owner: Authority
    bundles: Path
    discover: bool
    forks: int
    new_key: bool = False


def look(target: Target, sessions: Sessions, progress: Progress) -> Known:
    began = time.monotonic()
    progress(target.host.name, "looking")
    if not connection.has_ssh(target.host):
        return Known(target, None, Outcome(target.host.name, Ending.REFUSED, NO_SSH))
    try:
        with sessions.open(target.to) as session:
            return Known(target, probing.look(session, target.host))
    except (Unsuitable, InventoryError) as error:
        return Known(target, None, Outcome(target.host.name, Ending.REFUSED, str(error), time.monotonic() - began))
    except SshError as error:
        return Known(target, None, Outcome(target.host.name, Ending.UNREACHABLE, error.why, time.monotonic() - began))


def prepare(known: Known, found: Mapping[Facts, Bundle | BundleError], *, discover: bool) -> Ready | Outcome:
    """With the bundle of its kind, and the agent.toml that the inventory comes to."""
    assert known.seen is not None
    host = known.target.host
    bundle = found[known.seen.facts]
    if isinstance(bundle, BundleError):
        return Outcome(host.name, Ending.REFUSED, str(bundle))
    try:
        config = MARK + agent_toml.render(host, targets=not discover)
        return Ready(known.target, known.seen, bundle, config, connection.endpoint(host))
    except InventoryError as error:
        return Outcome(host.name, Ending.REFUSED, str(error))


def install(ready: Ready, sessions: Sessions, wanted: Wanted, verify: Verify, progress: Progress) -> Outcome:
    began = time.monotonic()
    target, owner = ready.target, wanted.owner
    name = target.host.name
    units = {unit.name: unit.read_text() for unit in sorted(UNITS.glob("*.service"))}
    order = Order(ready.bundle, ready.config, owner.operator_ca, owner.denylist, units, wanted.discover)
    judge = Judge(
        lambda held: not wanted.new_key and signing.will_do(held.encode(), name, owner.agent_ca, owner.now()),
        lambda request: owner.sign(request, name),
        lambda: verify(ready.endpoint, ANSWERS),
    )
    try:
        with sessions.open(target.to) as session:
            ending, said = installing.install(session, ready.seen, order, judge, progress)
    except TrustError as error:
        return Outcome(name, Ending.FAILED, f"{error}; what was done is undone", time.monotonic() - began)
    except SshError as error:
        return _broken(target, error, began)
    if not said and ending in installing.WELL:
        said = f"{ready.bundle.version} answers at {ready.endpoint.address} port {ready.endpoint.port}"
    return Outcome(name, ending, said, time.monotonic() - began)


def uninstall(target: Target, sessions: Sessions, *, purge: bool) -> Outcome:
    began = time.monotonic()
    if not connection.has_ssh(target.host):
        return Outcome(target.host.name, Ending.REFUSED, NO_SSH)
    try:
        with sessions.open(target.to) as session:
            seen = probing.look(session, target.host, leaving=True)
            ending, said = installing.uninstall(session, seen, purge=purge)
            return Outcome(target.host.name, ending, said, time.monotonic() - began)
    except (Unsuitable, InventoryError) as error:
        return Outcome(target.host.name, Ending.REFUSED, str(error), time.monotonic() - began)
    except SshError as error:
        return _broken(target, error, began)


def _broken(target: Target, error: SshError, began: float) -> Outcome:
    """A connection that broke in the middle leaves a host that clears up by itself."""
    if error.kind not in BEGUN:
        return Outcome(target.host.name, Ending.UNREACHABLE, error.why, time.monotonic() - began)
    said = f"{error.why}; the host undoes what it has not finished, and the same command again says how it is"
    return Outcome(target.host.name, Ending.FAILED, said, time.monotonic() - began)
