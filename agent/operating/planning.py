"""What an action would do, and what it is held to before it is done."""

import hashlib
import json
import re
import time

from agent import actions, redact
from agent.action import Treatment, moved, not_allowed, not_now
from agent.check import Medic
from agent.jobs import uptime
from agent.journal import leases
from agent.journal.operations import Journal, Planned
from agent.probes import network
from agent.refusing import Refused
from fleetmedic.v1.action_pb2 import Action, Plan
from fleetmedic.v1.local_pb2 import REFUSAL_KIND_INVALID

# How long a plan may be applied, in seconds.
VALID = 300.0
# The same at the same target so often in so many seconds, and no more without --force: restarts hide leaks.
MOST_TIMES = 2
WINDOW = 1800.0
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
LONGEST_REASON = 200


def treatment(action: Action, *, undoing: bool) -> Treatment:
    """Refused where there is none, or it may not be asked for."""
    found = actions.of(action)
    if found is None:
        raise invalid("this agent does not know that action; is the caller newer?")
    if not found.askable and not undoing:
        raise not_allowed(f"{found.name} only undoes another operation: fleetmedic mitigate undo OPERATION")
    return found


def drafted(found: Treatment, action: Action, medic: Medic) -> Plan:
    """What the action would do now, redacted, without a name or a digest. Refused where it may not be done."""
    with network.home():
        made = found.plan(getattr(action, found.arm), medic)
    # Not what it is bound to, which is the host's own and no text.
    bound = [item.identity for item in made.effects]
    redact.message(made, medic.config.secrets())
    for item, identity in zip(made.effects, bound, strict=True):
        item.identity = identity
    made.action.CopyFrom(action)
    made.risk = made.risk or found.risk
    if not made.verified_by:
        made.verified_by.extend(found.cures)
    if not made.HasField("settle"):
        made.settle.FromMilliseconds(int(found.settle * 1000))
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


def hold_to(planned: Planned, found: Treatment, user: str, medic: Medic, journal: Journal) -> None:
    """Refused unless the plan may be applied by this user, now, on this host as it is."""
    plan = planned.plan
    if planned.user != user:
        raise not_allowed(f"the plan is {planned.user}'s; each applies their own")
    if planned.boot_id != medic.identity.boot_id:
        raise not_now("the host was restarted since it was planned; plan again")
    if planned.operation_id:
        raise not_now(f"the plan was used already, by operation {planned.operation_id}; plan again")
    if uptime() >= planned.expires:
        raise not_now(f"the plan is older than {VALID / 60:.0f} min; plan again")
    _hold_approved(plan)
    if not planned.forced:
        spare(found, plan, journal)
    now = drafted(found, plan.action, medic)
    if not now.effects:
        raise not_now(f"there is nothing to do any more: {now.summary}")
    if difference := moved(plan, now):
        raise not_now(f"the host is not as it was planned: {difference}; plan again")


def _hold_approved(plan: Plan) -> None:
    denied = next((item for item in plan.approvals if not item.approved), None)
    if denied is not None:
        raise not_allowed(f"{denied.user} denied it: {denied.reason}")
    if plan.needs_approval and not plan.approvals:
        raise not_allowed(f"a second person must approve it: fleetmedic approve {plan.name}")


def spare(found: Treatment, plan: Plan, journal: Journal) -> None:
    """Refused where it was done here too often lately."""
    times = journal.times(plan, time.time() - WINDOW)
    if times >= MOST_TIMES:
        raise not_now(
            f"{found.name} was done {times} times at {plan.subject.name} within {WINDOW / 60:.0f} min, which hides the "
            "cause; --force with a --reason does it once more"
        )


def needs_approval(plan: Plan, listed: tuple[str, ...]) -> bool:
    arm = (plan.action.WhichOneof("action") or "").replace("_", "-")
    return bool({arm, *(f"{arm}:{item.kind}" for item in plan.effects)} & set(listed))


def reasoned(text: str, *, needed: bool) -> str:
    """A reason that people may be shown. Refused."""
    if needed and not text.strip():
        raise invalid("a reason is needed: others will read it")
    if len(text) > LONGEST_REASON or not text.isprintable():
        raise invalid(f"a reason has at most {LONGEST_REASON} characters, all of them printable")
    return text


def invalid(reason: str) -> Refused:
    return Refused(REFUSAL_KIND_INVALID, reason)
