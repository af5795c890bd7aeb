"""The methods of this build: what the worker is asked, what the front does itself, and how the agent stands."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Lock

import grpc

from agent import budgets, own_certificate
from agent.denylist import Denylist, DenylistError, OlderList
from agent.front import worker
from agent.front.callers import Denied, Peer
from agent.front.files import Held
from agent.front.slots import Full, Slots
from agent.front.unkept import Unkept
from agent.front.worker import Ask, WorkerAway
from agent.identity import clock
from agent.own_certificate import NothingPendingError, OwnCertificateError
from agent.rule import seconds
from fleetmedic.v1 import agent_pb2_grpc
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
    Identity,
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
from fleetmedic.v1.local_pb2 import (
    REFUSAL_KIND_BUSY,
    REFUSAL_KIND_FAILED_PRECONDITION,
    REFUSAL_KIND_INVALID,
    REFUSAL_KIND_NOT_FOUND,
    REFUSAL_KIND_NOT_PERMITTED,
    LocalRequest,
    LocalResponse,
    Refusal,
)

IMPLEMENTED = (
    "Describe",
    "Check",
    "Plan",
    "Apply",
    "Watch",
    "ListOperations",
    "Approve",
    "Evidence",
    "Renew",
    "SetDenylist",
    "SetFreeze",
    "Audit",
)
DESCRIBE_WORKER = 3.0
Whose = Callable[[grpc.ServicerContext], Peer]
# Whether the caller still waits; raises Denied where it may call no more.
Waiting = Callable[[grpc.ServicerContext], bool]

CODES = {
    REFUSAL_KIND_BUSY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    REFUSAL_KIND_FAILED_PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    REFUSAL_KIND_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    REFUSAL_KIND_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    REFUSAL_KIND_NOT_PERMITTED: grpc.StatusCode.PERMISSION_DENIED,
}


class AgentService(agent_pb2_grpc.AgentServiceServicer):
    """`ask` brings a request to the worker; `whose` and `waiting` are the gate's; `clock` gives epoch seconds."""

    def __init__(
        self,
        own: Identity,
        ask: Ask,
        whose: Whose,
        waiting: Waiting,
        held: Held,
        unkept: Unkept,
        clock: Callable[[], float],
    ) -> None:
        self._identity = own
        self._ask = ask
        self._whose = whose
        self._waiting = waiting
        self._held = held
        self._unkept = unkept
        self._clock = clock
        self._slots = Slots()
        self._renewing = Lock()

    def Describe(self, request: DescribeRequest, context: grpc.ServicerContext) -> DescribeResponse:
        received = self._clock()
        context.send_initial_metadata(())
        made = DescribeResponse(kernel=os.uname().release)
        peer = self._whose(context)
        try:
            for answer in self._ask(
                LocalRequest(describe=request, caller=peer.caller()), DESCRIBE_WORKER, lambda: self._waiting(context)
            ):
                made.CopyFrom(answer.describe)
                made.worker_error = answer.refusal.reason
        except WorkerAway as error:
            made.worker_error = str(error)
        made.agent.CopyFrom(self._identity)
        made.methods.extend(IMPLEMENTED)
        made.role = peer.role.name.lower()
        made.clock.CopyFrom(clock(received))
        self._held.complete(made.standing)
        return made

    def Check(self, request: CheckRequest, context: grpc.ServicerContext) -> Iterator[CheckResponse]:
        received = self._clock()
        # At once: a caller learns from it that the set-up is over and the looking begins.
        context.send_initial_metadata(())
        left = _left(context)
        request.budget.FromNanoseconds(int(1e9 * min(max(seconds(request.budget), -1.0) or left, left)))
        for answer in self._streamed(LocalRequest(check=request), context, left + 1):
            yield self._stamped(answer.check, received)

    def Audit(self, request: AuditRequest, context: grpc.ServicerContext) -> Iterator[AuditResponse]:
        for answer in self._streamed(LocalRequest(audit=request), context, _left(context) + 1):
            yield answer.audit

    def Plan(self, request: PlanRequest, context: grpc.ServicerContext) -> PlanResponse:
        made = self._answered(LocalRequest(plan=request), context).plan
        made.agent.CopyFrom(self._identity)
        self._held.complete(made.standing)
        return made

    def Apply(self, request: ApplyRequest, context: grpc.ServicerContext) -> ApplyResponse:
        made = self._changed(LocalRequest(apply=request), context, budgets.OPERATION).apply
        self._held.complete(made.standing)
        return made

    def Watch(self, request: WatchRequest, context: grpc.ServicerContext) -> Iterator[WatchResponse]:
        for answer in self._streamed(LocalRequest(watch=request), context, _left(context) + 1):
            yield answer.watch

    def ListOperations(self, request: ListOperationsRequest, context: grpc.ServicerContext) -> ListOperationsResponse:
        made = self._answered(LocalRequest(list_operations=request), context).list_operations
        self._held.complete(made.standing)
        return made

    def Approve(self, request: ApproveRequest, context: grpc.ServicerContext) -> ApproveResponse:
        made = self._changed(LocalRequest(approve=request), context).approve
        self._held.complete(made.standing)
        return made

    def Evidence(self, request: EvidenceRequest, context: grpc.ServicerContext) -> Iterator[EvidenceResponse]:
        for answer in self._streamed(LocalRequest(evidence=request), context, _left(context) + 1):
            yield answer.evidence

    def SetDenylist(self, request: SetDenylistRequest, context: grpc.ServicerContext) -> SetDenylistResponse:
        peer = self._whose(context)
        try:
            offered = self._held.checked(request.signed_list)
        except OlderList as error:
            raise Denied(grpc.StatusCode.FAILED_PRECONDITION, f"the denylist {error}", peer) from error
        except DenylistError as error:
            raise Denied(grpc.StatusCode.INVALID_ARGUMENT, f"the denylist {error}", peer) from error
        change = LocalRequest(set_denylist=request)
        try:
            answer = self._told(change, peer)
            _need_time(answer.refusal)
        except WorkerAway as error:
            # Whoever is denied may be the one who keeps the worker away.
            self._take(offered)
            self._unkept.add(offered, change)
            self._held.look(anew=True)
            said = f"{error}; the denylist counts, and is not kept: push it again"
            context.abort(grpc.StatusCode.UNAVAILABLE, said)
        _pass_on_refusal(answer.refusal if answer.HasField("refusal") else None, context)
        self._take(offered)
        self._unkept.kept(offered)
        made = answer.set_denylist
        self._held.complete(made.standing)
        return made

    def _take(self, offered: Denylist) -> None:
        # Where a newer one came while this one was being written, that one counts.
        with suppress(OlderList):
            self._held.take(offered)

    def SetFreeze(self, request: SetFreezeRequest, context: grpc.ServicerContext) -> SetFreezeResponse:
        made = self._changed(LocalRequest(set_freeze=request), context).set_freeze
        self._held.complete(made.standing)
        return made

    def Renew(self, request: RenewRequest, context: grpc.ServicerContext) -> RenewResponse:
        """The guard records it, and says in the answer how the agent then stands."""
        with self._renewing:
            try:
                made = self._renew(request.certificate_chain, context)
            except NothingPendingError as error:
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
            except OwnCertificateError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            except OSError as error:
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{error.filename}: {error.strerror}")
        return made

    def _renew(self, chain: bytes, context: grpc.ServicerContext) -> RenewResponse:
        held = self._held
        if not chain:
            made = own_certificate.request(held.tls, held.name)
            context.set_details("a new key waits for its certificate")
            return RenewResponse(certificate_request=made)
        own_certificate.accept(held.tls, chain, held.name, held.utc(), renews=True)
        held.look(anew=True)
        context.set_details("a new certificate is in place")
        return RenewResponse()

    def _answered(self, request: LocalRequest, context: grpc.ServicerContext) -> LocalResponse:
        """The one answer to what only looks."""
        (answer,) = self._streamed(request, context, min(_left(context), budgets.OPERATION))
        return answer

    def _changed(
        self, request: LocalRequest, context: grpc.ServicerContext, patience: float = worker.CHANGE
    ) -> LocalResponse:
        with _worker(context):
            answer = self._told(request, self._whose(context), patience)
        _pass_on_refusal(answer.refusal if answer.HasField("refusal") else None, context)
        return answer

    def _told(self, request: LocalRequest, peer: Peer, patience: float = worker.CHANGE) -> LocalResponse:
        request.caller.CopyFrom(peer.caller())
        return worker.told(self._ask, request, patience)

    def _streamed(
        self, request: LocalRequest, context: grpc.ServicerContext, patience: float
    ) -> Iterator[LocalResponse]:
        request.caller.CopyFrom(self._whose(context).caller())
        with ExitStack() as slot:
            try:
                slot.enter_context(self._slots.held(request.caller.user))
            except Full as error:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
            with _worker(context):
                for answer in self._ask(request, patience, lambda: self._waiting(context)):
                    _pass_on_refusal(answer.refusal if answer.HasField("refusal") else None, context)
                    yield answer

    def _stamped(self, answer: CheckResponse, received: float) -> CheckResponse:
        """The front's identity and clock: it is the front that the caller's stamps are about."""
        if answer.HasField("agent"):
            answer.agent.CopyFrom(self._identity)
            answer.clock.CopyFrom(clock(received))
            self._held.complete(answer.standing)
        elif answer.HasField("clock"):
            answer.clock.answered_time.GetCurrentTime()
        return answer


def _left(context: grpc.ServicerContext) -> float:
    return min(context.time_remaining() or budgets.CHECK, budgets.LONGEST_CALL)


@contextmanager
def _worker(context: grpc.ServicerContext) -> Iterator[None]:
    try:
        yield
    except WorkerAway as error:
        context.abort(grpc.StatusCode.UNAVAILABLE, str(error))


def _need_time(refusal: Refusal) -> None:
    """WorkerAway where it has none, too."""
    if refusal.kind == REFUSAL_KIND_BUSY:
        raise WorkerAway(refusal.reason)


def _pass_on_refusal(refusal: Refusal | None, context: grpc.ServicerContext) -> None:
    if refusal is not None:
        context.abort(CODES.get(refusal.kind, grpc.StatusCode.INTERNAL), refusal.reason)
