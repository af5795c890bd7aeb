"""A real worker and somebody who plans and applies over its socket, as the front does."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleetmedic.v1.action_pb2 import OPERATION_STATE_RUNNING, Action, Operation, Plan
from fleetmedic.v1.agent_pb2 import ApplyRequest, EvidenceRequest, ListOperationsRequest, PlanRequest, WatchRequest
from fleetmedic.v1.local_pb2 import Caller, LocalRequest, LocalResponse, Refusal
from tests.lab import child
from tests.lab.agents import BIN
from tests.lab.waiting import until
from tests.lab.worker_calls import ask

CAROL = Caller(role="responder", user="carol", serial="2B")
NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Operator:
    """Asks the worker whose run folder it is, as a responder."""

    run: Path
    caller: Caller = field(default_factory=lambda: CAROL)

    def ask(self, request: LocalRequest) -> list[LocalResponse]:
        return ask(self.run, request, self.caller)

    def _one(self, request: LocalRequest) -> LocalResponse:
        (answer,) = self.ask(request)
        return answer

    def asked(self, action: Action | None = None, *, undo: str = "", reason: str = "") -> LocalResponse:
        """Plan an action, or what undoes an operation; with a reason past the rate limit."""
        request = PlanRequest(name="P-TEST", action=action, force=bool(reason), reason=reason)
        if undo:
            request.undo = undo
        return self._one(LocalRequest(plan=request))

    def plan(self, action: Action | None = None, *, undo: str = "", reason: str = "") -> Plan:
        answer = self.asked(action, undo=undo, reason=reason)
        assert answer.HasField("plan"), answer.refusal.reason
        return answer.plan.plan

    def refused(self, action: Action | None = None, *, undo: str = "") -> Refusal:
        answer = self.asked(action, undo=undo)
        assert answer.HasField("refusal"), answer
        return answer.refusal

    def applied(self, plan: Plan, operation_id: str = "", reason: str = "") -> LocalResponse:
        """What the worker says to an Apply, at once."""
        made = ApplyRequest(
            operation_id=operation_id or f"O-{next(NUMBERS)}", plan_id=plan.plan_id, digest=plan.digest, reason=reason
        )
        return self._one(LocalRequest(apply=made))

    def begin(self, plan: Plan, operation_id: str = "") -> str:
        answer = self.applied(plan, operation_id)
        assert answer.HasField("apply"), answer.refusal.reason
        return answer.apply.operation.operation_id

    def not_applied(self, plan: Plan, operation_id: str = "") -> Refusal:
        answer = self.applied(plan, operation_id)
        assert answer.HasField("refusal"), answer
        return answer.refusal

    def apply(self, plan: Plan, operation_id: str = "") -> Operation:
        """Apply and wait for its end."""
        return self.ended(self.begin(plan, operation_id))

    def ended(self, operation_id: str) -> Operation:
        *_, last = self.ask(LocalRequest(watch=WatchRequest(operation_id=operation_id)))
        assert last.HasField("watch"), last.refusal.reason
        assert last.watch.last
        return last.watch.operation

    def operation(self, operation_id: str) -> Operation:
        (found,) = self._one(
            LocalRequest(list_operations=ListOperationsRequest(operation_id=operation_id))
        ).list_operations.operations
        return found

    def state(self, operation_id: str) -> int:
        return self.operation(operation_id).state

    def until_ended(self, operation_id: str) -> Operation:
        until("it ends", lambda: self.state(operation_id) != OPERATION_STATE_RUNNING, seconds=30.0)
        return self.operation(operation_id)

    def evidence(self, operation: Operation, name: str) -> bytes:
        pieces = self.ask(LocalRequest(evidence=EvidenceRequest(operation_id=operation.operation_id, name=name)))
        return b"".join(answer.evidence.data for answer in pieces)


@contextlib.contextmanager
def working(folder: Path, config: str = "", *, environment: Mapping[str, str] | None = None) -> Iterator[Operator]:
    """Run a worker with a configuration until the block ends; it looks at what that names, and discovers nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "agent.toml"
    top = f'name = "db01"\nstate = "{folder}/state"\nrun = "{folder}/run"\ndiscover = false\n'
    file.write_text(top + config)
    with child.run(
        [BIN / "fleetmedic-agent", "work", "--config", file],
        log=folder / "worker.log",
        ready=lambda _: (folder / "run/worker.sock").exists(),
        environment=environment,
        name="worker",
    ):
        yield Operator(folder / "run")
