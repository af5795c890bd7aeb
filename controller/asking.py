"""Puts one question to a fleet, or to this machine: from hosts to requests, from answers to reports."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from signal import Signals
from typing import TYPE_CHECKING

from controller import compare, fan_out, fleet
from controller.calling import MARGIN, Bounds
from controller.endings import State
from controller.fan_out import Interrupted
from controller.host_report import HostReport, judged
from controller.inventory import connection, requests
from controller.inventory.connection import Endpoint
from controller.inventory.graph import Host
from controller.inventory.services import described
from controller.transport import stdio
from controller.transport.mtls import Identity
from fleetmedic.v1.agent_pb2 import (
    SNAPSHOT_POLICY_ALWAYS,
    SNAPSHOT_POLICY_BAD,
    CheckRequest,
    CheckResponse,
    DescribeRequest,
    DescribeResponse,
)
from fleetmedic.v1.local_pb2 import REFUSAL_KIND_INVALID, REFUSAL_KIND_NOT_FOUND, Caller, LocalRequest, Refusal

if TYPE_CHECKING:
    from controller.visiting import Visits

Watch = Callable[[HostReport], None]
NOTHING = "it answered, but with nothing of what was asked"


@dataclass(frozen=True, slots=True)
class Question:
    """Which checks, at which services; with `probes`, what those see and no judgement."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """A report for each host that was chosen, in their order.

    `signal` is the first one that came; after it not all of them may have been asked.
    """

    reports: tuple[HostReport, ...]
    signal: Signals | None = None


def check_fleet(
    hosts: Sequence[Host],
    question: Question,
    identity: Identity,
    bounds: Bounds,
    watch: Watch,
    interrupted: Interrupted,
) -> Answers:
    """`watch` sees each report as it comes in, before they are compared, and one that is late once more.

    A host that the inventory marks as without an agent is not dialled, and is skipped.
    """
    asked = requests_for([host for host in hosts if connection.has_agent(host)], question, bounds)
    without = {host.name: connection.AGENTLESS for host in hosts if not connection.has_agent(host)}
    return _collected(
        hosts, question, without, lambda note: fleet.check(asked, identity, bounds, note), watch, interrupted
    )


def check_over_ssh(
    hosts: Sequence[Host],
    question: Question,
    visits: "Visits",
    bounds: Bounds,
    watch: Watch,
    interrupted: Interrupted,
) -> Answers:
    """As check_fleet, without asking the hosts' own agents. Hosts that SSH does not lead to are skipped."""
    from controller import visiting  # noqa: PLC0415 - paramiko costs every other check 150 ms

    asked = requests_for([host for host in hosts if connection.has_ssh(host)], question, bounds)
    without = {host.name: connection.SSHLESS for host in hosts if not connection.has_ssh(host)}
    return _collected(
        hosts, question, without, lambda note: visiting.check(asked, visits, bounds, note), watch, interrupted
    )


def _collected(
    hosts: Sequence[Host],
    question: Question,
    without: Mapping[str, str],
    ask: Callable[[Interrupted], AsyncIterator[HostReport]],
    watch: Watch,
    interrupted: Interrupted,
) -> Answers:
    """`without` are those that are not asked, and why."""
    reports = {name: HostReport(name, State.SKIPPED, why, 0.0, CheckResponse()) for name, why in without.items()}
    linked = {host.name: found for host in hosts if (found := described.links(host))}
    heard: list[Signals] = []

    def note(number: Signals, waiting: int) -> None:
        heard.append(number)
        interrupted(number, waiting)

    async def collect() -> None:
        for skipped in tuple(reports.values()):
            watch(skipped)
        async for report in ask(note):
            report = _unless_empty(report, question)
            if report.host in linked:
                report = replace(report, links=linked[report.host])
            reports[report.host] = report
            watch(report)

    fan_out.run(collect())
    return Answers(compare.with_odd_ones_out([reports[host.name] for host in hosts]), heard[0] if heard else None)


def _unless_empty(report: HostReport, question: Question) -> HostReport:
    """An answer with nothing of what was asked for is no good news: an agent says why there is nothing."""
    answer = report.answer
    seen = [snapshot for snapshot in answer.snapshots if snapshot.target.probe in question.probes]
    if report.state != State.OK or (seen if question.probes else answer.findings):
        return report
    return replace(report, state=State.FAILED, cause=NOTHING)


def requests_for(hosts: Sequence[Host], question: Question, bounds: Bounds) -> Mapping[Endpoint, bytes]:
    """Hosts of which the inventory asks nothing of their own share one serialized request."""
    # An agent that knows the host's own deadline answers within it, and says what it had no time for.
    plain = _request(question, bounds.for_one)
    shared = plain.SerializeToString()
    made = {}
    for host in hosts:
        targets, limits = requests.targets(host), requests.limits(host)
        if targets or limits:
            own = CheckRequest()
            own.CopyFrom(plain)
            own.targets.extend(targets)
            own.limits.extend(limits)
            made[connection.endpoint(host)] = own.SerializeToString()
        else:
            made[connection.endpoint(host)] = shared
    return made


def _request(question: Question, deadline: float) -> CheckRequest:
    made = CheckRequest(
        include=question.include,
        exclude=question.exclude,
        services=question.services,
        probes=question.probes,
        snapshots=SNAPSHOT_POLICY_ALWAYS if question.probes else SNAPSHOT_POLICY_BAD,
    )
    made.budget.FromMilliseconds(int(1000 * (deadline - MARGIN)))
    return made


def check_here(question: Question, name: str, deadline: float, watch: Watch) -> Answers:
    """The one report of this machine, by an agent process of its own."""
    report = _unless_empty(asyncio.run(_check_here(question, name, deadline)), question)
    watch(report)
    # Containers of one service may differ on one host too.
    return Answers(compare.with_odd_ones_out([report]))


async def _check_here(question: Question, name: str, deadline: float) -> HostReport:
    began = time.monotonic()
    answer = CheckResponse()
    messages = 0

    def report(state: State, cause: str, *, refused: bool = False) -> HostReport:
        return HostReport(name, state, cause, time.monotonic() - began, answer, None, messages, refused)

    request = LocalRequest(caller=Caller(role="observer"), check=_request(question, deadline))
    try:
        async with aclosing(stdio.ask(request, deadline)) as frames:
            async for frame in frames:
                if frame.HasField("refusal"):
                    return _refused(report, frame.refusal)
                messages += 1
                answer.MergeFrom(frame.check)
    except stdio.NoAgent as error:
        return report(State.UNREACHABLE, str(error))
    return (
        report(judged(answer.findings), "") if answer.last else report(State.FAILED, "the agent broke its answer off")
    )


def _refused(report: Callable[..., HostReport], refusal: Refusal) -> HostReport:
    if refusal.kind == REFUSAL_KIND_NOT_FOUND:
        return report(State.SKIPPED, refusal.reason)
    return report(State.FAILED, refusal.reason, refused=refusal.kind == REFUSAL_KIND_INVALID)


def describe_here(deadline: float) -> DescribeResponse:
    """What the agent of this machine says of itself. NoAgent where there is none."""

    async def ask() -> DescribeResponse:
        request = LocalRequest(describe=DescribeRequest(), caller=Caller(role="observer"))
        async with aclosing(stdio.ask(request, deadline)) as frames:
            async for frame in frames:
                if frame.HasField("refusal"):
                    raise stdio.NoAgent(frame.refusal.reason)
                return frame.describe
        raise stdio.NoAgent("the agent on this machine ended without an answer")

    return asyncio.run(ask())
