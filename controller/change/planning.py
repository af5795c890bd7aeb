"""Asks every host what a change would do to it; nothing is changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.calling import Bounds
from controller.change import talking
from controller.endings import State
from controller.fan_out import Interrupted
from controller.inventory.connection import Endpoint
from controller.transport import mtls
from fleetmedic.v1.action_pb2 import Action, Plan
from fleetmedic.v1.agent_pb2 import PlanRequest, PlanResponse, Standing

# Of one host's plan, each of its lists: more is no plan that anybody reads.
MOST = 5000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be planned everywhere: an action, or for each host by name an operation to undo."""

    action: Action | None
    undo: Mapping[str, str]
    reason: str = ""
    force: bool = False

    def request(self, host: str, name: str) -> PlanRequest:
        made = PlanRequest(name=name, force=self.force, reason=self.reason)
        if self.action is not None:
            made.action.CopyFrom(self.action)
        else:
            made.undo = self.undo[host]
        return made


@dataclass(frozen=True, slots=True)
class Planned:
    """One host's plan; without one `cause` says why. OK with a plan that has no effects: there is nothing to do."""

    host: str
    state: State
    cause: str = ""
    plan: Plan | None = None
    refused: bool = False
    standing: Standing | None = None

    @property
    def changes(self) -> bool:
        return self.plan is not None and bool(self.plan.effects)


async def plan(
    hosts: Sequence[Endpoint],
    wanted: Wanted,
    name: str,
    identity: mtls.Identity,
    bounds: Bounds,
    interrupted: Interrupted | None = None,
) -> list[Planned]:
    """In the order given, exactly one for each."""
    asked = {endpoint: wanted.request(endpoint.name, name).SerializeToString() for endpoint in hosts}
    told = await talking.ask(mtls.PLAN, asked, PlanResponse, identity, bounds, interrupted)
    return [_planned(item, wanted, name) for item in told]


def _planned(told: "talking.Answer[PlanResponse]", wanted: Wanted, name: str) -> Planned:
    if told.answer is None:
        return Planned(told.host, told.state, told.cause, refused=told.refused)
    made = told.answer.plan
    if flaw := _flaw(made, wanted, told.host, name):
        return Planned(told.host, State.FAILED, flaw)
    standing = told.answer.standing if told.answer.HasField("standing") else None
    return Planned(told.host, State.OK, "" if made.effects else made.summary, made, standing=standing)


def _flaw(plan: Plan, wanted: Wanted, host: str, name: str) -> str:
    """Why it is no plan of what was asked: an agent that lies, or is of another version."""
    if wanted.action is not None and plan.action != wanted.action:
        return "planned something else than was asked"
    if wanted.action is None and plan.effects and plan.undoes != wanted.undo[host]:
        return "planned to undo another operation than was asked"
    if plan.effects and (not plan.plan_id or not plan.digest or plan.name != name):
        return "its plan has no id, digest or name by which it could be applied"
    if max(len(plan.effects), len(plan.amounts), len(plan.kept), len(plan.table.rows), len(plan.steps)) > MOST:
        return f"its plan has more than {MOST} lines, which no plan has"
    return ""
