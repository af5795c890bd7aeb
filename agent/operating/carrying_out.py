"""The operation's own process: nothing that ends the front, the worker or whoever asked ends it.

It alone takes the target's lease, looks again, writes the intent, acts and writes the result.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from agent import boundary, budgets, frames, jobs, redact
from agent.action import Failed, Hand, Treatment, not_now
from agent.check import Medic
from agent.journal import audit, leases, requests
from agent.journal.operations import Journal, JournalError, Planned
from agent.operating import interrupting, planning
from agent.refusing import Refused
from fleetmedic.v1.action_pb2 import OPERATION_STATE_DONE, OPERATION_STATE_FAILED, Action, Operation
from fleetmedic.v1.local_pb2 import REFUSAL_KIND_NOT_FOUND, LocalRequest, Refusal


def begin(medic: Medic, journal: Journal, request: LocalRequest) -> None:
    """Forks the process and waits until the intent is written. Refused where it is not."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        _alone(writer, lambda: Work(medic, journal, request).run(writer))
    os.close(writer)
    try:
        refusal = frames.read(reader, Refusal, time.monotonic() + budgets.OPERATION_BEGINS)
    except frames.FrameError as error:
        raise not_now("the operation did not begin in time; fleetmedic mitigate operations tells its end") from error
    finally:
        os.close(reader)
    if refusal is None:
        raise not_now("the operation's process was ended; fleetmedic mitigate operations tells what became of it")
    if refusal.reason:
        raise Refused(refusal.kind, refusal.reason)


def _alone(kept: int, act: Callable[[], None]) -> None:
    """In the fork. Never returns."""
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


@dataclass(frozen=True, slots=True)
class Work:
    """What the process works with."""

    medic: Medic
    journal: Journal
    request: LocalRequest

    def run(self, writer: int) -> None:
        """Tells through `writer`, once, that it began (a refusal without a reason), or why not."""
        told: list[bool] = []

        def tell(refusal: Refusal) -> None:
            if not told:
                told.append(True)
                # Whoever asked may have gone: the operation goes on.
                with suppress(OSError):
                    frames.write(writer, refusal)
                os.close(writer)

        boundary.contain(lambda: self._run(lambda: tell(Refusal())), lambda error: tell(_refusal(error)))

    def _run(self, begun: Callable[[], None]) -> None:
        asked = self.request.apply
        planned = self.journal.plan(asked.plan_id)
        if planned is None or planned.plan.digest != asked.digest:
            raise Refused(REFUSAL_KIND_NOT_FOUND, "no such plan on this host; plan again")
        found = planning.treatment(planned.plan.action, undoing=bool(planned.plan.undoes))
        holder = leases.Holder(asked.operation_id, self.request.caller.user, found.name, time.time())
        try:
            with leases.held(self.medic.config.run, planned.plan.subject, holder):
                # The lease was free: whoever was here before was ended from outside.
                interrupting.at(planned.plan, self.medic, self.journal)
                self._carry_out(planned, found, begun)
        except leases.Taken as error:
            if error.holder is None or error.holder.operation_id != asked.operation_id:
                raise not_now(_taken(error.holder, time.time())) from error

    def _carry_out(self, planned: Planned, found: Treatment, begun: Callable[[], None]) -> None:
        asked, user = self.request.apply, self.request.caller.user
        if planned.operation_id == asked.operation_id:
            return
        planning.hold_to(planned, found, user, self.medic, self.journal)
        self.medic.moment("before intent")
        if not self.journal.begin(asked.operation_id, planned, user, asked.reason, time.time()):
            raise not_now("the plan was used already: each is applied once")
        self.medic.moment("after intent")
        begun()
        done, result = self._act(planned, found)
        self.medic.moment("before result")
        self._end(planned, found, result, done=done)

    def _act(self, planned: Planned, found: Treatment) -> tuple[bool, str]:
        """Whether all of it was done, and what was."""
        plan = planned.plan
        said = f"{found.name} {plan.subject.name}: {plan.summary}"
        if planned.forced:
            said += f"; past the rate limit: {planned.forced}"
        try:
            self._record("begun", said)
            return True, found.apply(plan, self._hand(), self.medic)
        except (Refused, Failed) as error:
            return False, str(error)
        except JournalError as error:
            return False, f"stopped: {error}"
        except Exception as error:  # noqa: BLE001 - a boundary: whatever it is, how it ended must be written
            return False, f"the action failed: {boundary.where(error)}"

    def _end(self, planned: Planned, found: Treatment, result: str, *, done: bool) -> None:
        plan, operation_id, undo = planned.plan, self.request.apply.operation_id, None
        if done:
            undo = self._undo(found, Operation(operation_id=operation_id, plan=plan, result=result))
        head = b""
        # A log that can't be written is told by itself.
        with suppress(Refused):
            head = self._record("done" if done else "failed", f"{found.name} {plan.subject.name}: {result}")
        state = OPERATION_STATE_DONE if done else OPERATION_STATE_FAILED
        self.journal.end(operation_id, state, redact.text(result), time.time(), undo=undo, audit_head=head)
        self.journal.forget(time.time())

    def _undo(self, found: Treatment, operation: Operation) -> Action | None:
        return boundary.contain(lambda: found.undo(operation), lambda _: None)

    def _record(self, outcome: str, detail: str) -> bytes:
        """The new head of the audit log. Refused where it takes no record: no audit, no change."""
        said = f"{detail} (operation {self.request.apply.operation_id})"
        made = requests.record(self.request, outcome, redact.text(said))
        try:
            return audit.append(self.medic.config.audit, self.medic.config.run, made, time.time()).hash
        except audit.AuditError as error:
            raise not_now(f"the audit log can't be written, and nothing is changed: {error}") from error

    def _hand(self) -> Hand:
        operation_id = self.request.apply.operation_id
        return Hand(
            step=lambda text: self.journal.step(operation_id, redact.text(text), time.time()),
            keep=lambda name, data: self.journal.keep(operation_id, name, data, time.time()),
            at=self.medic.moment,
        )


def _taken(holder: leases.Holder | None, now: float) -> str:
    if holder is None:
        return "another operation is under way at it"
    return f"{holder.user} is at it: {holder.action}, for {now - holder.since:.0f}s (operation {holder.operation_id})"


def _refusal(error: Exception) -> Refusal:
    if not isinstance(error, Refused):
        said = str(error) if isinstance(error, JournalError) else f"the agent failed: {boundary.where(error)}"
        error = not_now(f"nothing is changed: {said}")
    return Refusal(kind=error.kind, reason=error.reason)
