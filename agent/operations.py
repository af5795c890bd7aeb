"""Plans and operations: what a caller may ask of them, and the process that carries one out.

An operation has a process of its own, forked from the caller's: nothing that ends the front, the worker or whoever
asked ends it. It alone takes the target's lease, looks again, writes the intent, acts and writes the result.
"""

import hashlib
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from agent import actions, boundary, budgets, frames, jobs, redact
from agent.action import Failed, Hand, Moment, Treatment, moved, not_allowed, not_here, not_now
from agent.check import Medic
from agent.identity import clock
from agent.journal import audit, leases, requests
from agent.journal.operations import Journal, JournalError, Planned
from agent.refusing import Refused
from agent.standing import standing
from fleetmedic.v1.action_pb2 import (
    OPERATION_STATE_DONE,
    OPERATION_STATE_FAILED,
    OPERATION_STATE_INTERRUPTED,
    OPERATION_STATE_RUNNING,
    Action,
    Approval,
    Operation,
    Plan,
)
from fleetmedic.v1.agent_pb2 import (
    ApplyResponse,
    ApproveResponse,
    EvidenceResponse,
    ListOperationsResponse,
    PlanResponse,
    WatchResponse,
)
from fleetmedic.v1.local_pb2 import (
    REFUSAL_KIND_INVALID,
    REFUSAL_KIND_NOT_FOUND,
    LocalRequest,
    LocalResponse,
    Refusal,
)

KINDS = frozenset({"plan", "apply", "watch", "list_operations", "approve", "evidence"})
# How long a plan may be applied, in seconds.
VALID = 300.0
# The same at the same target so often in so many seconds, and no more without --force: restarts hide leaks.
MOST_TIMES = 2
WINDOW = 1800.0
# How often a watched operation is looked at, in seconds.
LOOK = 0.1
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
LONGEST_REASON = 200
PIECE = 256 * 1024


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
            raise _invalid("a plan has a name of letters, digits, '-' and '_', at most 64")
        forced = _reason(asked.reason, needed=True) if asked.force else ""
        action, undoes = self._action()
        treatment = _treatment(action, undoing=bool(undoes))
        made = drafted(treatment, action, self.medic)
        made.undoes = undoes
        if made.effects:
            if not forced:
                self._spare(treatment, made)
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
            raise Refused(REFUSAL_KIND_NOT_FOUND, f"no operation {operation_id!r} on this host")
        return found

    def _spare(self, treatment: Treatment, plan: Plan) -> None:
        times = self.journal.times(plan, time.time() - WINDOW)
        if times >= MOST_TIMES:
            raise not_now(
                f"{treatment.name} was done {times} times here within {WINDOW / 60:.0f} min, which hides the cause; "
                "--force with a --reason does it once more"
            )

    def _sign(self, plan: Plan, forced: str) -> None:
        """Makes it one that can be applied: with a name, an end, and a digest."""
        config, boot = self.medic.config, self.medic.identity.boot_id
        plan.plan_id = os.urandom(9).hex()
        plan.name = self.request.plan.name
        plan.planned_by = self.user
        plan.needs_approval = _needs_approval(plan, config.actions.approval)
        plan.digest = digest(plan, self.medic.identity.name, boot)
        now = time.time()
        plan.expire_time.FromMilliseconds(int((now + VALID) * 1000))
        self.journal.add_plan(Planned(plan, self.user, boot, _uptime() + VALID, forced, ""), now)

    def apply(self, received: float) -> ApplyResponse:
        """Begins the operation, or says how the one of that id stands."""
        asked = self.request.apply
        if not IDENTIFIER.fullmatch(asked.operation_id):
            raise _invalid("an operation has an id of letters, digits, '-' and '_', at most 64")
        _reason(asked.reason, needed=False)
        settle(self.medic, self.journal)
        if (before := self.journal.operation(asked.operation_id)) is None:
            self._carry_out()
            before = self.journal.operation(asked.operation_id)
        elif before.plan.digest != asked.digest:
            raise _invalid(f"operation {asked.operation_id} is another plan's")
        made = ApplyResponse(operation=before, standing=standing(self.medic.config))
        made.clock.CopyFrom(clock(received))
        return made

    def _carry_out(self) -> None:
        """Forks the operation's process and waits until it has begun. Refused where it has not."""
        reader, writer = os.pipe()
        if os.fork() == 0:
            _alone(writer, lambda: Work(self).run(writer))
        os.close(writer)
        try:
            refusal = frames.read(reader, Refusal, time.monotonic() + budgets.OPERATION_BEGINS)
        except frames.FrameError as error:
            raise not_now("the operation did not begin in time; look at it with `mitigate operations`") from error
        finally:
            os.close(reader)
        if refusal is None:
            raise not_now("the operation's process ended before it began; nothing is changed")
        if refusal.reason:
            raise Refused(refusal.kind, refusal.reason)

    def watch(self, received: float) -> Iterator[WatchResponse]:
        """Its steps as they come, and how it ended; ends with the call's time where it goes on."""
        asked = self.request.watch
        after = asked.after_sequence
        end = time.monotonic() + budgets.LONGEST_CALL
        while time.monotonic() < end:
            settle(self.medic, self.journal)
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
        settle(self.medic, self.journal)
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
            raise Refused(REFUSAL_KIND_NOT_FOUND, f"no plan {asked.name} waits on this host; one is valid for 5 min")
        if asked.digest:
            self._approve([planned for planned in found if planned.plan.digest == asked.digest])
            found = self.journal.plans_named(asked.name)
        return ApproveResponse(plans=[planned.plan for planned in found], standing=standing(self.medic.config))

    def _approve(self, found: list[Planned]) -> None:
        asked = self.request.approve
        if not found:
            raise not_now(f"plan {asked.name} is not the one that was shown")
        reason = _reason(asked.reason, needed=not asked.approved)
        for planned in found:
            if planned.user == self.user:
                raise not_allowed(f"{self.user} planned it: somebody else must approve it")
            word = "approved" if asked.approved else "denied"
            said = f"plan {asked.name} of {planned.user} {word}{f': {reason}' if reason else ''}"
            record(self.medic, self.request, "done", said)
            approval = Approval(user=self.user, approved=asked.approved, reason=reason)
            self.journal.approve(planned.plan.plan_id, approval, time.time())

    def _lives(self, planned: Planned) -> bool:
        return planned.boot_id == self.medic.identity.boot_id and _uptime() < planned.expires

    def evidence(self) -> Iterator[EvidenceResponse]:
        """Piece by piece; marked as fetched when all of one is given."""
        asked = self.request.evidence
        operation = self._known(asked.operation_id)
        kept = [item for item in operation.evidence if asked.name in ("", item.name)]
        if not kept:
            raise Refused(REFUSAL_KIND_NOT_FOUND, f"operation {asked.operation_id} has no evidence {asked.name}".strip())
        for item in kept:
            data = self.journal.evidence(asked.operation_id, item.name)
            if hashlib.sha256(data).digest() != item.sha256:
                raise not_now(f"{item.name} is not what was kept")
            for place in range(0, max(1, len(data)), PIECE):
                last = place + PIECE >= len(data)
                piece = data[place : place + PIECE]
                yield EvidenceResponse(name=item.name, data=piece, sha256=item.sha256 if last else b"")
            self.journal.fetched(asked.operation_id, item.name, time.time())


@dataclass(frozen=True, slots=True)
class Work:
    """The operation's own process."""

    desk: Desk

    def run(self, writer: int) -> None:
        """Tells through `writer`, once, that it began (a refusal without a reason), or why not."""
        told: list[bool] = []

        def tell(refusal: Refusal) -> None:
            told.append(True)
            # Whoever asked may have gone: the operation goes on.
            with suppress(OSError):
                frames.write(writer, refusal)
            os.close(writer)

        def failed(error: Exception) -> None:
            if not told:
                tell(_refusal(error))

        boundary.contain(lambda: self._run(lambda: tell(Refusal())), failed)

    def _run(self, begun: Callable[[], None]) -> None:
        desk, asked = self.desk, self.desk.request.apply
        planned = desk.journal.plan(asked.plan_id)
        if planned is None or planned.plan.digest != asked.digest:
            raise Refused(REFUSAL_KIND_NOT_FOUND, "no such plan on this host; plan again")
        treatment = _treatment(planned.plan.action, undoing=bool(planned.plan.undoes))
        holder = leases.Holder(asked.operation_id, desk.user, treatment.name, time.time())
        try:
            with leases.held(desk.medic.config.run, planned.plan.subject, holder):
                # Ended from outside, whoever was here before: the lease was free.
                _interrupt(desk.medic, desk.journal, planned.plan)
                self._begin(planned, treatment, begun)
        except leases.Taken as error:
            if error.holder is None or error.holder.operation_id != asked.operation_id:
                raise not_now(_taken(error.holder, time.time())) from error
            begun()

    def _begin(self, planned: Planned, treatment: Treatment, begun: Callable[[], None]) -> None:
        desk, asked = self.desk, self.desk.request.apply
        self._hold_to(planned, treatment)
        desk.medic.moment("before intent")
        if not desk.journal.begin(asked.operation_id, planned, desk.user, asked.reason, time.time()):
            raise not_now("the plan was used already: each is applied once")
        desk.medic.moment("after intent")
        begun()
        plan = planned.plan
        said = f"{treatment.name} {plan.subject.name}: {plan.summary}"
        said += f"; past the rate limit: {planned.forced}" if planned.forced else ""
        state, result, undo = OPERATION_STATE_FAILED, "", None
        try:
            record(desk.medic, desk.request, "begun", said)
            result = treatment.apply(plan, self._hand(), desk.medic)
            state = OPERATION_STATE_DONE
        except (Refused, Failed) as error:
            result = str(error)
        except JournalError as error:
            result = f"stopped: {error}"
        except Exception as error:  # noqa: BLE001 - whatever it is, how it ended must be written
            result = f"the action failed: {boundary.where(error)}"
        desk.medic.moment("before result")
        if state == OPERATION_STATE_DONE:
            undo = treatment.undo(Operation(operation_id=asked.operation_id, plan=plan, result=result))
        head = b""
        with suppress(Refused):
            word = "done" if state == OPERATION_STATE_DONE else "failed"
            head = record(desk.medic, desk.request, word, f"{treatment.name} {plan.subject.name}: {result}")
        result = redact.text(result)
        desk.journal.end(asked.operation_id, state, result, time.time(), undo=undo, audit_head=head)
        with suppress(JournalError):
            desk.journal.forget(time.time())

    def _hold_to(self, planned: Planned, treatment: Treatment) -> None:
        """Refused unless the plan may be applied by this caller, now, on this host as it is."""
        desk, plan = self.desk, planned.plan
        if planned.user != desk.user:
            raise not_allowed(f"the plan is {planned.user}'s; each applies their own")
        if planned.boot_id != desk.medic.identity.boot_id:
            raise not_now("the host was restarted since it was planned; plan again")
        if planned.operation_id:
            raise not_now(f"the plan was used already, by operation {planned.operation_id}")
        if _uptime() >= planned.expires:
            raise not_now("the plan is older than 5 min; plan again")
        _hold_approved(plan)
        if not planned.forced:
            desk._spare(treatment, plan)
        now = drafted(treatment, plan.action, desk.medic)
        if not now.effects:
            raise not_now(f"there is nothing to do any more: {now.summary}")
        if difference := moved(plan, now):
            raise not_now(f"the host is not as it was planned: {difference}; plan again")

    def _hand(self) -> Hand:
        desk, operation_id = self.desk, self.desk.request.apply.operation_id
        return Hand(
            step=lambda text: desk.journal.step(operation_id, redact.text(text), time.time()),
            keep=lambda name, data: desk.journal.keep(operation_id, name, data, time.time()),
            at=desk.medic.moment,
        )


def drafted(treatment: Treatment, action: Action, medic: Medic) -> Plan:
    """What the action would do now, redacted, without a name or a digest."""
    made = treatment.plan(getattr(action, treatment.arm), medic)
    redact.message(made, medic.config.secrets())
    made.action.CopyFrom(action)
    made.risk = made.risk or treatment.risk
    if not made.verified_by:
        made.verified_by.extend(treatment.cures)
    if not made.HasField("settle"):
        made.settle.FromMilliseconds(int(treatment.settle * 1000))
    return made


def digest(plan: Plan, agent: str, boot: str) -> bytes:
    """SHA-256 over what a plan binds itself to, as canonical JSON."""
    bound = {
        "action": plan.action.SerializeToString(deterministic=True).hex(),
        "subject": leases.target(plan.subject),
        "effects": sorted([item.kind, item.name, item.identity, item.does] for item in plan.effects),
        "amounts": sorted([item.name, item.unit, item.value, item.tolerance] for item in plan.amounts),
        "caller": plan.planned_by,
        "plan": plan.plan_id,
        "undoes": plan.undoes,
        "agent": agent,
        "boot": boot,
    }
    return hashlib.sha256(json.dumps(bound, sort_keys=True, separators=(",", ":")).encode()).digest()


def settle(medic: Medic, journal: Journal) -> None:
    """Finds operations that were ended from outside: they say RUNNING, and nobody holds their target."""
    for operation in journal.running():
        holder = leases.Holder(operation.operation_id, "fleetmedic", "looking what became of it", time.time())
        with suppress(leases.Taken), leases.held(medic.config.run, operation.plan.subject, holder):
            _interrupt(medic, journal, operation.plan)


def _interrupt(medic: Medic, journal: Journal, plan: Plan) -> None:
    """Called by whoever holds the target: what runs there runs no more. It is looked at, and never run again."""
    for operation in journal.running():
        if leases.target(operation.plan.subject) != leases.target(plan.subject):
            continue
        treatment = actions.of(operation.plan.action)
        seen = boundary.contain(
            lambda operation=operation, treatment=treatment: treatment.happened(operation.plan, medic),  # type: ignore[misc]
            lambda error: f"what became of it can't be seen: {boundary.where(error)}",
        )
        said = f"interrupted: its process was ended from outside; {seen}"
        head = b""
        with suppress(audit.AuditError):
            name = treatment.name if treatment else "an action this version does not have"
            own = audit.Record(
                operation.user, "", "Apply", "interrupted", f"{name} {operation.plan.subject.name}: {said}", operation.operation_id
            )
            head = audit.append(medic.config.audit, medic.config.run, own, time.time()).hash
        journal.end(operation.operation_id, OPERATION_STATE_INTERRUPTED, redact.text(said), time.time(), audit_head=head)


def record(medic: Medic, request: LocalRequest, outcome: str, detail: str) -> bytes:
    """The new head of the audit log. Refused where it takes no record: no audit, no change."""
    try:
        made = requests.record(request, outcome, redact.text(detail))
        return audit.append(medic.config.audit, medic.config.run, made, time.time()).hash
    except audit.AuditError as error:
        raise not_now(f"the audit log can't be written, and nothing is changed: {error}") from error


def _alone(kept: int, act: Callable[[], None]) -> None:
    """In the fork: a process that nobody else's end ends. Never returns."""
    try:
        os.setsid()
        jobs.live_on()
        signal.alarm(0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        jobs.close_all_but(kept)
        act()
    finally:
        os._exit(0)


def _treatment(action: Action, *, undoing: bool) -> Treatment:
    found = actions.of(action)
    if found is None:
        raise _invalid("this agent does not know that action; is the caller newer?")
    if not found.askable and not undoing:
        raise not_allowed(f"{found.name} only undoes another operation: fleetmedic mitigate undo OPERATION")
    return found


def _needs_approval(plan: Plan, listed: tuple[str, ...]) -> bool:
    arm = plan.action.WhichOneof("action") or ""
    kinds = {f"{arm.replace('_', '-')}", *(f"{arm.replace('_', '-')}:{item.kind}" for item in plan.effects)}
    return bool(kinds & set(listed))


def _hold_approved(plan: Plan) -> None:
    denied = next((item for item in plan.approvals if not item.approved), None)
    if denied is not None:
        raise not_allowed(f"{denied.user} denied it: {denied.reason}")
    if plan.needs_approval and not any(item.approved for item in plan.approvals):
        raise not_allowed(f"a second person must approve it: fleetmedic approve {plan.name}")


def _taken(holder: leases.Holder | None, now: float) -> str:
    if holder is None:
        return "another operation is under way at it"
    return f"{holder.user} is at it: {holder.action}, for {now - holder.since:.0f}s (operation {holder.operation_id})"


def _refusal(error: Exception) -> Refusal:
    if isinstance(error, Refused):
        return Refusal(kind=error.kind, reason=error.reason)
    if isinstance(error, JournalError):
        refused = not_now(f"the journal of operations can't be written, and nothing is changed: {error}")
        return Refusal(kind=refused.kind, reason=refused.reason)
    refused = not_now(f"nothing is changed, the agent failed: {boundary.where(error)}")
    return Refusal(kind=refused.kind, reason=refused.reason)


def _reason(text: str, *, needed: bool) -> str:
    if needed and not text.strip():
        raise _invalid("a reason is needed: others will read it")
    if len(text) > LONGEST_REASON or not text.isprintable():
        raise _invalid(f"a reason has at most {LONGEST_REASON} characters, all of them printable")
    return text


def _invalid(reason: str) -> Refused:
    return Refused(REFUSAL_KIND_INVALID, reason)


def _uptime() -> float:
    """Seconds since boot, which no step of the clock moves."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
