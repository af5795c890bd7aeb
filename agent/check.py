"""One check: choose rules, let their probes look in jobs, judge, and answer in at most two messages."""

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from agent import boundary, budgets, discovery, probes, registry
from agent.allowed import refuse_outside
from agent.config import Config
from agent.identity import clock
from agent.jobs import Crew
from agent.journal import requests
from agent.recorder import BAD, Recorder
from agent.registry import Rule
from agent.rule import Limits, Seen, finding, seconds
from agent.rules import docker
from agent.standing import standing
from fleetmedic.v1.agent_pb2 import (
    SNAPSHOT_POLICY_ALWAYS,
    SNAPSHOT_POLICY_BAD,
    CheckRequest,
    CheckResponse,
    Identity,
)
from fleetmedic.v1.finding_pb2 import STATUS_ERROR, STATUS_OK, STATUS_SKIPPED, Finding, Subject
from fleetmedic.v1.snapshot_pb2 import (
    FAILURE_KIND_CRASHED,
    FAILURE_KIND_GONE,
    FAILURE_KIND_NEEDS_RIGHT,
    FAILURE_KIND_NOT_LOOKED,
    FAILURE_KIND_OUT_OF_TIME,
    DiscoverySnapshot,
    Snapshot,
    Target,
)

RATE_WINDOW = 300.0
PATTERN = re.compile(r"[A-Za-z0-9*?\[\]!-]{1,64}")
# A service's of agent.toml or the inventory, a container's, or one of compose.
SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
NOT_THE_TARGETS = frozenset({FAILURE_KIND_CRASHED, FAILURE_KIND_OUT_OF_TIME})
CONTAINING = frozenset({"docker", "errors", "processes"})
MOST_PATTERNS = 64
MOST_TARGETS = 64
Moment: TypeAlias = Callable[[str], None]


class BadRequest(Exception):
    """The request itself is wrong; one line for the caller."""


class NothingHere(Exception):
    """None of the services asked for is on this host; the message names those that are."""


def _pass(name: str) -> None:
    del name


@dataclass(frozen=True, slots=True)
class Medic:
    """What a check or an action works with: who this agent is, its configuration and its rules.

    `moment` is called at the named moments of an operation; a test ends processes there.
    """

    identity: Identity
    config: Config
    rules: tuple[Rule, ...]
    moment: Moment = _pass

    @property
    def locks(self) -> Path:
        return self.config.run / "jobs"


@dataclass(slots=True)
class _Run:
    """A check under way."""

    rules: tuple[Rule, ...]
    limits: Mapping[str, Limits]
    snapshots: list[Snapshot] = field(default_factory=list)
    sent: set[tuple[str, str, str, str]] = field(default_factory=set)
    # By name: those that are here, and which of them are an engine's containers.
    services: set[str] = field(default_factory=set)
    contained: set[str] = field(default_factory=set)


def check(medic: Medic, request: CheckRequest, received: float, caller: int | None = None) -> Iterator[CheckResponse]:
    """Answers a request in one or two messages. BadRequest before the first, never after. `received`: epoch seconds.

    `caller` is the descriptor of who asked, if hanging up should end the check: CallerGone then.
    """
    began = time.monotonic()
    end = began + _budget(request)
    run = _prepare(medic, request)
    crew = Crew(medic.locks, caller=caller)
    found = discovery.run(medic.config, medic.locks)
    _look(medic, request, run, crew, found)
    run.snapshots += crew.finished(min(began + budgets.EARLY_ANSWER, end))
    sequence = 1
    early = _judge(medic, request, run, time.time(), complete=False) if crew.busy else []
    if early:
        yield _answer(medic, request, sequence, received, early)
        sequence += 1
    run.snapshots += crew.finished(end)
    run.snapshots += crew.abandon()
    findings = _judge(medic, request, run, time.time(), complete=True)
    if sequence == 1 and not findings:
        _services_here(request, run)
    made = _answer(medic, request, sequence, received if sequence == 1 else None, findings)
    made.last = True
    made.snapshots.extend(_kept(run, request, bad=bool(early) or any(item.status in BAD for item in findings)))
    made.clock.answered_time.GetCurrentTime()
    yield made


def _budget(request: CheckRequest) -> float:
    asked = seconds(request.budget) if request.HasField("budget") else budgets.CHECK
    if not 0 < asked <= budgets.LONGEST_CALL:
        raise BadRequest(f"a budget of {asked:g} s is outside 0 to {budgets.LONGEST_CALL:g} s")
    return max(0.1, asked - budgets.ANSWER_MARGIN)


def _prepare(medic: Medic, request: CheckRequest) -> _Run:
    if not requests.REQUEST_ID.fullmatch(request.request_id):
        raise BadRequest("a request_id has letters, digits, '.', '_', ':' and '-', at most 64")
    for pattern in (*request.include, *request.exclude):
        if not PATTERN.fullmatch(pattern):
            raise BadRequest(f"{pattern!r} is no pattern of check ids")
    if len(request.include) + len(request.exclude) > MOST_PATTERNS or len(request.targets) > MOST_TARGETS:
        raise BadRequest(f"more than {MOST_PATTERNS} patterns or {MOST_TARGETS} targets")
    if not all(SERVICE.fullmatch(service) for service in request.services):
        raise BadRequest("a service has a name of letters, digits, '.', '_' and '-', at most 128")
    unknown = set(request.probes) - budgets.PROBE_KILL.keys()
    if unknown:
        raise BadRequest(f"no probe is named {min(unknown)!r}; there are {', '.join(budgets.PROBE_KILL)}")
    if request.probes and not request.include:
        return _Run((), {})
    try:
        rules = registry.select(medic.rules, request.include, request.exclude)
    except registry.UnknownRule as error:
        raise BadRequest(str(error)) from error
    return _Run(rules, {rule.id: _limits(rule, medic.config, request) for rule in rules})


def _limits(rule: Rule, config: Config, request: CheckRequest) -> Limits:
    changed = dict(config.limits.get(rule.id, {}))
    for limit in request.limits:
        if limit.rule == rule.id:
            if limit.name not in {known.name for known in rule.limits}:
                names = ", ".join(known.name for known in rule.limits) or "none"
                raise BadRequest(f"{limit.origin}: {rule.id} has no limit {limit.name!r}; it has {names}")
            # Nothing is over NaN: it would make everything ok.
            if not math.isfinite(limit.value):
                raise BadRequest(f"{rule.id}.{limit.name} is {limit.value}, and must be a number ({limit.origin})")
            changed[limit.name] = (limit.value, limit.origin or "request")
    return Limits(changed)


def _look(medic: Medic, request: CheckRequest, run: _Run, crew: Crew, found: DiscoverySnapshot) -> None:
    """Sends a job to each target that some chosen rule needs; what can't be looked at is kept as a failure."""
    needed = {probe for rule in run.rules for probe in rule.needs} | set(request.probes)
    useful = needed | {probe for rule in run.rules for probe in rule.may_use}
    allowed, refused = refuse_outside(medic.config.probe_allow, request.targets)
    run.services.update(target.service for target in (*found.targets, *request.targets))
    if not any(target.probe == "docker" for target in found.targets):
        _services_here(request, run)
    # Who asks for a service by name need not hear what else is not here.
    absent = [] if request.services else discovery.nothing_here(found, request.targets)
    unseen = (*refused, *found.blind, *absent)
    run.snapshots += [item for item in unseen if item.target.probe in needed and _asked_for(request, item.target)]
    for target in (*found.targets, *allowed):
        if target.probe in useful and _asked_for(request, target):
            crew.add([probes.work(target, medic.config)])


def _services_here(request: CheckRequest, run: _Run) -> None:
    """Called when all has been looked at: which services an engine's containers are, only the engine knows."""
    if request.services and not run.services & set(request.services):
        here = ", ".join(sorted(run.services))
        raise NothingHere(f"no service {', '.join(request.services)} here; there are {here}")


def _asked_for(request: CheckRequest, target: Target) -> bool:
    """What has containers is looked at for any service: it may be one of them."""
    return not request.services or target.service in request.services or target.probe in CONTAINING


def _is_about(request: CheckRequest, run: _Run, item: Finding) -> bool:
    """Whether a finding is about what was asked for.

    Of a service that is a container the engine speaks where all is well; where the engine itself is not, nobody knows
    which services it has.
    """
    if not request.services or item.subject.service in request.services:
        return True
    contained = bool(run.contained & set(request.services))
    return item.subject.kind == "docker" and (item.status in BAD or (contained and item.status == STATUS_OK))


def _judge(medic: Medic, request: CheckRequest, run: _Run, now: float, *, complete: bool) -> list[Finding]:
    """New findings; before the check is complete, only the bad ones."""
    recorder = Recorder(medic.config.state)
    for snapshot in run.snapshots:
        if not snapshot.earlier and probes.counters(snapshot):
            snapshot.earlier.extend(recorder.earlier(snapshot, now, RATE_WINDOW))
    run.contained.update(name for snapshot in run.snapshots for name in docker.services(snapshot.docker))
    run.services |= run.contained
    # What uses more than it needs waits for all there is.
    ready = [rule for rule in run.rules if complete or not rule.may_use]
    made = [item for rule in ready for item in _apply(rule, run, now)]
    told = [item for item in made if _is_about(request, run, item)]
    new = [item for item in told if _key(item) not in run.sent and (complete or item.status in BAD)]
    run.sent.update(_key(item) for item in new)
    recorder.date(made, now, complete=complete)
    if complete:
        recorder.keep([(snapshot, probes.counters(snapshot)) for snapshot in run.snapshots], now)
    return new


def _key(item: Finding) -> tuple[str, str, str, str]:
    return item.id, item.subject.service, item.subject.kind, item.subject.name


def _apply(rule: Rule, run: _Run, now: float) -> list[Finding]:
    answered: dict[str, list[Snapshot]] = {probe: [] for probe in (*rule.needs, *rule.may_use)}
    made: list[Finding] = []
    for snapshot in run.snapshots:
        if snapshot.target.probe not in answered:
            continue
        if snapshot.HasField("failure"):
            made += [_unanswered(rule, run, snapshot)] if snapshot.target.probe in rule.needs else []
        else:
            answered[snapshot.target.probe].append(snapshot)
    seen = Seen(answered, now)
    made += boundary.contain(lambda: list(rule.judge(seen, run.limits[rule.id])), lambda error: [_broken(rule, error)])
    for item in made:
        item.id = rule.id
    return made


def _broken(rule: Rule, error: Exception) -> Finding:
    reason = f"this rule failed: {boundary.where(error)}"
    return Finding(status=STATUS_ERROR, subject=Subject(service="fleetmedic", kind="rule", name=rule.id), reason=reason)


def _unanswered(rule: Rule, run: _Run, snapshot: Snapshot) -> Finding:
    """What a rule says of a target its probe brought nothing from: never ok."""
    failure = snapshot.failure
    target = snapshot.target
    if failure.kind in (FAILURE_KIND_NEEDS_RIGHT, FAILURE_KIND_NOT_LOOKED):
        status, summary = STATUS_SKIPPED, f"skipped: {failure.detail}"
    elif rule.unanswered is not None:
        # A bug of ours, or too little time, says nothing of the target.
        status = STATUS_ERROR if failure.kind in NOT_THE_TARGETS else rule.unanswered
        said = target.name if failure.kind == FAILURE_KIND_GONE else f"could not look at {target.name}:"
        summary = f"{said} {failure.detail}"
    elif owner := registry.owner(run.rules, target.probe):
        status, summary = STATUS_SKIPPED, f"skipped: no {target.probe} snapshot, see {owner.id}"
    else:
        status, summary = STATUS_ERROR, f"could not look at {target.name}: {failure.detail}"
    made = finding(status, target, summary)
    made.reason = failure.detail
    return made


def _answer(
    medic: Medic, request: CheckRequest, sequence: int, received: float | None, findings: Iterable[Finding]
) -> CheckResponse:
    """A message; the first of an answer carries identity and clock, so that no Describe is needed before it."""
    made = CheckResponse(request_id=request.request_id, sequence=sequence, findings=findings)
    for item in made.findings:
        for fact in item.facts:
            made.facts.add(rule=item.id, service=item.subject.service, name=fact.name, value=fact.value)
        item.ClearField("facts")
    if received is not None:
        made.agent.CopyFrom(medic.identity)
        made.clock.CopyFrom(clock(received))
        made.standing.CopyFrom(standing(medic.config))
    return made


def _kept(run: _Run, request: CheckRequest, *, bad: bool) -> list[Snapshot]:
    always = request.snapshots == SNAPSHOT_POLICY_ALWAYS
    return run.snapshots if always or (bad and request.snapshots == SNAPSHOT_POLICY_BAD) else []
