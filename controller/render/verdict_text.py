"""Whether operations have cured, for people and for programs."""

import json
from collections.abc import Mapping, Sequence

from controller.change.judging import Verdict
from controller.endings import State
from controller.render import change_json, endings
from controller.render.change_text import Line
from controller.render.escape import line
from controller.render.paper import Paper
from controller.store.plans import KeptOperation


def body(paper: Paper, judged: Mapping[str, Verdict], states: Mapping[str, State], code: int) -> None:
    for host, verdict in judged.items():
        for said in verdict.lines:
            paper.write(f"{host}  {line(said)}")
    ended = [
        Line(host, states[host], f"{verdict.cure}  {verdict.why}".strip() if verdict.why else verdict.cure.value)
        for host, verdict in judged.items()
    ]
    endings.body(paper, ended, {State.OK: "verified", State.GATE_FAILED: "gate failed"}, code)


def document(plan: str, found: Sequence[KeptOperation], judged: Mapping[str, Verdict], code: int) -> str:
    records = [
        {"host": item.host, "operation": item.operation_id, **change_json.verdict(judged[item.host])} for item in found
    ]
    return json.dumps({"schema": change_json.SCHEMA, "plan": plan, "hosts": records, "exit_code": code}, indent=1)
