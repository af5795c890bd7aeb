"""A kept run for people: the evidence of what was bad, and nothing of a host reaches the terminal raw."""

from typing import TextIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.render import escape, run_text
from controller.render.paper import paper
from controller.store.runs import Run
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, Metric, Row, Table
from tests.controller import reports, terminal


def shown(run: Run, only: str | None = None) -> str:
    def write(stream: TextIO) -> None:
        run_text.body(paper(stream, {}, 100, no_colour=True), run, only)

    return terminal.written(100, write)


@pytest.mark.covers("exp:R23", "exp:R19")
def test_a_run_shows_its_evidence_with_the_bad_hosts_first() -> None:
    bad = reports.finding(
        "PG-LOCK-ROOT", STATUS_CRIT, "postgres", "5432", "pid 7 holds 3 up", "fleetmedic check {host}"
    )
    bad.metrics.append(Metric(name="waiting", value=3, unit="count", limit=1, owner="own", origin="default"))
    bad.table.CopyFrom(Table(columns=["pid", "query"], rows=[Row(cells=["7", "UPDATE t"])], omitted=4))
    bad.excerpt, bad.equal_command = "line one\nline two", "psql -c 'SELECT 1'"
    run = reports.run(reports.answered("a", reports.finding()), reports.answered("b", bad), exit_code=2)
    assert shown(run) == (
        "run 7F3K   check all   2024-01-15 14:39:56Z   3.4s\n"
        "\n"
        "b  failed  (0.20s)\n"
        "  ✗ CRIT  PG-LOCK-ROOT  postgres 5432: pid 7 holds 3 up\n"
        "      waiting = 3 (limit 1)\n"
        "      pid  query\n"
        "      7    UPDATE t\n"
        "      and 4 more rows\n"
        "      | line one\n"
        "      | line two\n"
        "      same as: psql -c 'SELECT 1'\n"
        "      next: fleetmedic check b\n"
        "\n"
        "a  ok  (0.20s)\n"
        "  well or skipped: HOST-MEM\n"
        "exit code 2\n"
    )


def test_one_host_can_be_shown_alone() -> None:
    text = shown(reports.forty_hosts(), "db01")
    assert "PG-CONN-SATURATION" in text
    assert "app07" not in text.replace("app-backend@app07", "")


hostile = st.text(st.characters(codec="utf-8"), max_size=30)


@pytest.mark.covers("sec:B5")
@settings(max_examples=60, deadline=None)
@given(st.lists(hostile, min_size=8, max_size=8), st.lists(st.lists(hostile, max_size=3), max_size=3))
def test_no_evidence_reaches_the_terminal_raw(texts: list[str], rows: list[list[str]]) -> None:
    identity, service, name, summary, step, excerpt, command, unit = texts
    bad = reports.finding(identity, STATUS_CRIT, service, name, summary, step)
    bad.metrics.append(Metric(name=name, value=1, unit=unit, limit=2, owner=service, origin=summary))
    bad.table.CopyFrom(Table(columns=[name, unit], rows=[Row(cells=cells) for cells in rows]))
    bad.excerpt, bad.equal_command = excerpt, command
    run = reports.run(reports.answered("a", bad, reports.finding(identity)), reports.silent("b", cause=summary))
    for row in shown(run).splitlines():
        assert escape.line(row) == row
