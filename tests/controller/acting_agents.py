"""Agents that plan and apply as a test says: in order, broken off, refusing, lying; over real mutual TLS."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import grpc

from fleetmedic.v1 import agent_pb2_grpc
from fleetmedic.v1.action_pb2 import (
    OPERATION_STATE_DONE,
    OPERATION_STATE_FAILED,
    RISK_LOW,
    Action,
    Approval,
    Effect,
    Operation,
    PauseContainer,
    Plan,
    Risk,
    Step,
)
from fleetmedic.v1.agent_pb2 import (
    ApplyRequest,
    ApplyResponse,
    ApproveRequest,
    ApproveResponse,
    AuditRequest,
    AuditResponse,
    CheckRequest,
    CheckResponse,
    DescribeRequest,
    DescribeResponse,
    EvidenceRequest,
    EvidenceResponse,
    ListOperationsRequest,
    ListOperationsResponse,
    PlanRequest,
    PlanResponse,
    RenewRequest,
    RenewResponse,
    SetDenylistRequest,
    SetDenylistResponse,
    SetFreezeRequest,
    SetFreezeResponse,
    WatchRequest,
    WatchResponse,
)
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_OK, Finding, Subject
from tests.lab.agents import Desk
from tests.lab.waiting import until

METHODS = ("Describe", "Check", "Plan", "Apply", "Watch", "ListOperations", "Approve")
RULE = "DOCKER-PAUSED"


@dataclass
class Acting(agent_pb2_grpc.AgentServiceServicer):
    """One host with one paused container; the fields say how it behaves, and what was done to it."""

    name: str
    paused: bool = True
    cures: bool = True
    fails: bool = False
    needs_approval: bool = False
    risk: "Risk.ValueType" = RISK_LOW
    summary: str = "1 container would be unpaused"
    steps: Sequence[str] = ("one", "two", "three")
    # Why Plan and Apply are refused.
    plan_refused: str = ""
    apply_refused: str = ""
    # How often a stream breaks off, each time after one step more.
    breaks: int = 0
    # Apply's answer is lost so often, although it was carried out.
    loses: int = 0
    # Watch goes on until this is set.
    held: threading.Event | None = None
    lies: Callable[[Plan], None] = field(default=lambda plan: None)
    applies: list[ApplyRequest] = field(default_factory=list)
    watches: list[WatchRequest] = field(default_factory=list)
    effects: int = 0
    plans: dict[str, Plan] = field(default_factory=dict)
    done: dict[str, Operation] = field(default_factory=dict)

    def Describe(self, request: DescribeRequest, context: grpc.ServicerContext) -> DescribeResponse:
        context.send_initial_metadata(())
        return DescribeResponse(methods=METHODS)

    def Check(self, request: CheckRequest, context: grpc.ServicerContext) -> Iterator[CheckResponse]:
        context.send_initial_metadata(())
        subject = Subject(kind="container", name="orders-app")
        bad = Finding(id=RULE, status=STATUS_CRIT, subject=subject, summary="orders-app is paused")
        well = Finding(id=RULE, status=STATUS_OK, summary="no container is paused")
        yield CheckResponse(findings=[bad if self.paused else well], last=True, sequence=1)

    def Plan(self, request: PlanRequest, context: grpc.ServicerContext) -> PlanResponse:
        if self.plan_refused:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, self.plan_refused)
        undoing = request.WhichOneof("asked") == "undo"
        action = self.done[request.undo].undo if undoing else request.action
        made = Plan(action=action, summary=self.summary, risk=self.risk, undoes=request.undo)
        made.subject.CopyFrom(Subject(kind="container", name="orders-app"))
        if undoing or self.paused:
            made.plan_id, made.digest, made.name = f"id-{len(self.plans)}", self.name.encode(), request.name
            does = "pause" if undoing else "unpause"
            made.effects.append(Effect(kind="container", name="orders-app", identity="c0ffee", does=does))
            made.undo = "fleetmedic mitigate undo OPERATION"
            made.verified_by.extend(() if undoing else (RULE,))
            made.equal_commands.append("docker unpause orders-app")
            made.needs_approval = self.needs_approval
            made.expire_time.FromSeconds(int(time.time()) + 300)
            made.settle.FromMilliseconds(100)
            self.plans[made.plan_id] = made
        self.lies(made)
        return PlanResponse(plan=made)

    def Apply(self, request: ApplyRequest, context: grpc.ServicerContext) -> ApplyResponse:
        self.applies.append(request)
        if self.apply_refused:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, self.apply_refused)
        if request.operation_id not in self.done:
            self.effects += 1
            plan = self.plans[request.plan_id]
            self.paused = plan.undoes != "" or (self.paused and not self.cures)
            state = OPERATION_STATE_FAILED if self.fails else OPERATION_STATE_DONE
            made = Operation(operation_id=request.operation_id, plan=plan, state=state, result="unpaused", user="alice")
            made.started_time.GetCurrentTime()
            made.undo.CopyFrom(Action(pause_container=PauseContainer(container="orders-app")))
            self.done[request.operation_id] = made
        if self.loses:
            self.loses -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "the worker is away")
        return ApplyResponse(operation=self.done[request.operation_id])

    def Watch(self, request: WatchRequest, context: grpc.ServicerContext) -> Iterator[WatchResponse]:
        self.watches.append(request)
        left = [(number, text) for number, text in enumerate(self.steps, 1) if number > request.after_sequence]
        for number, text in left:
            yield WatchResponse(steps=[Step(sequence=number, text=text)])
            if self.breaks:
                self.breaks -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "the worker is away")
        while self.held is not None and not self.held.wait(0.05) and context.is_active():
            pass
        yield WatchResponse(operation=self.done[request.operation_id], last=True)

    def ListOperations(self, request: ListOperationsRequest, context: grpc.ServicerContext) -> ListOperationsResponse:
        return ListOperationsResponse(operations=self.done.values())

    def Evidence(self, request: EvidenceRequest, context: grpc.ServicerContext) -> Iterator[EvidenceResponse]:
        yield from _nothing(context)

    def Audit(self, request: AuditRequest, context: grpc.ServicerContext) -> Iterator[AuditResponse]:
        yield from _nothing(context)

    def Renew(self, request: RenewRequest, context: grpc.ServicerContext) -> RenewResponse:
        return _nothing(context)

    def SetDenylist(self, request: SetDenylistRequest, context: grpc.ServicerContext) -> SetDenylistResponse:
        return _nothing(context)

    def SetFreeze(self, request: SetFreezeRequest, context: grpc.ServicerContext) -> SetFreezeResponse:
        return _nothing(context)

    def Approve(self, request: ApproveRequest, context: grpc.ServicerContext) -> ApproveResponse:
        found = [plan for plan in self.plans.values() if plan.name == request.name]
        if not found:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no plan {request.name} waits on this host")
        for plan in found:
            if request.digest == plan.digest:
                plan.approvals.append(Approval(user="bob", approved=request.approved, reason=request.reason))
        return ApproveResponse(plans=found)


def _nothing(context: grpc.ServicerContext) -> NoReturn:
    context.abort(grpc.StatusCode.UNIMPLEMENTED, "these agents act, and do no more")


@dataclass(frozen=True)
class Cast:
    """Acting agents, and the inventory that names them."""

    desk: Desk
    agents: Sequence[Acting]
    inventory: Path


@contextlib.contextmanager
def serving(desk: Desk, *agents: Acting, more: Sequence[str] = ()) -> Iterator[Cast]:
    """Serve each under its own name; `more` are hosts that nobody answers for."""
    rows, servers = [], []
    for each in agents:
        server = grpc.server(ThreadPoolExecutor(16), options=(("grpc.so_reuseport", 0),))
        agent_pb2_grpc.add_AgentServiceServicer_to_server(each, server)
        port = server.add_secure_port("127.0.0.1:0", _credentials(desk, each.name))
        server.start()
        servers.append(server)
        rows.append(f"{each.name} ansible_host=127.0.0.1 fleetmedic_port={port}\n")
    # The discard port, where nobody listens.
    rows += [f"{name} ansible_host=127.0.0.1 fleetmedic_port=9\n" for name in more]
    inventory = desk.folder / f"{agents[0].name}.ini"
    inventory.write_text("".join(rows))
    try:
        yield Cast(desk, agents, inventory)
    finally:
        for each in agents:
            if each.held is not None:
                each.held.set()
        for server in servers:
            server.stop(None).wait(10)


def _credentials(desk: Desk, name: str) -> grpc.ServerCredentials:
    folder = desk.folder / "acting"
    if not (folder / f"{name}.crt").exists():
        issued = desk.run("pki", "issue", "agent", name, "--dir", desk.pki, "--out", folder)
        assert issued.code == 0, issued.err
    pair = ((folder / f"{name}.key").read_bytes(), (folder / f"{name}.crt").read_bytes())
    return grpc.ssl_server_credentials([pair], (desk.pki / "operator-ca.crt").read_bytes(), True)


def until_watched(agent: Acting) -> None:
    until(f"{agent.name} is watched", lambda: bool(agent.watches), seconds=20.0)
