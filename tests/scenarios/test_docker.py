"""Faults made with a real Docker engine, found by a real agent over mutual TLS."""

from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from tests.coverage import Evidence
from tests.lab import agents, child, images
from tests.lab.agents import Desk, Fleet
from tests.lab.dockerd import Engine
from tests.lab.waiting import until
from tests.scenarios.conftest import EXPECTED

SLEEP = ["sleep", "600"]
STAY: dict[str, Any] = {"restart_policy": {"Name": "on-failure", "MaximumRetryCount": 1}}


def ended(container: Container) -> bool:
    container.reload()
    return container.status == "exited"


def restarts(container: Container) -> int:
    container.reload()
    return int(container.attrs["RestartCount"])


@pytest.mark.covers("chk:DOCKER-EXPECTED-MISSING", "chk:DOCKER-EXIT-CLASS")
def test_an_expected_container_that_is_gone_or_has_ended_is_named(
    site: Fleet, engine: Engine, evidence: Evidence
) -> None:
    with images.run_container(engine, EXPECTED, SLEEP, init=True) as container:
        found = site.findings("--include", "DOCKER-*")
        evidence.well("DOCKER-EXPECTED-MISSING", found)
        evidence.well("DOCKER-EXIT-CLASS", found)
        evidence.well("DOCKER-DAEMON", found)

        container.kill()
        until("the container has ended", lambda: ended(container))
        found = site.findings("--include", "DOCKER-*")

    missing = evidence.fault("DOCKER-EXPECTED-MISSING", found, name=EXPECTED)
    assert "is exited" in missing["summary"]
    dead = evidence.fault("DOCKER-EXIT-CLASS", found, name=EXPECTED)
    assert "exit 137" in dead["summary"]
    assert "not for its memory limit" in dead["summary"]

    gone = evidence.fault("DOCKER-EXPECTED-MISSING", site.findings("--include", "DOCKER-*"), name=EXPECTED)
    assert "does not exist" in gone["summary"]


@pytest.mark.covers("chk:DOCKER-EXIT-CLASS")
@pytest.mark.parametrize(
    ("command", "more", "said"),
    [
        (["sh", "-c", "exit 1"], {}, "application error (exit 1)"),
        (["sh", "-c", "exit 3"], {}, "uvicorn"),
        (["sh", "-c", "exit 139"], {}, "SIGSEGV"),
        (["python3", "-c", "x = 'x' * 100_000_000"], {"mem_limit": "16m", "memswap_limit": "16m"}, "killed for memory"),
    ],
)
def test_how_a_container_ended_is_said_in_words(
    site: Fleet, engine: Engine, command: list[str], more: dict[str, Any], said: str
) -> None:
    with images.run_container(engine, "worker", command, **STAY, **more) as container:
        until("the container has given up", lambda: ended(container), seconds=20)
        found = site.findings("--include", "DOCKER-EXIT-CLASS")

    dead = next(item for item in found if item["name"] == "worker")
    assert dead["status"] == "crit"
    assert said in dead["summary"]


@pytest.mark.covers("chk:DOCKER-EXIT-CLASS")
def test_a_job_that_did_its_work_and_ended_is_no_finding(site: Fleet, engine: Engine) -> None:
    with images.run_container(engine, "nightly", ["true"]) as container:
        until("the job has ended", lambda: ended(container))
        found = site.findings("--include", "DOCKER-EXIT-CLASS")

    assert [item for item in found if item["name"] == "nightly"] == []


@pytest.mark.covers("chk:DOCKER-EXIT-CLASS")
def test_a_container_that_was_stopped_by_hand_is_a_warning(site: Fleet, engine: Engine) -> None:
    always = {"Name": "unless-stopped"}
    with images.run_container(engine, "by-hand", SLEEP, init=True, restart_policy=always) as container:
        container.stop(timeout=2)
        found = site.findings("--include", "DOCKER-EXIT-CLASS")

    stopped = next(item for item in found if item["name"] == "by-hand")
    assert stopped["status"] == "warn"
    assert "will not come back by itself" in stopped["summary"]


@pytest.mark.covers("chk:DOCKER-RESTART-LOOP")
def test_a_container_that_restarts_over_and_over_is_named_from_the_samples(
    site: Fleet, engine: Engine, evidence: Evidence
) -> None:
    evidence.well("DOCKER-RESTART-LOOP", site.findings("--include", "DOCKER-*"))

    with images.run_container(
        engine, "looping", ["sh", "-c", "exit 1"], restart_policy={"Name": "always"}
    ) as container:
        until("some restarts", lambda: restarts(container) >= 4, seconds=20)
        found = site.findings("--include", "DOCKER-RESTART-LOOP")

    loop = evidence.fault("DOCKER-RESTART-LOOP", found, name="looping")
    counted = next(item for item in loop["metrics"] if item["name"] == "restarts")
    assert counted["value"] >= 1
    assert "last exit 1" in loop["summary"]


@pytest.mark.covers("chk:discovery")
def test_an_engine_by_two_paths_is_looked_at_once(site: Fleet, engine: Engine) -> None:
    assert str(engine.socket) == "/run/docker.sock", "dockerd's own word; containers are sought at /var/run"
    (daemon,) = site.findings("--include", "DOCKER-DAEMON")
    assert daemon["status"] == "ok"


@pytest.mark.covers("chk:DOCKER-DAEMON")
def test_an_engine_that_hangs_is_named_and_its_containers_are_not_guessed_at(
    site: Fleet, engine: Engine, evidence: Evidence
) -> None:
    evidence.well("DOCKER-DAEMON", site.findings("--include", "DOCKER-*"))

    with child.stopped(engine.pid):
        found = site.findings("--include", "DOCKER-*")

    evidence.fault("DOCKER-DAEMON", found)
    assert [item for item in found if item["status"] == "ok"] == []


@pytest.mark.covers("chk:DOCKER-DAEMON")
def test_an_engine_that_was_stopped_is_down_where_containers_are_expected(desk: Desk, folder: Path) -> None:
    config = f'\n[docker]\nsocket = "{folder / "docker.sock"}"\nexpected = ["orders"]\n'
    with agents.run(desk, "engineless", port=7466, config=config) as agent, agents.fleet(desk, [agent]) as fleet:
        found = {item["id"]: item for item in fleet.findings("--include", "DOCKER-*")}
        asked = fleet.check("--service", "orders")

    assert found["DOCKER-DAEMON"]["status"] == "crit"
    assert "refused" in found["DOCKER-DAEMON"]["summary"]
    assert asked.code == 2, "whoever asks for a service hears that its engine is down"


@pytest.mark.covers("chk:DOCKER-EXIT-CLASS")
def test_a_container_is_a_service_that_can_be_asked_for_by_name(site: Fleet, engine: Engine) -> None:
    with images.run_container(engine, "ledger", ["sh", "-c", "exit 1"], **STAY) as container:
        until("the container has ended", lambda: ended(container))
        bad = site.findings("--service", "ledger")
    with images.run_container(engine, "ledger", SLEEP, init=True):
        well = site.findings("--service", "ledger")
        nobody = site.check("--service", "ledgre")

    assert {item["service"] for item in bad if item["status"] == "crit"} == {"ledger"}
    # That it was deployed just now is told.
    assert {item["status"] for item in well if item["id"] != "DEPLOY-RECENT"} == {"ok"}
    assert {"DOCKER-EXIT-CLASS", "DOCKER-RESTART-LOOP"} <= {item["id"] for item in well}
    assert (nobody.code, "did you mean ledger?" in nobody.err) == (65, True)
