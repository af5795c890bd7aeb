"""Agents onto many hosts, or off them: what kind each is, a bundle for each kind, and then all of them at once."""

import datetime
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from controller.bootstrap import bundle as bundles
from controller.bootstrap import installing, making, probing
from controller.bootstrap.bundle import Bundle, BundleError, Facts
from controller.bootstrap.installing import Ending, Judge, Order, Outcome, Progress
from controller.bootstrap.probing import Seen, Unsuitable
from controller.bootstrap.side_by_side import Sessions, SideBySide
from controller.bootstrap.verifying import Verify, verifier
from controller.inventory import connection
from controller.inventory.connection import Endpoint
from controller.inventory.graph import Host
from controller.inventory.origins import InventoryError
from controller.inventory.services import agent_toml
from controller.ssh import Destination, SshError, Trust
from controller.transport.mtls import Identity
from controller.trust import authority
from controller.trust.files import TrustError

# For an agent to answer once it is started.
ANSWERS = 20.0
# A certificate that ends sooner is made anew.
LEAST_LEFT = datetime.timedelta(days=7)
FRESH = datetime.timedelta(minutes=5)
# What becomes of a session that was there.
BEGUN = frozenset({"broken", "late", "too-much"})
UNITS = Path(__file__).parent / "units"
MARK = """\
# Written by `fleetmedic agent install`, which writes it anew each time: change the inventory, and not this file.

"""
Utc = Callable[[], datetime.datetime]


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
class Authority:
    """The folder of the authorities, who uses it, and what of it goes to every host."""

    folder: Path
    actor: str
    now: Utc
    agent_ca: bytes
    operator_ca: str
    denylist: str

    def passing(self) -> Callable[[], Identity]:
        """An identity for looking whether agents answer, made anew before it ends; for one thread."""
        held: list[tuple[datetime.datetime, Identity]] = []

        def identity() -> Identity:
            now = self.now()
            if not held or now - held[-1][0] > FRESH:
                held.append((now, authority.passing_identity(self.folder, now)))
            return held[-1][1]

        return identity


def authorities(folder: Path, actor: str, now: Utc) -> Authority:
    """TrustError where there are none, before any host is asked."""
    denylist = authority.denylist(folder, now()).decode()
    try:
        agent_ca, operator_ca = ((folder / name).read_bytes() for name in ("agent-ca.crt", "operator-ca.crt"))
    except OSError as error:
        raise TrustError(f"{error.filename}: can't be read: {error.strerror}") from error
    return Authority(folder, actor, now, agent_ca, operator_ca.decode(), denylist)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Who signs, where bundles are, whether agent.toml comes from what is found there, and how many hosts at once."""

    owner: Authority
    bundles: Path
    discover: bool
    forks: int


@dataclass(frozen=True, slots=True)
class Ended:
    """An outcome for each host, in their order; `signal` is the first that came."""

    outcomes: Sequence[Outcome]
    seconds: float
    signal: Signals | None


class Showing(Protocol):
    """Whoever is told of it, from any thread."""

    def say(self, text: str) -> None: ...
    def progress(self, host: str, step: str) -> None: ...
    def outcome(self, outcome: Outcome) -> None: ...
    def interrupted(self, number: Signals, waiting: int) -> None: ...


def install_all(targets: Sequence[Target], trust: Trust, wanted: Wanted, showing: Showing) -> Ended:
    """Looks at all hosts, gets a bundle for each kind, and installs side by side. Nothing is raised for a host."""
    began = time.monotonic()
    known, looked = look_at_all(targets, trust, wanted.forks, showing)
    made = {outcome.host: outcome for outcome in looked.outcomes}
    if looked.signal is None:
        found = _bundles(wanted.bundles, known, showing)
        ready = {}
        for it in known:
            if it.seen is None:
                continue
            one = prepare(it, found, discover=wanted.discover)
            if isinstance(one, Outcome):
                made[one.host] = one
                showing.outcome(one)
            else:
                ready[one.target.host.name] = one
        if ready:
            showing.say(plan(list(ready.values())))
    else:
        ready = {}
    sessions = Sessions(trust)
    with verifier(wanted.owner.passing()) as verify:
        work: SideBySide[Ready, Outcome] = SideBySide(
            lambda it: install(it, sessions, wanted, verify, showing.progress), wanted.forks, sessions.leave
        )
        made |= work.run(ready, showing.outcome, showing.interrupted)
    return _ended(targets, made, began, looked.signal or work.signal, showing)


def uninstall_all(targets: Sequence[Target], trust: Trust, forks: int, showing: Showing, *, purge: bool) -> Ended:
    began = time.monotonic()
    sessions = Sessions(trust)
    work: SideBySide[Target, Outcome] = SideBySide(
        lambda it: uninstall(it, sessions, purge=purge), forks, sessions.leave
    )
    made = work.run({it.host.name: it for it in targets}, showing.outcome, showing.interrupted)
    return _ended(targets, made, began, work.signal, showing)


def look_at_all(targets: Sequence[Target], trust: Trust, forks: int, showing: Showing) -> tuple[Sequence[Known], Ended]:
    """What each host is; the outcomes are of those alone that ended here."""

    def told(known: Known) -> None:
        if known.outcome is not None:
            showing.outcome(known.outcome)

    began = time.monotonic()
    sessions = Sessions(trust)
    work: SideBySide[Target, Known] = SideBySide(lambda it: look(it, sessions, showing.progress), forks, sessions.leave)
    found = work.run({it.host.name: it for it in targets}, told, showing.interrupted)
    outcomes = [known.outcome for known in found.values() if known.outcome is not None]
    return list(found.values()), Ended(outcomes, time.monotonic() - began, work.signal)


def _ended(
    targets: Sequence[Target], made: Mapping[str, Outcome], began: float, signal: Signals | None, showing: Showing
) -> Ended:
    """With an outcome for those too that nobody began."""
    outcomes = []
    for target in targets:
        name = target.host.name
        if name not in made:
            showing.outcome(Outcome(name, Ending.CANCELLED, "interrupted before it was begun"))
        outcomes.append(made.get(name, Outcome(name, Ending.CANCELLED, "")))
    return Ended(outcomes, time.monotonic() - began, signal)


def plan(ready: Sequence[Ready]) -> str:
    """One line: how many hosts, and what becomes of them."""
    new = sum(not it.seen.installed for it in ready)
    changes = Counter((it.seen.installed, it.bundle.version) for it in ready if it.seen.installed)
    parts = [f"{new} new"] if new else []
    for (before, after), count in sorted(changes.items()):
        parts.append(f"{count} at {after}" if before == after else f"{count} upgrade {before} -> {after}")
    return f"{len(ready)} host{'s' * (len(ready) != 1)}: {', '.join(parts)}"


def _bundles(root: Path, known: Sequence[Known], showing: Showing) -> Mapping[Facts, Bundle | BundleError]:
    """One for each kind, or why there is none."""
    found: dict[Facts, Bundle | BundleError] = {}
    for facts in dict.fromkeys(it.seen.facts for it in known if it.seen is not None):
        try:
            found[facts] = bundle_for(root, facts, showing.say)
        except BundleError as error:
            found[facts] = error
    return found


def look(target: Target, sessions: Sessions, progress: Progress) -> Known:
    began = time.monotonic()
    progress(target.host.name, "looking")
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


def bundle_for(root: Path, facts: Facts, tell: Callable[[str], None]) -> Bundle:
    """The one that is there, checked; or the same with our code as it is now; or made. BundleError with the mend."""
    try:
        found = bundles.find(root, facts)
    except BundleError:
        found = _made(root, facts, tell)
    bundles.check(found)
    return found


def _made(root: Path, facts: Facts, tell: Callable[[str], None]) -> Bundle:
    for old in bundles.candidates(root, facts):
        try:
            return making.renew(root, old)
        except BundleError:
            # With other requirements, or damaged.
            continue
    tell(f"making a bundle for {facts}")
    try:
        return making.make(root, facts)
    except BundleError as error:
        raise BundleError(
            f"no bundle for {facts}, and making one failed: {error}; elsewhere: {facts.command()}"
        ) from error


def install(ready: Ready, sessions: Sessions, wanted: Wanted, verify: Verify, progress: Progress) -> Outcome:
    began = time.monotonic()
    target, owner = ready.target, wanted.owner
    name = target.host.name
    units = {unit.name: unit.read_text() for unit in sorted(UNITS.glob("*.service"))}
    order = Order(ready.bundle, ready.config, owner.operator_ca, owner.denylist, units, wanted.discover)
    judge = Judge(
        lambda held: will_do(held.encode(), name, owner.agent_ca, owner.now()),
        lambda request: authority.sign_agent(owner.folder, request, name, owner.now(), actor=owner.actor),
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


def will_do(held: bytes, name: str, agent_ca: bytes, now: datetime.datetime) -> bool:
    """Whether a certificate that a host has is one of ours, for its name, and lasts."""
    try:
        leaf, issuer = x509.load_pem_x509_certificate(held), x509.load_pem_x509_certificate(agent_ca)
        leaf.verify_directly_issued_by(issuer)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    called = {*map(str, names.get_values_for_type(x509.DNSName))}
    called |= {*map(str, names.get_values_for_type(x509.IPAddress))}
    return name in called and leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc - LEAST_LEFT
