"""Plans, results and operations for programs: whole and plain."""

import json
import math
from collections.abc import Mapping, Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from controller.change.judging import Verdict
from controller.change.planning import Planned
from controller.change.running import Result
from controller.moments import stamp
from fleetmedic.v1.action_pb2 import Operation, OperationState, Plan, Risk

SCHEMA = "fleetmedic-change/1"
# A hostile host's date may be none.
LAST_DATE = 1e11


def document(
    name: str, title: str, planned: Sequence[Planned], results: Sequence[Result], stopped: str, code: int
) -> str:
    """`results` are none where nothing was applied."""
    ended = {item.host: item for item in results}
    states: dict[str, int] = {}
    hosts = []
    for item in planned:
        result = ended.get(item.host)
        record = {**plan_of(item), **({} if result is None else result_of(result))}
        states[str(record["state"])] = states.get(str(record["state"]), 0) + 1
        hosts.append(record)
    made = {
        "schema": SCHEMA,
        "plan": name,
        "action": title,
        "applied": bool(results),
        "stopped": stopped,
        "hosts": hosts,
        "totals": {"selected": len(planned), **states},
        "exit_code": code,
    }
    return json.dumps(made, indent=1)


def plan_of(item: Planned) -> Mapping[str, object]:
    return {
        "host": item.host,
        "state": item.state.value,
        "said": item.cause,
        "refused": item.refused,
        "plan": None if item.plan is None else plan(item.plan),
    }


def result_of(item: Result) -> Mapping[str, object]:
    return {
        "state": item.state.value,
        "said": item.said,
        "refused": item.refused,
        "operation": item.operation_id if item.sent else None,
        "undoable": item.operation is not None and item.operation.HasField("undo"),
        "verdict": None if item.verdict is None else verdict(item.verdict),
    }


def verdict(item: Verdict) -> Mapping[str, object]:
    return {"cure": item.cure.value, "why": item.why, "lines": list(item.lines)}


def plan(item: Plan) -> Mapping[str, object]:
    return {
        "plan_id": item.plan_id,
        "digest": item.digest.hex(),
        "subject": {"service": item.subject.service, "kind": item.subject.kind, "name": item.subject.name},
        "risk": _named(Risk.Name, item.risk, "RISK_"),
        "summary": item.summary,
        "effects": [
            {"kind": effect.kind, "name": effect.name, "identity": effect.identity, "does": effect.does}
            for effect in item.effects
        ],
        "amounts": [
            {
                "name": amount.name,
                "value": _number(amount.value),
                "unit": amount.unit,
                "tolerance": _number(amount.tolerance),
            }
            for amount in item.amounts
        ],
        "table": {"columns": list(item.table.columns), "rows": [list(row.cells) for row in item.table.rows]},
        "kept": list(item.kept),
        "evidence": list(item.evidence),
        "steps": list(item.steps),
        "undo": item.undo,
        "irreversible": item.irreversible,
        "verified_by": list(item.verified_by),
        "settle_seconds": item.settle.seconds,
        "equal_commands": list(item.equal_commands),
        "planned_by": item.planned_by,
        "expires": moment(item.expire_time),
        "needs_approval": item.needs_approval,
        "approvals": [
            {"user": given.user, "approved": given.approved, "reason": given.reason} for given in item.approvals
        ],
        "warnings": list(item.warnings),
        "undoes": item.undoes,
    }


def operation(host: str, item: Operation) -> Mapping[str, object]:
    return {
        "host": host,
        "operation": item.operation_id,
        "plan": item.plan.name,
        "action": action(item.plan),
        "state": state(item),
        "user": item.user,
        "reason": item.reason,
        "result": item.result,
        "started": moment(item.started_time),
        "ended": moment(item.ended_time),
        "undoable": item.HasField("undo"),
        "evidence": [{"name": kept.name, "size": kept.size, "sha256": kept.sha256.hex()} for kept in item.evidence],
        "steps": [step.text for step in item.steps],
    }


def action(item: Plan) -> str:
    """unpause-container orders-app."""
    arm = (item.action.WhichOneof("action") or "?").replace("_", "-")
    return f"{arm} {item.subject.name}".strip()


def state(item: Operation) -> str:
    return _named(OperationState.Name, item.state, "OPERATION_STATE_")


def moment(at: Timestamp) -> str | None:
    return stamp(at.seconds) if 0 < at.seconds < LAST_DATE else None


def _named(names: object, value: int, prefix: str) -> str:
    """What a later version says is told by its number."""
    try:
        return str(names(value)).removeprefix(prefix).lower()  # type: ignore[operator] # an enum's own method
    except ValueError:
        return str(value)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
