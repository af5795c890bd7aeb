"""Brings the ends of operations here that were not heard of when they were applied."""

import time
from collections.abc import Iterable

from controller.change.applying import ENDS
from controller.change.talking import Answer
from controller.cli.mitigate import going
from controller.cli.options import Desk
from controller.endings import State
from controller.store import plans
from controller.store.plans import End
from fleetmedic.v1.action_pb2 import Operation
from fleetmedic.v1.agent_pb2 import ListOperationsResponse

OPEN = frozenset({plans.RUNNING, State.UNKNOWN.value, State.TIMEOUT.value})


def bring_up(desk: Desk, told: "Iterable[Answer[ListOperationsResponse]]") -> None:
    """StoreError where the store can't be used."""
    with going.store(desk) as base:
        for answer in told:
            for operation in answer.answer.operations if answer.answer is not None else ():
                kept = [item for item in plans.operations(base, operation.operation_id) if item.host == answer.host]
                if operation.state in ENDS and kept and kept[0].state in OPEN:
                    plans.end(base, kept[0].plan, [_end(answer.host, operation)], desk.actor(), time.time())


def _end(host: str, operation: Operation) -> End:
    """Nobody has looked whether it cured: `mitigate verify` does."""
    state = ENDS[operation.state].value
    return End(operation.operation_id, host, state, operation.result, "", operation.HasField("undo"))
