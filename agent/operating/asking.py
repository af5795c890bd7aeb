"""What a caller may ask of plans and operations."""

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from agent import budgets, redact
from agent.action import not_allowed, not_here, not_now
from agent.check import Medic
from agent.identity import clock
from agent.jobs import uptime
from agent.journal import audit, requests
from agent.journal.operations import Journal, JournalError, Planned
from agent.operating import carrying_out, interrupting, planning
from agent.operating.planning import IDENTIFIER, invalid, reasoned
from agent.standing import standing
from fleetmedic.v1.action_pb2 import OPERATION_STATE_RUNNING, Action, Approval, Operation, Plan
from fleetmedic.v1.agent_pb2 import (
    ApplyResponse,
    ApproveResponse,
    EvidenceResponse,
    ListOperationsResponse,
    PlanResponse,
    WatchResponse,
)
from fleetmedic.v1.local_pb2 import LocalRequest, LocalResponse

KINDS = frozenset({"plan", "apply", "watch", "list_operations", "approve", "evidence"})
# How often a watched operation is looked at, in seconds.
LOOK = 0.1
PIECE = 256 * 1024
# For the process of the same operation, which another call began, to say so.
BEGINNING = 2.0


def answers(medic: Medic, request: LocalRequest, received: float) -> Iterator[LocalResponse]:
    """The answers to a request of KINDS. Refused where it is not carried out, before anything is changed."""
    desk = Desk(medic, Journal(medic.config.journal), request)
    try:
        if request.HasField("plan"):
            yield LocalResponse(plan=desk.plan(received))
        elif request.HasField("apply"):
            yield LocalResponse(apply=desk.apply(received))
        elif request.HasField("watch"):
            yield from (LocalResponse(watch=message) for message in desk.watch(received))
        elif request.HasField("list_operations"):
            yield LocalResponse(list_operations=desk.listed(received))
        elif request.HasField("approve"):
            yield LocalResponse(approve=desk.approve())
        else:
            yield from (LocalResponse(evidence=piece) for piece in desk.evidence())
    except JournalError as error:
        raise not_now(f"the journal of operations can't be used, and nothing is changed: {error}") from error


@dataclass(frozen=True, slots=True)
class Desk:
    """One request about plans or operations, with what it needs."""

    medic: Medic
    journal: Journal
    request: LocalRequest

    @property
    def user(self) -> str:
        return self.request.caller.user

    def plan(self, received: float) -> PlanResponse:
        asked = self.request.plan
        if not IDENTIFIER.fullmatch(asked.name):
            raise invalid("a plan has a name of letters, digits, '-' and '_', at most 64")
        forced = reasoned(asked.reason, needed=True) if asked.force else ""
        action, undoes = self._action()
        found = planning.treatment(action, undoing=bool(undoes))
        made = planning.drafted(found, action, self.medic)
        made.undoes = undoes
        if made.effects:
            if not forced:
                planning.spare(found, made, self.journal)
            self._sign(made, forced)
        response = PlanResponse(plan=made, agent=self.medic.identity, standing=standing(self.medic.config))
        response.clock.CopyFrom(clock(received))
        return response

    def _action(self) -> tuple[Action, str]:
        """What to plan, and the operation that it undoes."""
        asked = self.request.plan
        if asked.WhichOneof("asked") != "undo":
            return asked.action, ""
        before = self._known(asked.undo)
        if not before.HasField("undo"):
            why = before.plan.irreversible or "it has not ended well"
            raise not_now(f"operation {asked.undo} can't be undone: {why}")
        return before.undo, asked.undo

    def _known(self, operation_id: str) -> Operation:
        found = self.journal.operation(operation_id) if IDENTIFIER.fullmatch(operation_id) else None
        if found is None:
            raise not_here(f"no operation {operation_id!r} on this host")
        return found

    def _sign(self, plan: Plan, forced: str) -> None:
        """Makes it one that can be applied: with a name, an end, and a digest."""
        config, boot = self.medic.config, self.medic.identity.boot_id
        plan.plan_id = os.urandom(9).hex()
        plan.name = self.request.plan.name
        plan.planned_by = self.user
        plan.needs_approval = planning.needs_approval(plan, config.actions.approval)
        plan.digest = planning.digest(plan, self.medic.identity.name, boot)
        now = time.time()
        plan.expire_time.FromMilliseconds(int((now + planning.VALID) * 1000))
        self.journal.add_plan(Planned(plan, self.user, boot, uptime() + planning.VALID, forced, ""), now)

    def apply(self, received: float) -> ApplyResponse:
        """Begins the operation, or says how the one of that id stands."""
        asked = self.request.apply
        if not IDENTIFIER.fullmatch(asked.operation_id):
            raise invalid("an operation has an id of letters, digits, '-' and '_', at most 64")
        reasoned(asked.reason, needed=False)
        interrupting.settle(self.medic)
        if self.journal.operation(asked.operation_id) is None:
            carrying_out.begin(self.medic, self.journal, self.request)
        made = ApplyResponse(operation=self._begun(), standing=standing(self.medic.config))
        made.clock.CopyFrom(clock(received))
        return made

    def _begun(self) -> Operation:
        """Another call's, of the same id, may be about to begin."""
        asked, end = self.request.apply, time.monotonic() + BEGINNING
        while (found := self.journal.operation(asked.operation_id)) is None:
            if time.monotonic() > end:
                raise not_now("another call of the same operation has not begun it yet; ask again")
            time.sleep(LOOK)
        if found.plan.digest != asked.digest or found.user != self.user:
            raise invalid(f"operation {asked.operation_id} is another plan's")
        return found

    def watch(self, received: float) -> Iterator[WatchResponse]:
        """Its steps as they come, and how it ended; ends with the call's time where it goes on."""
        asked = self.request.watch
        after = asked.after_sequence
        end = time.monotonic() + budgets.LONGEST_CALL
        while time.monotonic() < end:
            interrupting.settle(self.medic)
            # The state before the steps: what came between is then not lost.
            operation = self._known(asked.operation_id)
            steps = [step for step in operation.steps if step.sequence > after]
            last = operation.state != OPERATION_STATE_RUNNING
            if steps or last:
                made = WatchResponse(steps=steps, last=last, operation=operation if last else None)
                made.clock.CopyFrom(clock(received))
                yield made
            if last:
                return
            after = max([after, *(step.sequence for step in steps)])
            time.sleep(LOOK)

    def listed(self, received: float) -> ListOperationsResponse:
        asked = self.request.list_operations
        interrupting.settle(self.medic)
        found = [self._known(asked.operation_id)] if asked.operation_id else None
        if found is None:
            found = self.journal.since(asked.since_time.ToMilliseconds() / 1000)
        made = ListOperationsResponse(operations=found, standing=standing(self.medic.config))
        made.clock.CopyFrom(clock(received))
        return made

    def approve(self) -> ApproveResponse:
        """Another person's word on plans of a name; they are given as they then stand."""
        asked = self.request.approve
        found = [planned for planned in self.journal.plans_named(asked.name) if self._lives(planned)]
        if not found:
            raise not_here(f"no plan {asked.name} waits on this host; one is valid for 5 min")
        if asked.digest:
            self._approve([planned for planned in found if planned.plan.digest == asked.digest])
            found = self.journal.plans_named(asked.name)
        return ApproveResponse(plans=[planned.plan for planned in found], standing=standing(self.medic.config))

    def _approve(self, found: list[Planned]) -> None:
        asked = self.request.approve
        if not found:
            raise not_now(f"plan {asked.name} is not the one that was shown")
        reason = reasoned(asked.reason, needed=not asked.approved)
        for planned in found:
            if planned.user == self.user:
                raise not_allowed(f"{self.user} planned it: somebody else must approve it")
            word = "approved" if asked.approved else "denied"
            said = f"plan {asked.name} of {planned.user} {word}{f': {reason}' if reason else ''}"
            self._record(said)
            approval = Approval(user=self.user, approved=asked.approved, reason=reason)
            self.journal.approve(planned.plan.plan_id, approval, time.time())

    def _record(self, said: str) -> None:
        made = requests.record(self.request, "done", redact.text(said))
        try:
            audit.append(self.medic.config.audit, self.medic.config.run, made, time.time())
        except audit.AuditError as error:
            raise not_now(f"the audit log can't be written, and nothing is approved: {error}") from error

    def _lives(self, planned: Planned) -> bool:
        return planned.boot_id == self.medic.identity.boot_id and uptime() < planned.expires

    def evidence(self) -> Iterator[EvidenceResponse]:
        """Piece by piece; marked as fetched when all of one is given."""
        asked = self.request.evidence
        operation = self._known(asked.operation_id)
        kept = [item for item in operation.evidence if asked.name in ("", item.name)]
        if not kept:
            raise not_here(f"operation {asked.operation_id} has no evidence {asked.name}".strip())
        for item in kept:
            data = self.journal.evidence(asked.operation_id, item.name)
            if hashlib.sha256(data).digest() != item.sha256:
                raise not_now(f"{item.name} is not what was kept")
            for place in range(0, max(1, len(data)), PIECE):
                last = place + PIECE >= len(data)
                piece = data[place : place + PIECE]
                yield EvidenceResponse(name=item.name, data=piece, sha256=item.sha256 if last else b"")
            self.journal.fetched(asked.operation_id, item.name, time.time())
