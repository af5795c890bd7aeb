"""Operations whose process was ended from outside: looked at, told, and never run again."""

import time
from contextlib import suppress

from agent import actions, boundary, redact
from agent.check import Medic
from agent.journal import audit, leases
from agent.journal.operations import Journal, JournalError
from agent.probes import network
from agent.refusing import Refused
from fleetmedic.v1.action_pb2 import OPERATION_STATE_INTERRUPTED, Operation, Plan


def settle(medic: Medic) -> None:
    """Finds them: they say RUNNING, and nobody holds their target. What can't be read is told when asked for."""
    journal = Journal(medic.config.journal)
    with suppress(JournalError):
        for operation in journal.running():
            holder = leases.Holder(operation.operation_id, audit.OWN, "looking what became of it", time.time())
            with suppress(leases.Taken, OSError), leases.held(medic.config.run, operation.plan.subject, holder):
                at(operation.plan, medic, journal)


def at(plan: Plan, medic: Medic, journal: Journal) -> None:
    """Those at a plan's target, called by whoever holds it: what ran there runs no more. JournalError."""
    for operation in journal.running():
        if leases.target(operation.plan.subject) == leases.target(plan.subject):
            _tell(operation, medic, journal)


def _tell(operation: Operation, medic: Medic, journal: Journal) -> None:
    treatment, plan = actions.of(operation.plan.action), operation.plan
    name = treatment.name if treatment else "an action that this version does not have"
    with network.home():
        seen = boundary.contain(
            lambda: treatment.happened(plan, medic) if treatment else "what became of it can't be seen",
            lambda error: (
                f"what became of it can't be seen ({error if isinstance(error, Refused) else boundary.where(error)})"
            ),
        )
    said = redact.text(f"interrupted, its process was ended from outside: {seen}")
    head = b""
    # A log that can't be written is told by itself.
    with suppress(audit.AuditError):
        detail = f"{name} {plan.subject.name}: {said} (operation {operation.operation_id})"
        made = audit.Record(operation.user, "", "Apply", "interrupted", redact.text(detail))
        head = audit.append(medic.config.audit, medic.config.run, made, time.time()).hash
    journal.end(operation.operation_id, OPERATION_STATE_INTERRUPTED, said, time.time(), audit_head=head)
