"""What is no name is said to be none, by the system and by each name server."""

from pathlib import Path

import pytest

from agent.config import Config
from agent.probes import dns
from fleetmedic.v1.snapshot_pb2 import Target


@pytest.mark.parametrize("name", ["a" * 70 + ".lab", "a..lab", ".".join(["abcdefgh"] * 40)])
def test_a_name_that_can_t_be_asked_for_is_no_timeout(name: str, tmp_path: Path) -> None:
    """A thread that dies of an exception would fail this test by its warning."""
    seen = dns.collect(Target(probe="dns", host=name), Config(None, "h", tmp_path, tmp_path)).dns
    assert {answer.code for answer in (seen.system, *seen.servers)} <= {"not a name", "NXDOMAIN"}
    assert {answer.code for answer in seen.servers} <= {"not a name"}


def test_a_label_that_is_too_long_is_no_name_for_the_system_either(tmp_path: Path) -> None:
    seen = dns.collect(Target(probe="dns", host="a" * 70 + ".lab"), Config(None, "h", tmp_path, tmp_path)).dns
    assert seen.system.code == "not a name"
