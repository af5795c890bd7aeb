"""What the actions on containers share: which one is meant, the plan, the one call, and the wait until it is well.

To look is Engine's, which sends nothing but GET; the SDK makes the one call that changes something.
"""

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.client import NOT_FOUND
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException

from agent import budgets, observing, redact
from agent.action import Failed, Hand, effect, not_allowed, not_here, not_now
from agent.actions import container_evidence
from agent.check import Medic
from agent.config import CONTAINER
from agent.discovery import DOCKER_SOCKET, service_name
from agent.engine import Engine, EngineError
from agent.rule import age
from fleetmedic.v1.action_pb2 import Plan
from fleetmedic.v1.finding_pb2 import Subject

# For the engine's answer, in seconds; what the container itself may take to stop comes on top.
CALL = 30.0
# A container that may take longer to stop is a person's to restart.
LONGEST_STOP = 120.0
USUAL_STOP = 10
# Until it is well: by its health check's own settings, and at most so many seconds.
LONGEST_WAIT = 120.0
MARGIN = 5.0
# One without a check is well when it has run for so long.
STEADY = 2.0
WITHOUT_CHECK = 15.0
LOOK = 0.1
# What Docker takes where a check does not say.
INTERVAL, RETRIES = 30.0, 3
ENDED = frozenset({"created", "exited", "dead"})
LONGEST_WORD = 200
UNREAD = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Seen:
    """A container as its engine told of it; `about` is its inspection.

    `others` counts the engine's other containers, `sharing` are those of them that live in its network.
    """

    engine: Engine
    about: Mapping[str, Any]
    others: int = 0
    sharing: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return str(self.about["Id"])

    @property
    def name(self) -> str:
        return str(self.about["Name"]).lstrip("/")

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.about.get("Config") or {}

    @property
    def host(self) -> Mapping[str, Any]:
        return self.about.get("HostConfig") or {}

    @property
    def standing(self) -> Mapping[str, Any]:
        return self.about.get("State") or {}

    @property
    def state(self) -> str:
        return str(self.standing.get("Status", ""))

    @property
    def started(self) -> str:
        return str(self.standing.get("StartedAt", ""))

    @property
    def health(self) -> str:
        """Empty where it has no check."""
        said = str((self.standing.get("Health") or {}).get("Status", ""))
        return "" if said == "none" else said

    @property
    def passing(self) -> bool:
        """Whether the engine removes it as soon as it ends (--rm)."""
        return self.host.get("AutoRemove") is True

    @property
    def stop_seconds(self) -> int:
        """What it has to stop in before it is killed; below 0 for as long as it likes."""
        said = self.settings.get("StopTimeout")
        return said if isinstance(said, int) else USUAL_STOP

    @property
    def service(self) -> str:
        return service_name({"Labels": self.settings.get("Labels"), "Names": [self.name]})

    @property
    def docker(self) -> str:
        """The beginning of a command at its engine."""
        usual = self.engine.socket_path.removeprefix("/var") == DOCKER_SOCKET.removeprefix("/var")
        return "docker" if usual else f"docker -H {shlex.quote(f'unix://{self.engine.socket_path}')}"

    def again(self) -> "Seen":
        """As it is now. EngineError, OSError."""
        return replace(self, about=self.engine.inspect(self.id))


def named(name: str, medic: Medic, identity: str = "") -> Seen:
    """The container of that very name, and id where one is given. Refused where none is here, or may be acted on."""
    if not CONTAINER.fullmatch(name):
        raise not_here(f"{name[:60]!r} is no container's name")
    if not medic.config.actions.container(name):
        raise not_allowed(f'agent.toml of this host does not permit it: [actions] containers = ["{name}"]')
    engine = _engine(medic)
    with _answering(engine):
        rows = engine.containers()
        row = next((row for row in rows if name in _names(row)), None)
        if row is None:
            raise not_here(
                f"no container {name} here; of those that are, these are permitted: {_permitted(rows, medic)}"
            )
        if identity not in ("", row["Id"]):
            raise not_now(f"{name} is another container by now; the one that is meant is gone, or has another name")
        about = engine.inspect(str(row["Id"]))
    return Seen(engine, about, len(rows) - 1, _sharing(name, str(row["Id"]), rows))


def of(plan: Plan, medic: Medic) -> Seen:
    """The container of a plan that was made, by its id. Refused."""
    engine = _engine(medic)
    identity = bound_id(plan)
    try:
        with _answering(engine):
            return Seen(engine, engine.inspect(identity))
    except EngineError as error:
        raise not_here(f"{plan.subject.name} is gone, or is another container") from error


def bound_id(plan: Plan) -> str:
    return plan.effects[0].identity.partition(" ")[0]


def _engine(medic: Medic) -> Engine:
    found = observing.targets(medic, "docker")
    if not found:
        raise not_here("no Docker engine here")
    if len(found) > 1:
        here = ", ".join(target.socket for target in found)
        raise not_here(f"more than one Docker engine here ({here}): agent.toml names the one: [docker] socket")
    return Engine(found[0].socket, budgets.DOCKER_SOCKET)


@contextmanager
def _answering(engine: Engine) -> Iterator[None]:
    """Refused where the engine can't be asked; that it does not know a container stays an EngineError."""
    try:
        yield
    except PermissionError as error:
        raise not_allowed(f"the agent needs root, or the docker group, for {engine.socket_path}") from error
    except TimeoutError as error:
        raise not_now(f"{engine.socket_path}: no answer in {engine.timeout:g} s") from error
    except (EngineError, OSError) as error:
        if isinstance(error, EngineError) and error.status == NOT_FOUND:
            raise
        raise not_now(f"{engine.socket_path}: {error}") from error


def _names(row: Mapping[str, Any]) -> list[str]:
    """Its own names: those of its links are /other/alias."""
    return [str(name).removeprefix("/") for name in row.get("Names") or [] if str(name).count("/") == 1]


def _permitted(rows: list[dict[str, object]], medic: Medic) -> str:
    found = sorted(name for row in rows for name in _names(row) if medic.config.actions.container(name))
    return ", ".join(found) or "none"


def _sharing(name: str, identity: str, rows: list[dict[str, Any]]) -> tuple[str, ...]:
    theirs = {f"container:{name}", f"container:{identity}"}
    return tuple(
        other for row in rows if (row.get("HostConfig") or {}).get("NetworkMode") in theirs for other in _names(row)
    )


# The plan.


def bound(seen: Seen, does: str) -> str:
    """What an effect is bound to: neither to restart the same start twice, nor to act on another state, was meant."""
    return f"{seen.id} started {seen.started}" if does == "restart" else f"{seen.id} {seen.state}"


def nothing(seen: Seen, why: str) -> Plan:
    return Plan(subject=_subject(seen), summary=why)


def draft(seen: Seen, does: str) -> Plan:
    """A plan with what is the same for every action on a container."""
    made = Plan(subject=_subject(seen), summary=f"{seen.name} {told(seen)}")
    made.effects.append(effect("container", seen.name, bound(seen, does), does))
    made.kept.extend(("its volumes, its settings and its image", f"{seen.others} other containers of this host"))
    made.evidence.extend(container_evidence.names(seen.state))
    made.steps.append(f"keep {', '.join(made.evidence)}")
    made.equal_commands.append(f"{seen.docker} inspect {seen.name} > inspect.json")
    made.equal_commands.append(f"{seen.docker} logs --timestamps --tail {container_evidence.LINES} {seen.name}")
    return made


def _subject(seen: Seen) -> Subject:
    return Subject(service=seen.service, kind="container", name=seen.name)


def told(seen: Seen) -> str:
    """How it is, as the rest of a sentence about it."""
    said = f"is {seen.state}"
    if seen.state == "exited":
        said += f" with code {seen.standing.get('ExitCode', 0)}"
    since = seen.started if seen.state == "running" else str(seen.standing.get("FinishedAt", ""))
    if seen.state in ("running", "exited") and (moment := instant(since)).year > 1:
        said += f" for {age(max(0.0, time.time() - moment.timestamp()))}"
    if seen.health and seen.state == "running":
        said += f", {seen.health}"
        streak = (seen.standing.get("Health") or {}).get("FailingStreak", 0)
        said += f" ({streak} failures in a row)" if streak else ""
    restarts = seen.about.get("RestartCount", 0)
    return f"{said}, restarted {restarts} times by its engine" if restarts else said


def instant(text: str) -> datetime:
    """The engine's stamps, in whatever zone they are: StartedAt is in UTC, a health check's in the daemon's own."""
    with suppress(ValueError):
        made = datetime.fromisoformat(text)
        return made if made.tzinfo else made.replace(tzinfo=UTC)
    return UNREAD


# What is done.


def act(plan: Plan, hand: Hand, medic: Medic, does: Callable[[docker.APIClient, Seen], None]) -> Seen:
    """Keeps the evidence, and makes the one call, of a container that is as it was planned; as it was before.

    Refused where nothing was changed, Failed where that can't be said.
    """
    seen = of(plan, medic)
    kept = container_evidence.keep(seen.engine, seen.about, hand, medic.config.secrets())
    hand.step(f"kept {', '.join(kept)}")
    client = _client(seen)
    seen = _unmoved(seen, plan)
    hand.at("effect sent")
    try:
        does(client, seen)
    except APIError as error:
        raise Failed(f"the engine refused: {_said(error)}; {_now(seen)}") from error
    except (DockerException, requests.RequestException) as error:
        raise Failed(f"the engine was asked, and gave no answer ({type(error).__name__}); {_now(seen)}") from error
    finally:
        client.close()
    hand.at("effect done")
    return seen


def _client(seen: Seen) -> docker.APIClient:
    """Refused."""
    try:
        client = docker.APIClient(base_url=f"unix://{seen.engine.socket_path}", timeout=int(CALL))
    except (DockerException, requests.RequestException) as error:
        raise not_now(f"nothing was done: {seen.engine.socket_path}: {type(error).__name__}") from error
    # No proxy of the environment's: it is a socket of this host.
    client.trust_env = False
    return client


def _unmoved(seen: Seen, plan: Plan) -> Seen:
    """As it is now. Refused where it is not as planned: to keep evidence took its time."""
    try:
        with _answering(seen.engine):
            now = seen.again()
    except EngineError as error:
        raise not_now(f"nothing was done: {seen.name} is gone") from error
    planned = plan.effects[0]
    if bound(now, planned.does) != planned.identity:
        raise not_now(f"nothing was done: meanwhile {seen.name} {told(now)}, and was not so when it was planned")
    return now


def _said(error: APIError) -> str:
    return redact.text(str(error.explanation or error))[:LONGEST_WORD]


def _now(seen: Seen) -> str:
    try:
        return f"{seen.name} {told(seen.again())}"
    except (EngineError, OSError) as error:
        return f"how it is now can't be seen ({type(error).__name__})"


# The wait.


def until_state(before: Seen, wanted: str, did: str) -> str:
    """Waits until it is so. Failed."""
    end = time.monotonic() + CALL
    while (now := _looked(before, did)) is None or now.state != wanted:
        if time.monotonic() > end:
            raise Failed(f"{did}, but {_now(before)}; nothing was tried again")
        time.sleep(LOOK)
    return f"{did}: it {told(now)}"


def until_well(before: Seen, hand: Hand, did: str) -> str:
    """Waits until it runs anew, and is healthy where it has a check. Failed; nothing is tried again."""
    began, first = time.monotonic(), ""
    hand.step(f"{did}; waits for up to {patience(before):.0f} s until it is well")
    while True:
        now = _looked(before, did)
        if now is not None:
            first = first or now.started
            if trouble := _trouble(now, first):
                raise Failed(f"{did}, but {trouble}; nothing was tried again")
            if _well(now, before, time.monotonic() - began):
                return f"{did}: it {told(now)}"
        if time.monotonic() > began + patience(before):
            raise Failed(f"{did}, but after {patience(before):.0f} s {_now(before)}; nothing was tried again")
        time.sleep(LOOK)


def _looked(before: Seen, did: str) -> Seen | None:
    """None where the engine is silent: it is asked again. Failed where the container is gone."""
    try:
        return before.again()
    except EngineError as error:
        if error.status == NOT_FOUND:
            raise Failed(f"{did}, and then removed by somebody else") from error
    except OSError:
        pass
    return None


def _trouble(now: Seen, first: str) -> str:
    """Why it will not become well by waiting; "" where it may."""
    code = now.standing.get("ExitCode", 0)
    if now.state in ENDED or now.state == "removing":
        return f"it ended with code {code}"
    if now.state == "restarting" or now.started != first:
        return "it ended, and its engine starts it over and over"
    if now.state == "paused":
        return "somebody paused it"
    checks = fresh_checks(now)
    if now.health == "unhealthy" and checks:
        return f"it is unhealthy: its check says {checks[-1].get('Output', '').strip()[:LONGEST_WORD] or 'nothing'}"
    return ""


def _well(now: Seen, before: Seen, waited: float) -> bool:
    if now.state != "running" or instant(now.started) <= instant(before.started):
        return False
    if not now.health:
        return waited >= STEADY
    return now.health == "healthy" and bool(fresh_checks(now))


def fresh_checks(seen: Seen) -> list[Mapping[str, Any]]:
    """Health checks that began after it was started: Docker keeps those from before (checks.md D15)."""
    log = (seen.standing.get("Health") or {}).get("Log") or []
    return [entry for entry in log if instant(str(entry.get("Start", ""))) >= instant(seen.started)]


def patience(seen: Seen) -> float:
    """In seconds: what its check may take to call it healthy or not."""
    if not seen.health:
        return WITHOUT_CHECK
    check = seen.settings.get("Healthcheck") or {}
    start, interval, timeout = ((check.get(name) or 0) / 1e9 for name in ("StartPeriod", "Interval", "Timeout"))
    tried = (check.get("Retries") or RETRIES) * (interval or INTERVAL)
    return float(min(LONGEST_WAIT, start + tried + timeout + MARGIN))


def happened(plan: Plan, medic: Medic) -> str:
    """How the container of a plan is, beside how it was when it was planned."""
    does, name, identity = plan.effects[0].does, plan.subject.name, plan.effects[0].identity
    seen = of(plan, medic)
    if bound(seen, does) == identity:
        # It goes on by itself with what it was asked for.
        return f"{name} {told(seen)}, as when it was planned; its engine may still be at it"
    if does == "restart":
        return f"{name} was restarted at {seen.started}, and {told(seen)}"
    return f"{name} {told(seen)}, and was {identity.partition(' ')[2]} when it was planned"
