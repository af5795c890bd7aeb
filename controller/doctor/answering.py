"""Role, version and clock of an agent that was reached, from what it says of itself."""

import re

import grpc

from controller import VERSION
from controller.causes import NO_ANSWER
from controller.describing import Described
from controller.doctor.ours import Ours
from controller.doctor.reaching import CLOCK_LIMIT, CLOCK_MEND
from controller.doctor.steps import Diagnosis, Fault, Passed, Step
from controller.endings import State
from controller.inventory.connection import Endpoint
from controller.transport import mtls
from fleetmedic.v1.agent_pb2 import DescribeResponse
from fleetmedic.v1.policy_pb2 import Role

# What commands of ours call; an agent without one of them is too old for us.
CALLED = (mtls.DESCRIBE, mtls.CHECK, mtls.RENEW, mtls.SET_DENYLIST, mtls.SET_FREEZE)
ROLES = tuple(name.removeprefix("ROLE_").lower() for name in Role.keys()[1:])  # noqa: SIM118 - an enum's wrapper
RELEASE = re.compile(r"(\d{1,6})\.(\d{1,6})")
INSTALL = "`fleetmedic agent install {host}` puts this version there"
LOGIN = "`fleetmedic login` gets a certificate with the role that your SSH key stands for"


def judged(reached: Diagnosis, said: Described, endpoint: Endpoint, ours: Ours, needed: str) -> Diagnosis:
    """With the steps that an answer holds, or the fault that there is none; `needed` is a role's name."""
    answer = said.answer
    if answer is None:
        return Diagnosis(reached.host, reached.passed, _unanswered(said, ours))
    steps = (_role(answer, ours, needed), _version(answer), _clock(said))
    passed = list(reached.passed)
    for step in steps:
        if isinstance(step, Fault):
            return Diagnosis(reached.host, tuple(passed), step, notes(answer))
        passed.append(step)
    return Diagnosis(endpoint.name, tuple(passed), None, notes(answer))


def notes(answer: DescribeResponse) -> tuple[str, ...]:
    """What an agent that answers says of itself, and should not have to."""
    standing = answer.standing
    made = [f"its worker is away: {answer.worker_error}"] if answer.worker_error else []
    if standing.HasField("freeze"):
        made.append(f"it is frozen by {standing.freeze.user or '?'}: {standing.freeze.reason or 'no reason given'}")
    return (*made, *(f"alarm: {alarm}" for alarm in standing.alarms))


def skew(version: str) -> str:
    """older or newer than this fleetmedic, by release; other where that can't be told, and nothing for the same."""
    theirs, own = RELEASE.match(version), RELEASE.match(VERSION)
    if theirs is None or own is None:
        return "other"
    there, here = (tuple(map(int, found.groups())) for found in (theirs, own))
    return "" if there == here else "older" if there < here else "newer"


def _unanswered(said: Described, ours: Ours) -> Fault:
    if said.code == grpc.StatusCode.UNAUTHENTICATED:
        return Fault(
            Step.IDENTITY,
            f"it lets {ours.user} in no more: {said.cause}",
            "get a new certificate: `fleetmedic login`; one that was revoked says so in `fleetmedic pki list`",
        )
    if said.code == grpc.StatusCode.PERMISSION_DENIED:
        return Fault(Step.ROLE, said.cause, LOGIN)
    if said.code == grpc.StatusCode.UNIMPLEMENTED or said.cause == NO_ANSWER:
        return Fault(Step.VERSION, f"it does not know this fleetmedic's question: {said.cause}", INSTALL)
    late = "" if said.state in (State.FAILED, State.TIMEOUT) else "it lets us in, and then: "
    return Fault(
        Step.ANSWER,
        f"{late}{said.cause}",
        "an agent that is overloaded or stuck: systemctl restart fleetmedic-agent-serve there",
    )


def _role(answer: DescribeResponse, ours: Ours, needed: str) -> Passed | Fault:
    evidence = f"you are {ours.user}, {answer.role or 'of no role'}, there"
    given = ROLES.index(answer.role) if answer.role in ROLES else -1
    if given < ROLES.index(ours.role):
        mend = f"its agent.toml lets {ours.user} do less, under [roles]: whoever owns the host may change that"
        return Fault(Step.ROLE, f"{evidence}, and by your certificate {ours.role}", mend)
    if given < ROLES.index(needed):
        return Fault(Step.ROLE, f"{evidence}, and {needed} is needed", LOGIN)
    return Passed(Step.ROLE, evidence)


def _version(answer: DescribeResponse) -> Passed | Fault:
    version = answer.agent.version
    said = f"agent {version[:100] or 'without a version'}"
    apart = skew(version)
    if apart == "newer":
        mend = "upgrade this fleetmedic: an older one does not understand all that a newer agent says"
        return Fault(Step.VERSION, f"{said} is newer than this fleetmedic, {VERSION}", mend)
    if apart:
        return Fault(Step.VERSION, f"{said} is {apart} than this fleetmedic, {VERSION}", INSTALL)
    lacking = [name for path in CALLED if (name := path.rpartition("/")[2]) not in answer.methods]
    if lacking:
        return Fault(Step.VERSION, f"{said} does not know {', '.join(lacking)}, which this fleetmedic calls", INSTALL)
    return Passed(Step.VERSION, said)


def _clock(said: Described) -> Passed | Fault:
    evidence = f"its clock is {said.clock_offset:+z.1f}s off ours"
    if abs(said.clock_offset) - said.clock_error > CLOCK_LIMIT.total_seconds():
        apart = f"{evidence}, more than {CLOCK_LIMIT.total_seconds():g}s"
        return Fault(Step.CLOCK, f"{apart}: times and certificates are judged by it", CLOCK_MEND)
    return Passed(Step.CLOCK, f"{evidence} (within {max(0.001, abs(said.clock_error)):.3f}s)")
