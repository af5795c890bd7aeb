"""Containers are restarted, started and unpaused as planned, on a real engine, which itself counts what was done."""

import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from agent.actions import containers
from agent.actions.containers import Seen
from agent.engine import Engine as Asked
from fleetmedic.v1.action_pb2 import (
    OPERATION_STATE_DONE,
    OPERATION_STATE_FAILED,
    OPERATION_STATE_INTERRUPTED,
    RISK_LOW,
    RISK_MODERATE,
    Action,
    RestartContainer,
    StartContainer,
    StopContainer,
    UnpauseContainer,
)
from fleetmedic.v1.local_pb2 import REFUSAL_KIND_FAILED_PRECONDITION, REFUSAL_KIND_NOT_FOUND, REFUSAL_KIND_NOT_PERMITTED
from tests.lab import child, fixtures, images
from tests.lab.dockerd import Engine
from tests.lab.waiting import until
from tests.lab.worker_calls import records
from tests.scenarios.actions import operating
from tests.scenarios.actions.operating import Operator

SLEEP = ["sleep", "600"]
# A restart makes its /dev/shm anew, and so cures it.
STUCK = "if test -e /dev/shm/stuck; then echo stuck, token=health-secret; exit 1; fi"
# Its own file stays, and so it runs once and never again.
ONCE = ["sh", "-c", "if test -e /again; then exit 3; fi; touch /again; sleep 600"]
EFFECTS = ["restart", "start", "stop", "die", "pause", "unpause", "kill", "destroy"]
CONFIG = """
[docker]
socket = "{socket}"

[actions]
containers = ["orders-*"]
stateful = ["orders-ledger"]
"""


@pytest.fixture(scope="module")
def operator(lab: Path, engine: Engine) -> Iterator[Operator]:
    """Run a worker that may act on some containers."""
    with operating.working(lab / "container-actions", CONFIG.format(socket=engine.socket)) as working:
        yield working


def restart(name: str) -> Action:
    return Action(restart_container=RestartContainer(container=name))


def start(name: str) -> Action:
    return Action(start_container=StartContainer(container=name))


def unpause(name: str) -> Action:
    return Action(unpause_container=UnpauseContainer(container=name))


def checked(command: str) -> dict[str, Any]:
    return {"init": True, "healthcheck": {"test": ["CMD-SHELL", command], "interval": 2 * 10**8, "retries": 2}}


def until_healthy(container: Container, wanted: str = "healthy") -> None:
    def so() -> bool:
        return bool(standing(container)["Health"]["Status"] == wanted)

    until(wanted, so, seconds=20.0, every=0.05)


def standing(container: Container) -> dict[str, Any]:
    container.reload()
    made: dict[str, Any] = container.attrs["State"]
    return made


class Counted:
    """What the engine itself says was done to a container since it was last asked."""

    def __init__(self, engine: Engine, container: Container) -> None:
        self._api = engine.client.api
        self._id = container.id
        self._since = time.time()

    def __call__(self) -> list[str]:
        end = time.time()
        asked: dict[str, Any] = {"since": f"{self._since:.9f}", "until": f"{end:.9f}"}
        told = self._api.events(**asked, filters={"container": [self._id], "event": EFFECTS}, decode=True)
        self._since = end
        return [str(event["Action"]) for event in told]


# Restart.


@pytest.mark.covers("exp:F4")
def test_a_stuck_container_is_restarted_once_and_healthy_and_what_that_loses_is_kept_before(
    engine: Engine, operator: Operator
) -> None:
    say = ["sh", "-c", "echo served 17 with password=log-secret; exec sleep 600"]
    environment = {"DB_PASSWORD": "env-secret", "MODE": "plain-value"}
    with (
        images.run_container(engine, "orders-app", say, environment=environment, **checked(STUCK)) as container,
        images.run_container(engine, "orders-app-2", SLEEP, init=True) as neighbour,
    ):
        until_healthy(container)
        container.exec_run(["touch", "/dev/shm/stuck"])
        until_healthy(container, "unhealthy")
        before, beside = standing(container), standing(neighbour)
        counted = Counted(engine, container)
        plan = operator.plan(restart("orders-app"))
        assert counted() == []
        ended = operator.apply(plan)
        after = standing(container)
        done = counted()
        assert standing(neighbour)["StartedAt"] == beside["StartedAt"]

    assert plan.summary.startswith("orders-app is running for ")
    assert ", unhealthy (" in plan.summary
    ((kind, name, identity, does),) = [(item.kind, item.name, item.identity, item.does) for item in plan.effects]
    assert (kind, name, does) == ("container", "orders-app", "restart")
    assert identity == f"{container.id} started {before['StartedAt']}"
    assert (plan.subject.service, plan.risk, list(plan.verified_by)) == (
        "orders-app",
        RISK_MODERATE,
        ["DOCKER-UNHEALTHY"],
    )
    assert (plan.undo, "count of restarts" in plan.irreversible) == ("", True)
    assert "docker restart -t 10 orders-app" in plan.equal_commands
    assert any("where a dependency is down a restart does not help" in warning for warning in plan.warnings)

    assert ended.state == OPERATION_STATE_DONE, ended.result
    assert ended.result.startswith("restarted: it is running for ")
    assert ended.result.endswith(", healthy")
    assert not ended.HasField("undo")
    assert (done.count("restart"), done.count("start"), done.count("die")) == (1, 1, 1)
    assert after["StartedAt"] > before["StartedAt"]
    assert after["Health"]["Status"] == "healthy"

    kept = {name: operator.evidence(ended, name).decode() for name in plan.evidence}
    assert set(kept) == {"inspect.json", "logs.txt", "top.txt", "stats.json"}
    seen = json.loads(kept["inspect.json"])
    assert (seen["State"]["StartedAt"], seen["State"]["Health"]["Status"]) == (before["StartedAt"], "unhealthy")
    assert "stuck" in seen["State"]["Health"]["Log"][-1]["Output"]
    assert {"DB_PASSWORD=***", "MODE=***"} <= set(seen["Config"]["Env"])
    assert "served 17 with password=***" in kept["logs.txt"]
    assert kept["logs.txt"].startswith(before["StartedAt"][:10])
    assert "sleep 600" in kept["top.txt"]
    assert json.loads(kept["stats.json"])["memory_stats"]["usage"] > 0
    folder = operator.run.parent / "state"
    written = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert b"unhealthy" in written
    for secret in (b"env-secret", b"plain-value", b"log-secret", b"health-secret"):
        assert secret not in written


@pytest.mark.covers("exp:F4")
@pytest.mark.parametrize(
    ("command", "more", "said"),
    [
        (SLEEP, checked("echo the database is down; exit 1"), "it is unhealthy: its check says the database is down"),
        (ONCE, {"init": True}, "it ended with code 3"),
        (
            ONCE,
            {"init": True, "restart_policy": {"Name": "always"}},
            "it ended, and its engine starts it over and over",
        ),
    ],
)
def test_a_restart_that_does_not_cure_is_told_as_failed_and_not_repeated(
    engine: Engine, operator: Operator, command: list[str], more: dict[str, Any], said: str
) -> None:
    name = f"orders-ill-{len(said)}"
    with images.run_container(engine, name, command, **more) as container:
        if more.get("healthcheck"):
            until_healthy(container, "unhealthy")
        else:
            until("it has begun", lambda: container.exec_run(["test", "-e", "/again"]).exit_code == 0)
        counted = Counted(engine, container)
        ended = operator.apply(operator.plan(restart(name)))
        done = counted()
    assert ended.state == OPERATION_STATE_FAILED
    assert ended.result.startswith("restarted, but ")
    assert said in ended.result
    assert ended.result.endswith("; nothing was tried again")
    assert done.count("restart") == 1
    assert not ended.HasField("undo")


@pytest.mark.covers("exp:F4")
@pytest.mark.parametrize(
    ("name", "more", "kind", "said"),
    [
        ("checkout", {}, REFUSAL_KIND_NOT_PERMITTED, '[actions] containers = ["checkout"]'),
        ("orders-rm", {"auto_remove": True}, REFUSAL_KIND_NOT_PERMITTED, "started with --rm"),
        ("orders-ledger", {}, REFUSAL_KIND_NOT_PERMITTED, "holds data (agent.toml says so)"),
        ("orders-cache", {"image": "lab/valkey:8"}, REFUSAL_KIND_NOT_PERMITTED, "holds data (image valkey)"),
        (
            "orders-box",
            {"command": ["redis-server", "--save", ""]},
            REFUSAL_KIND_NOT_PERMITTED,
            "holds data (process redis-server)",
        ),
    ],
)
def test_a_restart_is_refused_of_what_agent_toml_does_not_list_and_of_what_would_lose_more_than_it_cures(
    engine: Engine, operator: Operator, name: str, more: dict[str, Any], kind: int, said: str
) -> None:
    fixtures.need("redis-server")
    more = dict(more)
    engine.client.images.get(images.host_bind(engine)).tag("lab/valkey", "8")
    command = more.pop("command", SLEEP)
    with images.run_container(engine, name, command, init=True, **more) as container:
        until("it runs", lambda: command[0] in str(container.top()))
        counted = Counted(engine, container)
        refusal = operator.refused(restart(name))
        assert counted() == []
    assert refusal.kind == kind
    assert said in refusal.reason


@pytest.mark.covers("exp:F4")
def test_a_restart_is_refused_of_a_container_that_is_paused_or_has_ended(engine: Engine, operator: Operator) -> None:
    with images.run_container(engine, "orders-frozen", SLEEP, init=True) as container:
        container.pause()
        paused = operator.refused(restart("orders-frozen"))
        container.unpause()
        container.stop(timeout=2)
        over = operator.refused(restart("orders-frozen"))
    assert {paused.kind, over.kind} == {REFUSAL_KIND_FAILED_PRECONDITION}
    assert "is paused: unpause it first" in paused.reason
    assert "is exited with code 143 for " in over.reason


@pytest.mark.covers("sec:actions")
def test_a_container_is_meant_by_its_whole_name_and_by_nothing_else(engine: Engine, operator: Operator) -> None:
    with images.run_container(engine, "orders-named", SLEEP, init=True) as container:
        for name in ("orders-name", "orders-named-2", "orders-"):
            refusal = operator.refused(restart(name))
            assert refusal.kind == REFUSAL_KIND_NOT_FOUND
            assert refusal.reason == (f"no container {name} here; of those that are, these are permitted: orders-named")
        assert container.id
        for name in (container.id, container.id[:12], "named"):
            assert operator.refused(restart(name)).kind == REFUSAL_KIND_NOT_PERMITTED
        for name in ("", "/orders-named", "orders-named\n", "orders-*", "../orders-named"):
            assert "is no container's name" in operator.refused(restart(name)).reason


@pytest.mark.covers("sec:A8")
@pytest.mark.parametrize("how", ["restarted", "made anew", "stopped"])
def test_a_container_that_somebody_changed_since_the_plan_is_not_restarted(
    engine: Engine, operator: Operator, how: str
) -> None:
    name = f"orders-{how.split()[0]}"
    with contextlib.ExitStack() as ours:
        container = ours.enter_context(images.run_container(engine, name, SLEEP, init=True))
        plan = operator.plan(restart(name))
        if how == "restarted":
            container.restart(timeout=2)
        elif how == "stopped":
            container.stop(timeout=2)
        else:
            container.remove(force=True)
            container = ours.enter_context(images.run_container(engine, name, SLEEP, init=True))
        counted = Counted(engine, container)
        refusal = operator.not_applied(plan)
        assert counted() == []
    assert refusal.kind == REFUSAL_KIND_FAILED_PRECONDITION
    expected = "only one that runs is restarted" if how == "stopped" else f"container {name} is not there any more"
    assert expected in refusal.reason


@pytest.mark.covers("sec:A7")
def test_the_same_operation_again_gives_the_stored_answer_and_restarts_nothing(
    engine: Engine, operator: Operator
) -> None:
    with images.run_container(engine, "orders-once", SLEEP, **checked("true")) as container:
        until_healthy(container)
        counted = Counted(engine, container)
        plan = operator.plan(restart("orders-once"))
        ended = operator.apply(plan, "O-RESTART-ONCE")
        assert (ended.state, counted().count("restart")) == (OPERATION_STATE_DONE, 1)
        again = operator.apply(plan, "O-RESTART-ONCE")
        assert (again.result, again.audit_head) == (ended.result, ended.audit_head)
        assert "the plan was used already" in operator.not_applied(plan).reason
        assert counted() == []


@pytest.mark.covers("sec:rate")
def test_a_third_restart_within_half_an_hour_is_refused_unless_a_reason_is_given_that_the_audit_log_keeps(
    engine: Engine, operator: Operator
) -> None:
    with images.run_container(engine, "orders-leak", SLEEP, **checked("true")) as container:
        until_healthy(container)
        counted = Counted(engine, container)
        for _ in range(2):
            ended = operator.apply(operator.plan(restart("orders-leak")))
            assert ended.state == OPERATION_STATE_DONE, ended.result
        refusal = operator.refused(restart("orders-leak"))
        assert counted().count("restart") == 2
        ended = operator.apply(operator.plan(restart("orders-leak"), reason="the leak is known, FM-12"))
        assert counted().count("restart") == 1
    assert refusal.kind == REFUSAL_KIND_FAILED_PRECONDITION
    assert "was done 2 times at orders-leak within 30 min, which hides the cause" in refusal.reason
    assert ended.state == OPERATION_STATE_DONE
    told = [json.loads(record) for record in records(operator.run)]
    (begun,) = [item for item in told if "the leak is known, FM-12" in item["detail"]]
    assert (begun["user"], begun["method"], begun["outcome"]) == ("carol", "Apply", "begun")
    assert "restart-container orders-leak" in begun["detail"]


@contextlib.contextmanager
def halting(folder: Path, engine: Engine, moment: str) -> Iterator[Operator]:
    """Run a worker whose operations halt at a moment."""
    file = folder / "agent.toml"
    top = f'name = "db01"\nstate = "{folder}/state"\nrun = "{folder}/run"\ndiscover = false\n'
    file.write_text(top + CONFIG.format(socket=engine.socket))
    (folder / "halt").write_text(moment)
    with child.run(
        [sys.executable, "-m", "tests.lab.halting_worker", file, folder],
        log=folder / "worker.log",
        ready=lambda _: (folder / "run/worker.sock").exists(),
        name="worker",
    ):
        yield Operator(folder / "run")


@pytest.mark.covers("sec:R1", "sec:A7")
@pytest.mark.parametrize(("moment", "restarts"), [("effect sent", 0), ("effect done", 1)])
def test_of_a_restart_whose_process_is_killed_what_happened_is_told_and_it_is_not_done_again(
    engine: Engine, folder: Path, moment: str, restarts: int
) -> None:
    name = f"orders-{moment.split()[1]}"
    with (
        images.run_container(engine, name, SLEEP, **checked("true")) as container,
        halting(folder, engine, moment) as operator,
    ):
        until_healthy(container)
        before = standing(container)["StartedAt"]
        counted = Counted(engine, container)
        plan = operator.plan(restart(name))
        operation = operator.begin(plan)
        until("it halts", (folder / "halted").exists)
        child.send(int((folder / "halted").read_text()), signal.SIGKILL)
        (folder / "halt").unlink()
        ended = operator.ended(operation)
        again = operator.applied(plan, operation).apply.operation
        after = standing(container)["StartedAt"]
        assert counted().count("restart") == restarts
        kept = json.loads(operator.evidence(ended, "inspect.json"))
    assert (ended.state, again.result) == (OPERATION_STATE_INTERRUPTED, ended.result)
    assert "interrupted, its process was ended from outside" in ended.result
    if restarts:
        assert f"{name} was restarted at {after}, and is running" in ended.result
    else:
        assert (after, f"{name} is running for " in ended.result) == (before, True)
        assert "as when it was planned" in ended.result
    assert kept["State"]["StartedAt"] == before


@pytest.mark.covers("exp:F4")
def test_health_checks_are_those_of_this_start_whatever_zone_their_times_are_in() -> None:
    def seen(*starts: str) -> Seen:
        log = [{"Start": moment, "Output": moment} for moment in starts]
        state = {"StartedAt": "2026-11-28T09:31:27.7Z", "Health": {"Status": "healthy", "Log": log}}
        return Seen(Asked("/nowhere", 1.0), {"State": state})

    before, after = "2026-11-28T11:31:27.6+02:00", "2026-11-28T11:31:27.80001+02:00"
    west = "2026-11-28T04:31:28-05:00"
    told = containers.fresh_checks(seen(before, after, west, "", "yesterday"))
    assert [entry["Output"] for entry in told] == [after, west]


# Start, unpause, and what undoes them.


@pytest.mark.covers("exp:actions")
def test_a_stopped_container_is_started_and_undone_it_is_stopped_again(engine: Engine, operator: Operator) -> None:
    with images.run_container(engine, "orders-batch", SLEEP, **checked("true")) as container:
        container.stop(timeout=2)
        counted = Counted(engine, container)
        plan = operator.plan(start("orders-batch"))
        assert [(item.identity, item.does) for item in plan.effects] == [(f"{container.id} exited", "start")]
        assert (plan.risk, "stops it again" in plan.undo, plan.irreversible) == (RISK_LOW, True, "")
        ended = operator.apply(plan, "O-START")
        assert ended.state == OPERATION_STATE_DONE, ended.result
        assert (standing(container)["Health"]["Status"], counted()) == ("healthy", ["start"])
        assert json.loads(operator.evidence(ended, "inspect.json"))["State"]["ExitCode"] == 143

        back = operator.plan(undo="O-START")
        assert (back.undoes, back.action.stop_container.id) == ("O-START", container.id)
        assert [(item.identity, item.does) for item in back.effects] == [(f"{container.id} running", "stop")]
        assert counted() == []
        undone = operator.apply(back, "O-STOP")
        assert undone.state == OPERATION_STATE_DONE, undone.result
        assert (standing(container)["Status"], counted().count("stop")) == ("exited", 1)
        assert "start-container orders-batch is the way back" in operator.refused(undo="O-STOP").reason


@pytest.mark.covers("exp:actions")
def test_what_undoes_a_start_leaves_another_container_of_that_name_alone(engine: Engine, operator: Operator) -> None:
    with images.run_container(engine, "orders-swap", SLEEP, init=True) as container:
        container.stop(timeout=2)
        ended = operator.apply(operator.plan(start("orders-swap")))
        assert ended.state == OPERATION_STATE_DONE, ended.result
        container.remove(force=True)
        with images.run_container(engine, "orders-swap", SLEEP, init=True) as other:
            refusal = operator.refused(undo=ended.operation_id)
            assert standing(other)["Status"] == "running"
    assert refusal.kind == REFUSAL_KIND_FAILED_PRECONDITION
    assert "orders-swap is another container by now" in refusal.reason


@pytest.mark.covers("exp:actions")
def test_a_container_that_ends_as_soon_as_it_is_started_is_told_as_failed(engine: Engine, operator: Operator) -> None:
    with images.run_container(engine, "orders-short", ["sh", "-c", "exit 3"]) as container:
        until("it has ended", lambda: standing(container)["Status"] == "exited")
        counted = Counted(engine, container)
        ended = operator.apply(operator.plan(start("orders-short")))
        assert counted().count("start") == 1
    assert ended.state == OPERATION_STATE_FAILED
    assert ended.result == "started, but it ended with code 3; nothing was tried again"


@pytest.mark.covers("exp:actions")
def test_what_the_engine_says_of_a_container_that_it_can_t_start_is_told(engine: Engine, operator: Operator) -> None:
    container = engine.client.containers.create(
        images.host_bind(engine), ["/nonexistent"], name="orders-unborn", network_mode="none"
    )
    try:
        ended = operator.apply(operator.plan(start("orders-unborn")))
    finally:
        container.remove(force=True)
    assert ended.state == OPERATION_STATE_FAILED
    assert ended.result.startswith("the engine refused: ")
    assert "; orders-unborn is created" in ended.result


@pytest.mark.covers("exp:actions")
def test_a_paused_container_goes_on_and_undone_it_is_paused_again(engine: Engine, operator: Operator) -> None:
    with images.run_container(engine, "orders-web", SLEEP, init=True) as container:
        container.pause()
        counted = Counted(engine, container)
        plan = operator.plan(unpause("orders-web"))
        assert plan.summary == "orders-web is paused"
        ended = operator.apply(plan)
        assert ended.state == OPERATION_STATE_DONE, ended.result
        assert (standing(container)["Status"], counted()) == ("running", ["unpause"])
        undone = operator.apply(operator.plan(undo=ended.operation_id))
        assert undone.state == OPERATION_STATE_DONE, undone.result
        assert (standing(container)["Status"], counted()) == ("paused", ["pause"])
        container.unpause()


@pytest.mark.covers("exp:actions")
def test_where_a_container_is_as_wanted_there_is_nothing_to_apply(engine: Engine, operator: Operator) -> None:
    with images.run_container(engine, "orders-well", SLEEP, init=True) as container:
        running = operator.plan(start("orders-well"))
        going = operator.plan(unpause("orders-well"))
        container.stop(timeout=2)
        over = operator.plan(unpause("orders-well"))
    assert {(plan.plan_id, len(plan.effects)) for plan in (running, going, over)} == {("", 0)}
    assert running.summary.startswith("orders-well is running for ")
    assert running.summary.endswith(": there is nothing to start")
    assert "not paused: there is nothing to do" in going.summary
    assert over.summary.startswith("orders-well is exited with code 143 for ")


@pytest.mark.covers("sec:actions")
def test_what_only_undoes_can_t_be_asked_for(engine: Engine, operator: Operator) -> None:
    with images.run_container(engine, "orders-asked", SLEEP, init=True) as container:
        refusal = operator.refused(Action(stop_container=StopContainer(container="orders-asked")))
        assert standing(container)["Status"] == "running"
    assert refusal.kind == REFUSAL_KIND_NOT_PERMITTED
    assert "stop-container only undoes another operation" in refusal.reason
