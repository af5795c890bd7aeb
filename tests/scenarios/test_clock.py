"""A host whose clock is wrong is shown with how much."""

import importlib.util
import json
from pathlib import Path

import pytest

from tests.lab import agents
from tests.lab.agents import Desk


def faketime() -> Path:
    found = importlib.util.find_spec("libfaketime")
    assert found is not None
    assert found.origin is not None
    return next(Path(found.origin).parent.rglob("libfaketime.so.1"))


@pytest.mark.covers("exp:X3", "sec:R8")
def test_a_clock_seven_seconds_ahead_is_shown_as_that(desk: Desk) -> None:
    ahead = {"LD_PRELOAD": str(faketime()), "FAKETIME": "+7s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with (
        agents.run(desk, "ahead", port=7470, environment=ahead) as wrong,
        agents.run(desk, "right", port=7471) as right,
        agents.fleet(desk, [wrong, right]) as fleet,
    ):
        shown = fleet.desk.run("describe", "-i", fleet.inventory)
        records = fleet.desk.run("describe", "-i", fleet.inventory, "--format", "json").out.splitlines()
        checked = fleet.check("--include", "HOST-MEM")

    assert "clock     +7.0s against ours" in shown.out
    offsets = [json.loads(record)["clock_offset"] for record in records]
    assert offsets[0] == pytest.approx(7.0, abs=0.1)
    assert offsets[1] == pytest.approx(0.0, abs=0.1)
    assert "CLOCK ahead its clock is +7.0s off ours" in checked.out
