"""Agents onto many hosts, or off them: what kind each is, a bundle for each kind, and then all of them at once."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Protocol

from controller.bootstrap import bundle as bundles
from controller.bootstrap import making, one_host
from controller.bootstrap.bundle import Bundle, BundleError, Facts
from controller.bootstrap.installing import Ending, Outcome
from controller.bootstrap.one_host import Known, Ready, Target, Wanted
from controller.bootstrap.side_by_side import Sessions, SideBySide
from controller.bootstrap.verifying import verifier
from controller.ssh import Trust


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
    ready = {} if looked.signal else _ready(known, wanted, showing, made)
    if ready:
        showing.say(plan(list(ready.values())))
    sessions = Sessions(trust)
    with verifier(wanted.owner.passing()) as verify:
        work: SideBySide[Ready, Outcome] = SideBySide(
            lambda it: one_host.install(it, sessions, wanted, verify, showing.progress), wanted.forks, sessions.leave
        )
        made |= work.run(ready, showing.outcome, showing.interrupted)
    return _ended(targets, made, began, looked.signal or work.signal, showing)


def _ready(known: Sequence[Known], wanted: Wanted, showing: Showing, made: dict[str, Outcome]) -> Mapping[str, Ready]:
    """Those that can begin; of the others `made` gets the outcome."""
    found = _bundles(wanted.bundles, known, showing)
    ready = {}
    for it in known:
        if it.seen is not None:
            one = one_host.prepare(it, found, discover=wanted.discover)
            if isinstance(one, Ready):
                ready[one.target.host.name] = one
            else:
                made[one.host] = one
                showing.outcome(one)
    return ready


def uninstall_all(targets: Sequence[Target], trust: Trust, forks: int, showing: Showing, *, purge: bool) -> Ended:
    began = time.monotonic()
    sessions = Sessions(trust)
    work: SideBySide[Target, Outcome] = SideBySide(
        lambda it: one_host.uninstall(it, sessions, purge=purge), forks, sessions.leave
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
    work: SideBySide[Target, Known] = SideBySide(
        lambda it: one_host.look(it, sessions, showing.progress), forks, sessions.leave
    )
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
