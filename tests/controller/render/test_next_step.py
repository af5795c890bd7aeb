"""A finding's first step: a command that asks the same hosts, for whoever copies it."""

import shlex

import pytest

from controller.render.next_step import fleet_of, step


@pytest.mark.covers("exp:limits")
@pytest.mark.parametrize(
    ("advice", "said"),
    [
        ("fleetmedic check {host} --show all", "fleetmedic check a,b -i x.ini --show all"),
        ("compare clocks: fleetmedic describe {host}", "compare clocks: fleetmedic describe a,b -i x.ini"),
        ("fleetmedic show locks {host}", "fleetmedic show locks a,b -i x.ini"),
        ("fleetmedic runs show last", "fleetmedic runs show last"),
        ("log in to {host}", "log in to a,b"),
        ("red \x1b[31m", "red \\x1b[31m"),
    ],
)
def test_a_command_that_asks_hosts_is_told_where_they_are(advice: str, said: str) -> None:
    assert step(advice, ["a", "b"], " -i x.ini") == said


def test_it_is_cut_where_a_host_says_too_much() -> None:
    assert len(step("x" * 100_000, ["a"], "")) == 2000


@pytest.mark.parametrize("sources", [[], ["/a.ini"], ["/with blank.ini", "/b", "a,b"], ["/'quote"]])
def test_the_flags_are_those_of_every_source(sources: list[str]) -> None:
    flags = shlex.split(fleet_of(shlex.join(sources)))
    assert flags == [word for source in sources for word in ("-i", source)]


def test_what_an_earlier_version_kept_is_left_out_where_it_can_not_be_read() -> None:
    assert fleet_of("it's.ini") == ""
