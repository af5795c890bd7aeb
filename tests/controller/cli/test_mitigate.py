"""fleetmedic mitigate: plans that change nothing, applied exactly, in batches, within a budget, and proven."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.store import database, events, plans
from controller.store.plans import KeptOperation
from fleetmedic.v1.action_pb2 import RISK_HIGH, RISK_LOW, Plan, Risk
from tests.controller import acting_agents, terminal
from tests.controller.acting_agents import Acting, Cast
from tests.lab.agents import BIN, Command, Desk

UNPAUSE = ("mitigate", "unpause-container")
CONTAINER = ("--container", "orders-app")


def run(cast: Cast, *words: str, code: int = 0) -> Command:
    done = cast.desk.run(*words, "-i", cast.inventory)
    assert done.code == code, (done.code, done.out, done.err)
    return done


def planned(cast: Cast, code: int = 0) -> str:
    """Make a plan; give its name."""
    done = run(cast, *UNPAUSE, *CONTAINER, "--dry-run", code=code)
    found = re.search(r"fleetmedic mitigate apply (P-\w+)", done.out)
    assert found, done.out
    return found[1]


def applied(cast: Cast, *words: str, code: int = 0) -> dict[str, Any]:
    return run(cast, *UNPAUSE, *CONTAINER, "--yes", "--format", "json", *words, code=code).json()


def states(made: dict[str, Any]) -> dict[str, str]:
    """The hosts' states; exactly one each, and their sum is what was selected."""
    found = {item["host"]: item["state"] for item in made["hosts"]}
    assert len(found) == len(made["hosts"]) == made["totals"].pop("selected")
    assert sum(made["totals"].values()) == len(found)
    return found


@contextlib.contextmanager
def store(desk: Desk) -> Iterator[sqlite3.Connection]:
    """Closed again at once: a second connection of one process takes the first one's locks away."""
    with contextlib.closing(database.connect(desk.folder / "state" / "fleetmedic" / "controller.db")) as base:
        yield base


def kept_events(desk: Desk) -> list[str]:
    with store(desk) as base:
        assert list(events.broken(base)) == []
        return [row[0] for row in base.execute("SELECT kind FROM events ORDER BY sequence")]


def kept(desk: Desk, operation: str) -> KeptOperation:
    with store(desk) as base:
        (found,) = plans.operations(base, operation)
    return found


@pytest.mark.covers("exp:X5", "exp:X6", "exp:X17")
def test_a_dry_run_changes_nothing_and_prints_how_it_is_applied(desk: Desk) -> None:
    with acting_agents.serving(desk, Acting("dry01"), Acting("dry02")) as cast:
        done = run(cast, *UNPAUSE, *CONTAINER, "-n", "--explain")
        assert all(each.paused and not each.applies for each in cast.agents)
    assert re.search(r"^PLAN P-\w{4}  unpause-container orders-app on 2 hosts of 2   risk: low", done.out)
    assert "Nothing was changed.  To apply this plan:  fleetmedic mitigate apply P-" in done.out
    assert "docker unpause orders-app" in done.out
    # One plan, for both say the same.
    assert done.out.count("1 container would be unpaused") == 1


@pytest.mark.covers("exp:X4", "exp:X6", "inv:F1", "inv:F4")
def test_apply_does_exactly_the_plan_once_in_batches_and_tells_the_cure(desk: Desk) -> None:
    with acting_agents.serving(desk, *(Acting(f"ok{number}") for number in range(4))) as cast:
        name = planned(cast)
        # By its own inventory: none is given.
        done = desk.run("mitigate", "apply", name, "--yes", "--reason", "INC-214")
        assert done.code == 0, done.err
        for each in cast.agents:
            (order,) = each.applies
            (plan,) = each.plans.values()
            assert (order.plan_id, order.digest, order.reason) == (plan.plan_id, plan.digest, "INC-214")
            assert (each.effects, each.paused) == (1, False)
        again = desk.run("mitigate", "apply", name, "--yes")
        assert (again.code, len(cast.agents[0].applies)) == (75, 1)
        assert "was applied already" in again.err
    assert re.findall(r"batch (\d/\d)( \(canary\))?", done.out) == [
        ("1/4", " (canary)"),
        ("2/4", ""),
        ("3/4", ""),
        ("4/4", ""),
    ]
    assert done.out.count("DOCKER-PAUSED orders-app: crit -> ok") == 4
    assert "4 hosts: 4 changed   exit code 0" in done.out
    assert {"plan", "apply", "operation-begin", "operation-end", "verdict"} <= set(kept_events(desk))


@pytest.mark.covers("inv:F1", "inv:F5", "inv:F12", "exp:X4")
def test_a_canary_that_is_not_cured_stops_all_others(desk: Desk) -> None:
    agents = (Acting("sick0", cures=False), Acting("sick1"), Acting("sick2"))
    with acting_agents.serving(desk, *agents) as cast:
        made = applied(cast, "--max-fail", "100%", code=10)
    assert states(made) == {"sick0": "gate_failed", "sick1": "not_attempted", "sick2": "not_attempted"}
    assert made["hosts"][0]["verdict"]["cure"] == "not cured"
    assert [len(each.applies) for each in agents] == [1, 0, 0]
    # One of two canaries is enough, whatever else is allowed.
    pair = (Acting("pair0", cures=False), Acting("pair1"), Acting("pair2"))
    with acting_agents.serving(desk, *pair) as cast:
        made = applied(cast, "--max-fail", "100%", "--serial", "2,100%", code=10)
    assert states(made) == {"pair0": "gate_failed", "pair1": "changed", "pair2": "not_attempted"}


@pytest.mark.covers("inv:F5", "inv:F12")
def test_a_host_that_is_unreachable_counts_against_the_budget(desk: Desk) -> None:
    with acting_agents.serving(desk, Acting("up0"), Acting("up1"), more=["down"]) as cast:
        made = applied(cast, code=4 | 8)
        assert states(made) == {"up0": "not_attempted", "up1": "not_attempted", "down": "unreachable"}
        assert not any(each.applies for each in cast.agents)
        made = applied(cast, "--max-fail", "1", code=4)
        assert states(made) == {"up0": "changed", "up1": "changed", "down": "unreachable"}


@pytest.mark.covers("inv:F1")
def test_what_there_is_nothing_to_do_for_is_well_and_not_asked(desk: Desk) -> None:
    well = Acting("well0", paused=False, summary="orders-app runs, not paused: there is nothing to do")
    with acting_agents.serving(desk, well, Acting("well1")) as cast:
        made = applied(cast)
        assert states(made) == {"well0": "ok", "well1": "changed"}
        assert not well.applies
        done = run(cast, *UNPAUSE, "well0", *CONTAINER)
    assert "nothing to do" in done.out


@pytest.mark.covers("inv:F13")
def test_a_stream_that_breaks_is_taken_up_after_the_last_step(desk: Desk) -> None:
    agent = Acting("broken", breaks=2)
    with acting_agents.serving(desk, agent) as cast:
        done = run(cast, *UNPAUSE, *CONTAINER, "--yes")
    assert [watch.after_sequence for watch in agent.watches] == [0, 1, 2]
    assert [done.out.count(f"broken  {text}\n") for text in ("one", "two", "three")] == [1, 1, 1]
    assert agent.effects == 1


@pytest.mark.covers("inv:F13")
def test_an_answer_that_is_lost_is_asked_for_again_under_the_same_id(desk: Desk) -> None:
    agent = Acting("lost", loses=2)
    with acting_agents.serving(desk, agent) as cast:
        assert states(applied(cast)) == {"lost": "changed"}
    assert len(agent.applies) == 3
    assert len({order.operation_id for order in agent.applies}) == 1
    assert agent.effects == 1


@pytest.mark.covers("inv:F12", "exp:X6", "exp:X13")
@pytest.mark.parametrize(
    "why",
    [
        "bob is at it: restart-container, for 72s (operation O-1)",
        "the host is not as it was planned: container orders-app is not there any more; plan again",
    ],
)
def test_a_host_that_refuses_is_told_with_its_reason_and_nothing_is_changed(desk: Desk, why: str) -> None:
    with acting_agents.serving(desk, Acting("held", plan_refused=why)) as cast:
        assert why in run(cast, *UNPAUSE, *CONTAINER, "--yes", code=75).out
    agent = Acting("drift", apply_refused=why)
    with acting_agents.serving(desk, agent) as cast:
        assert why in run(cast, *UNPAUSE, *CONTAINER, "--yes", code=75).out
    assert (agent.effects, len(agent.applies)) == (0, 1)
    found = kept(desk, agent.applies[0].operation_id)
    assert (found.state, found.undoable) == ("failed", False)


def test_an_operation_that_fails_on_its_host_is_a_failure_and_is_not_waited_for(desk: Desk) -> None:
    with acting_agents.serving(desk, Acting("fails", fails=True)) as cast:
        assert states(applied(cast, code=2)) == {"fails": "failed"}
    # What was begun is never called refused, whoever else refuses.
    agents = (Acting("begun", fails=True), Acting("barred", apply_refused="not now"))
    with acting_agents.serving(desk, *agents) as cast:
        made = applied(cast, "--serial", "1", "--max-fail", "2", code=2 | 8)
    assert states(made) == {"begun": "failed", "barred": "not_attempted"}


def test_an_agent_that_lies_about_its_plan_is_not_applied_to(desk: Desk) -> None:
    def another(plan: Plan) -> None:
        plan.action.unpause_container.container = "ledger"

    def nameless(plan: Plan) -> None:
        plan.ClearField("digest")

    for number, lie in enumerate((another, nameless)):
        agent = Acting(f"liar{number}", lies=lie)
        with acting_agents.serving(desk, agent) as cast:
            run(cast, *UNPAUSE, *CONTAINER, "--yes", code=2)
        assert not agent.applies


@pytest.mark.covers("sec:B7")
def test_hostile_text_reaches_no_terminal_raw(desk: Desk) -> None:
    nasty = "\x1b]0;owned\x07\x1b[2J\u202eevil\r\n"

    def spoil(plan: Plan) -> None:
        for texts in (plan.kept, plan.evidence, plan.steps, plan.warnings, plan.equal_commands):
            texts.append(nasty)
        plan.undo = plan.effects[0].name = plan.effects[0].does = nasty

    agent = Acting("nasty", summary=nasty, steps=[nasty], lies=spoil)
    with acting_agents.serving(desk, agent) as cast:
        words: list[str | Path] = [BIN / "fleetmedic", *UNPAUSE, *CONTAINER, "--yes", "--explain", "-i", cast.inventory]
        code, out = terminal.run(words, desk.environment, desk.folder, 100)
        listed = terminal.run(
            [BIN / "fleetmedic", "mitigate", "operations", "-i", cast.inventory], desk.environment, desk.folder, 100
        )
    assert (code, listed[0]) == (0, 0), out
    for text in (out, listed[1]):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", terminal.COLOUR.sub("", text).replace("\r", "")), (
            text
        )


@pytest.mark.covers("exp:X6")
def test_without_a_terminal_and_without_a_flag_nothing_is_changed_and_the_mend_is_told(desk: Desk) -> None:
    with acting_agents.serving(desk, Acting("mute")) as cast:
        done = run(cast, *UNPAUSE, *CONTAINER, code=64)
        assert re.search(r"nothing was changed: .* fleetmedic mitigate apply P-\w+ --yes", done.err)
        assert not cast.agents[0].applies
        # It was planned, and can still be applied.
        name = re.search(r"P-\w{4}", done.err)
        assert name
        assert desk.run("mitigate", "apply", name[0], "--yes").code == 0


def test_a_high_risk_takes_a_name_and_not_a_yes(desk: Desk) -> None:
    with acting_agents.serving(desk, Acting("risky", risk=RISK_HIGH)) as cast:
        assert "--confirm P-" in run(cast, *UNPAUSE, *CONTAINER, "--yes", code=64).err
        run(cast, *UNPAUSE, *CONTAINER, "--confirm", "other", code=64)
        assert not cast.agents[0].applies
        run(cast, *UNPAUSE, *CONTAINER, "--confirm", "risky")
        assert cast.agents[0].effects == 1


@pytest.mark.parametrize(
    "words",
    [("--serial", "0"), ("--serial", "2"), ("--max-fail", "-1"), ("--force",), ("--reason", "a\nb")],
    ids=" ".join,
)
def test_what_is_typed_wrongly_is_told_before_anything_is_changed(desk: Desk, words: tuple[str, ...]) -> None:
    with acting_agents.serving(desk, Acting("typo0"), Acting("typo1")) as cast:
        run(cast, *UNPAUSE, *CONTAINER, "--yes", *words, code=64)
        assert not any(each.applies for each in cast.agents)


def interrupted(cast: Cast, agent: Acting, times: int) -> tuple[int, dict[str, Any], str]:
    """Send Ctrl-C while the agent's operation goes on; give the exit code and what was printed."""
    words: list[str | Path] = [
        BIN / "fleetmedic",
        *UNPAUSE,
        *CONTAINER,
        "--yes",
        "--format",
        "json",
        "-i",
        cast.inventory,
    ]
    with subprocess.Popen(
        words,
        env=cast.desk.environment,
        cwd=cast.desk.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        acting_agents.until_watched(agent)
        for _ in range(times):
            os.kill(process.pid, signal.SIGINT)
            time.sleep(0.3)
        if times == 1:
            assert agent.held is not None
            agent.held.set()
        out, err = process.communicate(timeout=30)
    return process.returncode, json.loads(out), err


@pytest.mark.covers("inv:F9")
def test_ctrl_c_once_waits_for_whom_is_changed_and_begins_nobody_else(desk: Desk) -> None:
    agent = Acting("once0", held=threading.Event())
    with acting_agents.serving(desk, agent, Acting("once1")) as cast:
        code, made, err = interrupted(cast, agent, 1)
        assert not cast.agents[1].applies
    assert (code, states(made)) == (130, {"once0": "changed", "once1": "cancelled"})
    assert "waiting for 1 host that was asked" in err


@pytest.mark.covers("inv:F9")
def test_ctrl_c_twice_leaves_and_the_host_is_unknown_until_it_is_asked(desk: Desk) -> None:
    agent = Acting("twice0", held=threading.Event())
    with acting_agents.serving(desk, agent, Acting("twice1")) as cast:
        code, made, _ = interrupted(cast, agent, 2)
        assert (code, states(made)) == (130, {"twice0": "unknown", "twice1": "cancelled"})
        run(cast, "mitigate", "operations", "all")
    found = kept(desk, made["hosts"][0]["operation"])
    assert (found.state, found.undoable) == ("changed", True)


@pytest.mark.covers("exp:X7", "exp:X4")
def test_an_operation_is_undone_by_its_name_and_verified_again(desk: Desk) -> None:
    agent = Acting("back")
    with acting_agents.serving(desk, agent) as cast:
        operation = applied(cast)["hosts"][0]["operation"]
        assert "crit -> ok" in desk.run("mitigate", "verify", operation).out
        done = desk.run("mitigate", "undo", operation, "--yes")
        assert (done.code, agent.paused, agent.effects) == (0, True, 2), done.err
        again = desk.run("mitigate", "verify", operation)
        assert (again.code, "not cured" in again.out) == (2, True), again.out
        assert desk.run("mitigate", "undo", "O-NONE2345", "--yes").code == 65


def test_the_lists_say_what_there_is_and_what_a_plan_would_do(desk: Desk) -> None:
    assert "cures DOCKER-PAUSED" in desk.run("mitigate", "list").out
    assert "risk    low" in desk.run("mitigate", "show", "unpause-container").out
    with acting_agents.serving(desk, Acting("shown")) as cast:
        name = planned(cast)
    assert "1 container would be unpaused" in desk.run("mitigate", "show", name.lower()).out
    assert desk.run("mitigate", "show", "P-0000").code == 65


def test_a_store_that_cannot_be_used_changes_nothing(desk: Desk, tmp_path: Path) -> None:
    with acting_agents.serving(desk, Acting("full")) as cast:
        run(cast, *UNPAUSE, *CONTAINER, "--yes", "--store", str(tmp_path), code=1)
        assert not cast.agents[0].applies


@pytest.mark.covers("sec:approval")
def test_a_plan_that_needs_a_second_person_waits_and_is_shown_before_it_is_approved(desk: Desk) -> None:
    agent = Acting("second", needs_approval=True)
    with acting_agents.serving(desk, agent) as cast:
        done = run(cast, *UNPAUSE, *CONTAINER, "--yes", code=75)
        found = re.search(r"fleetmedic approve (P-\w+)", done.out)
        assert found
        assert not agent.applies
        name = found[1]
        shown = run(cast, "approve", name, code=64)
        assert "1 container would be unpaused" in shown.out
        assert not next(iter(agent.plans.values())).approvals
        assert "second  approved" in run(cast, "approve", name, "--yes").out
        (approval,) = next(iter(agent.plans.values())).approvals
        assert approval.approved
        run(cast, "deny", name, "--yes", code=64)
        run(cast, "deny", name, "--yes", "--reason", "wrong host")
        run(cast, "approve", "P-9999", "--yes", code=65)
    assert {"approved", "denied"} <= set(kept_events(desk))


@pytest.mark.covers("exp:X6")
@pytest.mark.parametrize(
    ("risk", "typed", "code"),
    [(RISK_LOW, "y\n", 0), (RISK_LOW, "\n", 64), (RISK_HIGH, "y\n", 64), (RISK_HIGH, "asked\n", 0)],
)
def test_at_a_terminal_it_is_asked_and_silence_is_a_no(
    desk: Desk, risk: "Risk.ValueType", typed: str, code: int
) -> None:
    agent = Acting("asked", risk=risk)
    with acting_agents.serving(desk, agent) as cast:
        words: list[str | Path] = [BIN / "fleetmedic", *UNPAUSE, *CONTAINER, "-i", cast.inventory]
        ended, out = terminal.run(words, desk.environment, desk.folder, 100, typed)
    assert (ended, agent.effects) == (code, int(code == 0)), out
