"""Operations of a fleet for people: what goes on first, then the newest; whoever did not tell last."""

from collections.abc import Sequence

from controller.change.talking import Answer
from controller.endings import State
from controller.render.change_json import action, moment, state
from controller.render.check_text import counted, silent_line
from controller.render.escape import LONGEST, line
from controller.render.paper import Paper
from fleetmedic.v1.action_pb2 import OPERATION_STATE_RUNNING, Operation
from fleetmedic.v1.agent_pb2 import ListOperationsResponse

SIGNS = {"running": "info", "done": "ok", "failed": "crit", "interrupted": "warn"}


def body(
    paper: Paper,
    told: "Sequence[Answer[ListOperationsResponse]]",
    agentless: Sequence[tuple[str, str]],
    code: int,
) -> None:
    found = [(item.host, each) for item in told if item.answer is not None for each in item.answer.operations]
    found.sort(key=lambda pair: (pair[1].state != OPERATION_STATE_RUNNING, -pair[1].started_time.seconds))
    for host, operation in found:
        _operation(paper, host, operation)
    for item in told:
        if item.answer is None:
            silent_line(paper, item.cause[:LONGEST], item.state, [item.host])
    for host, why in agentless:
        silent_line(paper, why, State.SKIPPED, [host])
    silent = sum(item.answer is None for item in told)
    away = f"; {counted(silent, 'host')} did not tell" if silent else ""
    paper.write(f"{counted(len(found), 'operation')} on {counted(len(told), 'host')}{away}   exit code {code}")


def _operation(paper: Paper, host: str, operation: Operation) -> None:
    said = state(operation)
    sign = SIGNS.get(said, "error")
    began = moment(operation.started_time) or "?"
    head = f"{paper.paint(paper.sign(sign), sign)} {host}  {line(operation.operation_id[:64])}  "
    reason = f" ({line(operation.reason[:LONGEST])})" if operation.reason else ""
    result = f": {line(operation.result[:LONGEST])}" if operation.result else ""
    what = line(action(operation.plan)[:LONGEST])
    paper.hanging(
        head, f"{began}  {line(operation.user[:64])}  {what}{reason}  {line(said)}{result}", 4, len(host) + 14
    )
