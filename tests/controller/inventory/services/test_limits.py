"""Limits of an inventory that no agent of this version has: told by validate, refused for a file of the agent's."""

from pathlib import Path

import pytest

from controller.inventory.services.limits import limit_flaw
from fleetmedic.v1.agent_pb2 import Limit
from tests.lab.agents import Desk


@pytest.mark.covers("inv:limits")
@pytest.mark.parametrize(
    ("rule", "name", "said"),
    [
        ("PG-IDLE-TXN", "warn_seconds", None),
        ("PG-IDLE-TXN", "warn_second", "PG-IDLE-TXN has no limit warn_second; did you mean warn_seconds?"),
        ("PG-IDLE-TX", "warn_seconds", "no rule PG-IDLE-TX in this version; did you mean PG-IDLE-TXN?"),
        ("NOTHING-LIKE", "x", "no rule NOTHING-LIKE in this version; docs/checks.md has them all"),
        ("DOCKER-NET", "x", "DOCKER-NET has no limits; take it away"),
        ("DEP-TCP", "zzz", "DEP-TCP has no limit zzz; it has slow_seconds"),
    ],
)
def test_an_unknown_limit_is_told_with_what_was_meant(rule: str, name: str, said: str | None) -> None:
    flaw = limit_flaw(Limit(rule=rule, name=name, value=1, origin="hosts.yml:3"))
    assert flaw == (said and f"hosts.yml:3: fleetmedic_limits: {said}")


@pytest.mark.covers("inv:limits")
def test_validate_warns_of_it_and_no_file_for_an_agent_is_made_with_it(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all: {hosts: {w1: {fleetmedic_limits: {PG-IDLE-TXN: {warn_second: 3}}}}}\n")
    said = "hosts.yml:1: fleetmedic_limits: PG-IDLE-TXN has no limit warn_second; did you mean warn_seconds?"
    desk = Desk(tmp_path)
    told = desk.run("inventory", "validate", "-i", "hosts.yml")
    assert (told.code, told.out.splitlines()[0]) == (0, f"WARN  {said}   (w1)")
    refused = desk.run("inventory", "host", "w1", "--agent-toml", "-i", "hosts.yml")
    assert (refused.code, refused.out, refused.err) == (65, "", f"fleetmedic: {said}\n")
