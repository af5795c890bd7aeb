"""fleetmedic mitigate over two real agents and a real Docker engine: a container is frozen, cured, and frozen again."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.models.containers import Container

from tests.lab import agents, fixtures, images
from tests.lab.agents import Command, Desk, Fleet
from tests.lab.dockerd import Engine
from tests.lab.waiting import free_port, until

RITA = "rita"
SLEEP = ("sleep", "600")
UNPAUSE = ("mitigate", "unpause-container", "--container", "orders-app")
ALLOWED = '\n[actions]\ncontainers = ["orders-*"]\n'


class Responder(Desk):
    """A desk with a responder's certificate."""

    @property
    def environment(self) -> dict[str, str]:
        own = self.pki / RITA
        return {**super().environment, "FLEETMEDIC_CERTIFICATE": f"{own}.crt", "FLEETMEDIC_KEY": f"{own}.key"}


@pytest.fixture(scope="module")
def fleet(lab: Path, engine: Engine) -> Iterator[Fleet]:
    """Run an agent that may act on one container, and one that may act on none."""
    fixtures.need()
    desk = Responder(agents.desk(lab / "mitigated").folder)
    issued = desk.run("pki", "issue", "operator", RITA, "--role", "responder", "--dir", desk.pki, "--out", desk.pki)
    assert issued.code == 0, issued.err
    socket = f'[docker]\nsocket = "{engine.socket}"\n'
    with (
        agents.run(desk, "app01", port=free_port(), config=socket + ALLOWED) as first,
        agents.run(desk, "app02", port=free_port(), config=socket) as second,
        agents.fleet(desk, [first, second]) as made,
    ):
        yield made


@pytest.fixture
def paused(engine: Engine) -> Iterator[Container]:
    with images.run_container(engine, "orders-app", SLEEP, init=True) as container:
        container.pause()
        yield container


def run(fleet: Fleet, *words: str) -> Command:
    return fleet.desk.run(*words, "-i", fleet.inventory)


def status(container: Container) -> str:
    container.reload()
    return str(container.status)


@pytest.mark.covers("exp:X4", "exp:X5", "exp:X6", "exp:X7")
def test_a_paused_container_is_planned_cured_verified_and_paused_again(fleet: Fleet, paused: Container) -> None:
    dry = run(fleet, *UNPAUSE, "app01", "--dry-run", "--explain")
    assert (dry.code, status(paused)) == (0, "paused"), dry.err
    assert "docker unpause orders-app" in dry.out.replace("-H unix://", "") or "unpause orders-app" in dry.out
    found = re.search(r"mitigate apply (P-\w+)", dry.out)
    assert found
    done = run(fleet, "mitigate", "apply", found[1], "--yes", "--reason", "INC-214")
    assert (done.code, status(paused)) == (0, "running"), done.out + done.err
    assert re.search(r"DOCKER-PAUSED .*orders-app: crit -> ok", done.out)
    operation = re.search(r"mitigate undo (O-\w+)", done.out)
    assert operation
    assert run(fleet, "mitigate", "verify", operation[1]).code == 0
    undone = run(fleet, "mitigate", "undo", operation[1], "--yes")
    assert (undone.code, status(paused)) == (0, "paused"), undone.out + undone.err
    listed = run(fleet, "mitigate", "operations", "app01")
    assert operation[1] in listed.out
    assert "INC-214" in listed.out
    assert "rita" in listed.out


@pytest.mark.covers("exp:X6", "inv:F12")
def test_a_plan_of_a_container_that_was_made_anew_is_refused(fleet: Fleet, engine: Engine, paused: Container) -> None:
    found = re.search(r"mitigate apply (P-\w+)", run(fleet, *UNPAUSE, "app01", "--dry-run").out)
    assert found
    paused.remove(force=True)
    with images.run_container(engine, "orders-app", SLEEP, init=True) as other:
        other.pause()
        done = run(fleet, "mitigate", "apply", found[1], "--yes")
        assert (done.code, status(other)) == (75, "paused"), done.out
        assert "plan again" in done.out


@pytest.mark.covers("inv:F5", "inv:F12")
def test_a_host_whose_owner_allows_nothing_refuses_and_stops_the_others_unless_it_may(
    fleet: Fleet, paused: Container
) -> None:
    done = run(fleet, *UNPAUSE, "all", "--yes")
    assert (done.code, status(paused)) == (75, "paused"), done.out
    assert re.search(r"app02 +(refused|failed)", done.out)
    done = run(fleet, *UNPAUSE, "all", "--yes", "--max-fail", "1")
    assert (done.code, status(paused)) == (2, "running"), done.out
    until("the container runs", lambda: status(paused) == "running")
