"""A host whose installed agent is dead: check says what else can be asked, and over SSH the host is looked at."""

import shlex

import pytest

from tests.controller.bootstrap.installing import SERVICES, Crew
from tests.lab.agents import Command

OWN = (
    "find",
    "/opt/fleetmedic",
    "/etc/fleetmedic",
    "/var/lib/fleetmedic",
    "/run/fleetmedic",
    "-printf",
    r"%p %m %s %T@\n",
)
MEMORY = ("--include", "HOST-MEM")


def check(crew: Crew) -> Command:
    return crew.desk.check("web01", "-i", crew.inventory, *MEMORY)


@pytest.mark.covers("exp:X16", "sec:via-ssh")
def test_a_host_with_a_dead_agent_is_looked_at_over_ssh_and_its_own_files_stay_as_they_are(crew: Crew) -> None:
    host = crew.site["web01"]
    done = crew.agent("install", "web01")
    assert done.code == 0, done.out + done.err
    try:
        alive = check(crew)
        assert alive.code == 0, alive.out
        host.run("systemctl", "stop", *SERVICES)
        dead = check(crew)
        assert dead.code == 4
        (line,) = [line.strip() for line in dead.out.splitlines() if "next:" in line]
        look = shlex.split(line.partition("a look without the agents: ")[2])
        # systemd has taken the run folder with the units.
        before = host.tried(*OWN).out
        seen = crew.desk.run(*look[1:], *MEMORY, environment=crew.environment)
        assert seen.code == 0, seen.out + seen.err
        assert "OK web01" in seen.out
        assert host.tried(*OWN).out == before
        assert host.tried("systemctl", "is-active", *SERVICES).out.split() == ["inactive"] * len(SERVICES)
    finally:
        crew.agent("uninstall", "web01", "--yes")
