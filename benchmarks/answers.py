"""Reads what `fleetmedic check --format jsonl` printed: one line a host in the order of completion, a summary last."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class HostAnswer:
    """One host's line; `seconds` counts from the start of the command."""

    host: str
    state: str
    cause: str
    seconds: float


def host_answers(output: str) -> list[HostAnswer]:
    """The host lines in their order; raises ValueError where the summary is missing or a line is not JSON."""
    records = [json.loads(line) for line in output.splitlines()]
    if not records or records[-1].get("type") != "summary":
        raise ValueError(f"the output's last line is no summary: {output[-200:]!r}")
    return [
        HostAnswer(record["host"], record["state"], record.get("cause") or "", float(record["seconds"]))
        for record in records
        if record["type"] == "host"
    ]


def lost(answers: Iterable[HostAnswer], names: Iterable[str]) -> int:
    """How many of `names` have not exactly one line that says ok."""
    states: dict[str, list[str]] = {}
    for answer in answers:
        states.setdefault(answer.host, []).append(answer.state)
    return sum(states.get(name) != ["ok"] for name in names)


def last_answer(answers: Iterable[HostAnswer], names: Iterable[str]) -> float:
    """When the last of `names` that is ok answered, in seconds; infinite when none did."""
    wanted = set(names)
    return max((each.seconds for each in answers if each.host in wanted and each.state == "ok"), default=float("inf"))


def causes(answers: Iterable[HostAnswer], names: Iterable[str]) -> set[str]:
    """The different causes given for `names`, without what differs by host: its name and all numbers.

    A host that is missing, ok or without a cause counts as ''.
    """
    given = {each.host: re.sub(r"\d[\d.]*", "N", each.cause.replace(each.host, "HOST")) for each in answers}
    ok = {each.host for each in answers if each.state == "ok"}
    return {"" if name in ok else given.get(name, "") for name in names}
