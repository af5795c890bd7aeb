"""A plan is applied once, soon, by whoever made it, on the host it was made for; on a real worker and Redis."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetmedic.v1.action_pb2 import (
    OPERATION_STATE_DONE,
    OPERATION_STATE_FAILED,
    Action,
    FlushKeys,
    StopContainer,
)
from fleetmedic.v1.agent_pb2 import ApplyRequest, ApproveRequest, PlanRequest
from fleetmedic.v1.local_pb2 import (
    REFUSAL_KIND_FAILED_PRECONDITION,
    REFUSAL_KIND_INVALID,
    REFUSAL_KIND_NOT_FOUND,
    REFUSAL_KIND_NOT_PERMITTED,
    Caller,
    LocalRequest,
    LocalResponse,
)
from tests.lab import redis as servers
from tests.lab.redis import Redis
from tests.lab.worker_calls import freeze, records
from tests.scenarios.actions import operating
from tests.scenarios.actions.operating import Operator

PORT = 6393
TABLES = f"""
[[redis]]
service = "carts"
host = "127.0.0.1"
port = {PORT}

[[actions.keys]]
service = "carts"
pattern = "cache:*"
"""
FLUSH = Action(flush_keys=FlushKeys(service="carts", pattern="cache:*"))
DAVE = Caller(role="responder", user="dave")
# In make test; make soak runs twenty times as many.
RACES = 50


@pytest.fixture(scope="module")
def server(lab: Path) -> Iterator[Redis]:
    """Run a Redis for the tests of this file."""
    with servers.run(lab / "plans", port=PORT) as running:
        yield running


@pytest.fixture
def client(server: Redis) -> Iterator[Any]:
    """Give a client of a server with ten keys of a cache."""
    with server.client() as client:
        client.flushall()
        client.mset({f"cache:{number}": "x" for number in range(10)})
        yield client


@pytest.fixture
def operator(folder: Path, server: Redis) -> Iterator[Operator]:
    """Run a worker of the test's own that may flush keys."""
    with operating.working(folder, TABLES) as working:
        yield working


def altered(operator: Operator, change: str, *values: object) -> None:
    """Change all plans in the journal, as time or a restart of the host would."""
    with sqlite3.connect(operator.run.parent / "state/operations/operations.db") as base:
        base.execute(change, values)


@pytest.mark.covers("sec:A7")
def test_the_same_operation_again_gives_the_stored_answer_and_no_second_effect(operator: Operator, client: Any) -> None:
    plan = operator.plan(FLUSH)
    ended = operator.apply(plan, "O-SAME")
    assert (ended.state, client.dbsize()) == (OPERATION_STATE_DONE, 0)
    client.set("cache:again", "x")
    again = operator.applied(plan, "O-SAME").apply.operation
    assert (again.state, again.result, again.audit_head) == (ended.state, ended.result, ended.audit_head)
    assert client.dbsize() == 1


@pytest.mark.covers("sec:A7")
@pytest.mark.parametrize("kind", ["used", "another digest", "expired", "another's", "after a restart", "unknown"])
def test_a_plan_is_refused_that_is(operator: Operator, client: Any, kind: str) -> None:
    plan, asking, operation = operator.plan(FLUSH), operator, "O-NEW"
    expected, words = REFUSAL_KIND_FAILED_PRECONDITION, "plan again"
    if kind == "used":
        operator.apply(plan, "O-FIRST")
        client.set("cache:again", "x")
        words = "the plan was used already, by operation O-FIRST"
    elif kind == "another digest":
        operator.apply(plan, operation)
        client.set("cache:again", "x")
        plan = operator.plan(FLUSH)
        expected, words = REFUSAL_KIND_INVALID, "operation O-NEW is another plan's"
    elif kind == "expired":
        altered(operator, "UPDATE plans SET expires = expires - 301")
        words = "the plan is older than 5 min"
    elif kind == "another's":
        asking = replace(operator, caller=DAVE)
        expected, words = REFUSAL_KIND_NOT_PERMITTED, "the plan is carol's; each applies their own"
    elif kind == "after a restart":
        altered(operator, "UPDATE plans SET boot_id = ?", "another")
        words = "the host was restarted since it was planned"
    else:
        plan.digest = b"x" * 32
        expected = REFUSAL_KIND_NOT_FOUND
    before = client.dbsize()
    refusal = asking.not_applied(plan, operation)
    assert (refusal.kind, client.dbsize()) == (expected, before)
    assert words in refusal.reason


@pytest.mark.covers("sec:R10")
def test_of_two_who_apply_at_once_at_one_target_exactly_one_does(operator: Operator, client: Any) -> None:
    for race in range(RACES):
        client.mset({f"cache:{number}": "x" for number in range(10)})
        rivals = [operator, replace(operator, caller=DAVE)]
        plans = [rival.plan(FLUSH, reason="a race") for rival in rivals]
        answers: dict[int, LocalResponse] = {}
        start = threading.Barrier(2)

        def apply(place: int) -> None:
            start.wait()  # noqa: B023 - joined below
            answers[place] = rivals[place].applied(plans[place], f"O-{race}-{place}")  # noqa: B023 - joined below

        threads = [threading.Thread(target=apply, args=(place,)) for place in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        begun = [place for place, answer in answers.items() if answer.HasField("apply")]
        assert len(begun) == 1, [answer.refusal.reason for answer in answers.values()]
        ended = rivals[begun[0]].ended(f"O-{race}-{begun[0]}")
        assert (ended.state, client.dbsize()) == (OPERATION_STATE_DONE, 0)
        refusal = answers[1 - begun[0]].refusal
        assert refusal.kind == REFUSAL_KIND_FAILED_PRECONDITION
        said = (
            "is at it: flush-keys",
            "another operation is under way at it",
            "there is nothing to do any more",
            "the host is not as it was planned",
        )
        assert any(words in refusal.reason for words in said), refusal.reason


@pytest.mark.covers("sec:rate")
def test_the_third_time_within_half_an_hour_needs_a_reason_and_the_audit_log_has_it(
    operator: Operator, client: Any
) -> None:
    for _ in range(2):
        client.set("cache:1", "x")
        operator.apply(operator.plan(FLUSH))
    client.set("cache:1", "x")
    refusal = operator.refused(FLUSH)
    assert "flush-keys was done 2 times at 127.0.0.1:6393 within 30 min, which hides the cause" in refusal.reason
    ended = operator.apply(operator.plan(FLUSH, reason="the batch job is stopped now"))
    assert ended.state == OPERATION_STATE_DONE
    begun = [json.loads(record) for record in records(operator.run)]
    assert any("past the rate limit: the batch job is stopped now" in item["detail"] for item in begun)


@pytest.mark.covers("sec:audit", "sec:R6")
def test_without_an_audit_log_nothing_is_changed(operator: Operator, client: Any) -> None:
    plan = operator.plan(FLUSH)
    log = operator.run.parent / "audit"
    log.chmod(0o777)
    ended = operator.apply(plan)
    assert ended.state == OPERATION_STATE_FAILED
    assert "the audit log can't be written, and nothing is changed" in ended.result
    assert client.dbsize() == 10


@pytest.mark.covers("sec:R6")
def test_without_a_journal_nothing_is_planned_nor_changed(operator: Operator, client: Any) -> None:
    plan = operator.plan(FLUSH)
    (operator.run.parent / "state/operations").chmod(0o777)
    assert "the journal of operations can't be used" in operator.not_applied(plan).reason
    assert "the journal of operations can't be used" in operator.refused(FLUSH).reason
    assert client.dbsize() == 10


@pytest.mark.covers("sec:freeze")
def test_while_the_agent_is_frozen_plans_are_made_and_none_is_applied(operator: Operator, client: Any) -> None:
    freeze(operator.run, "the database moves")
    plan = operator.plan(FLUSH)
    refusal = operator.not_applied(plan)
    assert refusal.reason == "frozen by alice: the database moves"
    assert client.dbsize() == 10


@pytest.mark.covers("sec:actions")
@pytest.mark.parametrize(
    ("request_", "role", "kind"),
    [
        (LocalRequest(plan=PlanRequest(name="P-1", action=FLUSH)), "observer", REFUSAL_KIND_NOT_PERMITTED),
        (LocalRequest(apply=ApplyRequest(operation_id="O-1")), "observer", REFUSAL_KIND_NOT_PERMITTED),
        (LocalRequest(approve=ApproveRequest(name="P-1")), "observer", REFUSAL_KIND_NOT_PERMITTED),
        (LocalRequest(plan=PlanRequest(name="P 1", action=FLUSH)), "responder", REFUSAL_KIND_INVALID),
        (LocalRequest(plan=PlanRequest(name="P-1")), "responder", REFUSAL_KIND_INVALID),
        (LocalRequest(plan=PlanRequest(name="P-1", action=FLUSH, force=True)), "responder", REFUSAL_KIND_INVALID),
        (LocalRequest(plan=PlanRequest(name="P-1", undo="../x")), "responder", REFUSAL_KIND_NOT_FOUND),
        (LocalRequest(apply=ApplyRequest(operation_id="O 1")), "responder", REFUSAL_KIND_INVALID),
        (LocalRequest(apply=ApplyRequest(operation_id="O-1", reason="\x1b[2J")), "responder", REFUSAL_KIND_INVALID),
    ],
)
def test_what_is_no_request_or_not_for_the_role_is_refused(
    operator: Operator, request_: LocalRequest, role: str, kind: int
) -> None:
    (answer,) = replace(operator, caller=Caller(role=role, user="eve")).ask(request_)
    assert answer.refusal.kind == kind, answer


@pytest.mark.covers("sec:actions")
def test_what_only_undoes_can_t_be_asked_for(operator: Operator) -> None:
    refusal = operator.refused(Action(stop_container=StopContainer(container="orders-app")))
    assert refusal.kind == REFUSAL_KIND_NOT_PERMITTED
    assert "only undoes another operation" in refusal.reason


@pytest.mark.covers("sec:approval")
def test_where_agent_toml_asks_for_it_a_second_person_must_approve_and_may_deny(folder: Path, client: Any) -> None:
    config = TABLES.replace("[[actions", '[actions]\napproval = ["flush-keys"]\n\n[[actions')
    with operating.working(folder, config) as carol:
        dave = replace(carol, caller=DAVE)
        plan = carol.plan(FLUSH)
        assert plan.needs_approval
        refusal = carol.not_applied(plan)
        assert "a second person must approve it: fleetmedic approve P-TEST" in refusal.reason
        approving = LocalRequest(approve=ApproveRequest(name="P-TEST", digest=plan.digest, approved=True))
        assert "carol planned it" in carol.ask(approving)[0].refusal.reason
        (shown,) = dave.ask(LocalRequest(approve=ApproveRequest(name="P-TEST")))[0].approve.plans
        assert shown.digest == plan.digest
        denying = LocalRequest(
            approve=ApproveRequest(name="P-TEST", digest=plan.digest, approved=False, reason="wait for the backup")
        )
        assert dave.ask(denying)[0].HasField("approve")
        assert "dave denied it: wait for the backup" in carol.not_applied(plan).reason
        assert dave.ask(approving)[0].HasField("approve")
        assert carol.apply(plan).state == OPERATION_STATE_DONE
        assert client.dbsize() == 0
