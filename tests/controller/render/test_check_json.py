"""A check for programs: the keys, statuses of newer agents, and numbers that JSON does not know."""

import json
import math
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from controller.endings import State
from controller.render import check_json
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_UNSPECIFIED, STATUS_WARN, Metric, Row, Status, Table
from tests.controller import reports


def strict(text: str) -> Any:
    """Parse JSON as others do: without Python's NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.covers("exp:R4")
def test_a_document_is_a_summary_and_a_report_for_each_host() -> None:
    whole = strict(check_json.document(reports.forty_hosts()))
    assert {key: whole[key] for key in whole if key != "reports"} == {
        "type": "check",
        "schema": "fleetmedic-check/1",
        "run": "7F3K",
        "hosts": 40,
        "states": {"ok": 36, "failed": 3, "unreachable": 1},
        "checks": 60,
        "seconds": 3.4,
        "affected": {"backend": {"bad": 2, "hosts": 20}, "postgres": {"bad": 1, "hosts": 1}},
        "warned": ["tls"],
        "unaffected": ["host", "redis", "web", "worker"],
        "odd_ones_out": [],
        "frozen": [],
        "exit_code": 6,
    }
    assert [report["host"] for report in whole["reports"]] == reports.hosts(reports.forty_hosts().reports)


@pytest.mark.covers("exp:R4", "exp:R19")
def test_a_finding_has_these_keys() -> None:
    bad = reports.finding("A-B", STATUS_CRIT, "s", "n", "said", "fleetmedic check {host}", since=reports.NOW)
    bad.metrics.append(Metric(name="used", value=0.98, unit="ratio", limit=0.9, owner="own", origin="agent.toml"))
    bad.metrics.append(Metric(name="free", value=1, unit="count"))
    bad.table.CopyFrom(Table(columns=["a"], rows=[Row(cells=["1"])], omitted=2))
    bad.excerpt, bad.equal_command = "log", "free -m"
    (shown,) = strict(check_json.document(reports.run(reports.answered("web01", bad))))["reports"]
    assert shown["findings"] == [
        {
            "id": "A-B",
            "status": "crit",
            "service": "s",
            "kind": "host",
            "name": "n",
            "summary": "said",
            "first_seen": "2024-01-15T14:40:00Z",
            "metrics": [
                {"name": "used", "value": 0.98, "unit": "ratio", "limit": 0.9, "owner": "own", "origin": "agent.toml"},
                {"name": "free", "value": 1.0, "unit": "count"},
            ],
            "table": {"columns": ["a"], "rows": [["1"]], "omitted": 2},
            "excerpt": "log",
            "equal_command": "free -m",
            "next": "fleetmedic check web01",
        }
    ]
    assert shown.keys() == {
        "type", "host", "state", "cause", "seconds", "clock_offset", "messages", "findings", "agent",
    }  # fmt: skip


def test_a_host_without_an_answer_has_a_cause_and_no_agent() -> None:
    shown = check_json.host(reports.silent("db01", State.TIMEOUT, "no answer"))
    assert (shown["state"], shown["cause"], shown["findings"]) == ("timeout", "no answer", [])
    assert "agent" not in shown


@pytest.mark.covers("exp:R20")
@pytest.mark.parametrize(("status", "word"), [(1, "ok"), (4, "crit"), (6, "error"), (99, "?"), (-1, "?")])
def test_a_status_of_a_newer_agent_is_a_question_mark(status: "Status.ValueType", word: str) -> None:
    assert check_json.status(status) == word


def test_a_status_that_was_never_set_is_not_ok() -> None:
    assert check_json.status(STATUS_UNSPECIFIED) == "unspecified"


@pytest.mark.covers("sec:B7")
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_number_that_json_does_not_know_is_null(value: float) -> None:
    odd = reports.finding("A-B", STATUS_WARN)
    odd.metrics.append(Metric(name="used", value=value, unit="ratio", limit=value))
    (shown,) = strict(check_json.document(reports.run(reports.answered("web01", odd))))["reports"]
    assert (shown["findings"][0]["metrics"][0]["value"], shown["findings"][0]["metrics"][0]["limit"]) == (None, None)


@pytest.mark.covers("sec:B7")
@pytest.mark.parametrize("stamp", [Timestamp(seconds=10**15), Timestamp(seconds=-(10**15)), Timestamp(nanos=-5)])
def test_a_date_that_is_none_is_null(stamp: Timestamp) -> None:
    odd = reports.finding("A-B", STATUS_WARN)
    odd.first_seen_time.CopyFrom(stamp)
    (shown,) = strict(check_json.document(reports.run(reports.answered("web01", odd))))["reports"]
    assert shown["findings"][0]["first_seen"] is None


@pytest.mark.covers("sec:B5", "exp:R5")
def test_a_line_is_one_line_of_ascii() -> None:
    hostile = reports.finding(summary="a\nb\x1b[2J\u202e größe")
    text = check_json.one_line(check_json.host(reports.answered("web01", hostile)))
    assert text.isascii()
    assert text.isprintable()
    assert strict(text)["findings"][0]["summary"] == "a\nb\x1b[2J\u202e größe"
