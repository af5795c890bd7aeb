"""The Docker rules over snapshots made by hand."""

import pytest

from tests.agent.rules.judged import NOW, container, docker, judge, one, sample, status, statuses

# checks.md, "Exit classification": exit code, OOM flag, and words of the class.
EXITS = [
    (0, False, "ended by itself with success"),
    (0, True, "a child was killed for memory"),
    (1, True, "a child was killed for memory"),
    (1, False, "application error"),
    (2, False, "wrong use"),
    (3, False, "uvicorn: the application failed to start"),
    (125, False, "docker itself"),
    (126, False, "not executable"),
    (127, False, "not found"),
    (130, False, "SIGINT"),
    (131, False, "SIGQUIT"),
    (134, False, "SIGABRT"),
    (137, True, "over its own limit"),
    (137, False, "SIGKILL and not for its memory limit"),
    (139, False, "SIGSEGV"),
    (143, False, "SIGTERM"),
    (42, False, "exit 42"),
]


@pytest.mark.parametrize(("code", "oom", "words"), EXITS)
def test_every_exit_has_its_class(code: int, oom: bool, words: str) -> None:
    found = one("DOCKER-EXIT-CLASS", docker(container(state="exited", exit_code=code, oom_killed=oom)))
    by_hand = code in (0, 130, 137, 143) and not oom
    assert statuses([found]) == ["warn" if by_hand else "crit"]
    assert words in found.summary
    assert found.subject.kind == "container"


@pytest.mark.parametrize("policy", ["always", "unless-stopped", "on-failure"])
@pytest.mark.parametrize("code", [130, 137, 143])
def test_a_container_that_was_stopped_on_purpose_is_a_warning(policy: str, code: int) -> None:
    found = one("DOCKER-EXIT-CLASS", docker(container(state="exited", exit_code=code, restart_policy=policy)))
    assert statuses([found]) == ["warn"]
    assert "stopped, and will not come back by itself" in found.summary
    assert "docker start web" in found.next


def test_a_container_that_was_stopped_is_critical_where_it_is_expected() -> None:
    stopped = container(state="exited", exit_code=143)
    assert status("DOCKER-EXIT-CLASS", docker(stopped, expected=["web"])) == "crit"


def test_an_ending_that_is_no_stop_is_critical_whatever_its_code() -> None:
    gave_up = container(state="exited", exit_code=137, restart_policy="on-failure", max_retries=3, restart_count=3)
    broken = container(state="exited", exit_code=137, error="no such device")
    for ended in (gave_up, broken, container(state="dead", exit_code=137)):
        assert status("DOCKER-EXIT-CLASS", docker(ended)) == "crit"


def test_containers_that_were_only_listed_are_expected_and_counted_too() -> None:
    listed = [container("late"), container("old", state="exited")]
    assert status("DOCKER-EXPECTED-MISSING", docker(container(), listed=listed, expected=["late"])) == "ok"
    assert "2 of 3 containers running" in one("DOCKER-DAEMON", docker(container(), listed=listed)).summary
    assert "1 more have ended" in one("DOCKER-EXIT-CLASS", docker(container(), listed=listed)).summary


def test_classes_of_memory_start_and_others_have_their_own_next_step() -> None:
    def step(exit_code: int, *, oom_killed: bool = False) -> str:
        ended = container(state="exited", exit_code=exit_code, oom_killed=oom_killed)
        return one("DOCKER-EXIT-CLASS", docker(ended)).next

    assert "memory limit" in step(exit_code=137, oom_killed=True)
    assert "roll the last deployment back" in step(exit_code=127)
    assert step(exit_code=1).startswith("docker logs --tail 50 web ")


def test_a_container_whose_start_failed_was_created_with_an_error() -> None:
    failed = container(state="created", exit_code=127, error="exec: not found")
    assert statuses(judge("DOCKER-EXIT-CLASS", docker(failed))) == ["crit"]
    assert statuses(judge("DOCKER-EXIT-CLASS", docker(container(state="created")))) == ["ok"]


def test_the_time_since_the_end_is_told() -> None:
    ended = container(state="exited", exit_code=1)
    ended.finished_time.FromSeconds(int(NOW) - 90)
    assert "application error (exit 1), 1m30s ago" in one("DOCKER-EXIT-CLASS", docker(ended)).summary


def test_a_one_off_that_failed_is_told_and_is_not_bad() -> None:
    ended = container(state="exited", exit_code=1, restart_policy="no")
    assert statuses(judge("DOCKER-EXIT-CLASS", docker(ended))) == ["info", "ok"]
    passing = container(state="exited", exit_code=1, passing=True)
    assert statuses(judge("DOCKER-EXIT-CLASS", docker(passing))) == ["info", "ok"]
    assert statuses(judge("DOCKER-EXIT-CLASS", docker(container(state="exited", restart_policy="no")))) == ["ok"]


def test_a_container_expected_by_configuration_ought_to_run_whatever_its_policy() -> None:
    ended = container(state="exited", restart_policy="no", compose_service="web", name="shop_web_1")
    assert status("DOCKER-EXIT-CLASS", docker(ended, expected=["web"])) == "crit"


def test_a_job_that_is_to_be_retried_on_failure_and_succeeded_is_well() -> None:
    done = container(state="exited", exit_code=0, restart_policy="on-failure")
    assert statuses(judge("DOCKER-EXIT-CLASS", docker(done))) == ["ok"]
    failed = container(state="exited", exit_code=1, restart_policy="on-failure")
    assert status("DOCKER-EXIT-CLASS", docker(failed)) == "crit"


@pytest.mark.parametrize(
    ("counts", "now", "expected"),
    [
        ([], 50, "ok"),
        ([0], 2, "ok"),
        ([0], 3, "warn"),
        ([0], 4, "warn"),
        ([0], 5, "crit"),
        ([10, 11, 12], 13, "warn"),
        ([10, 0, 1], 3, "warn"),
        ([10], 3, "warn"),
        ([10, 0], 2, "ok"),
    ],
    ids=["unknown past", "2", "3", "4", "5", "since oldest", "reset to 0", "reset between samples", "reset, then 2"],
)
def test_restarts_are_counted_over_the_samples(counts: list[float], now: int, expected: str) -> None:
    earlier = [sample(NOW - 300 + at, restarts_web=count) for at, count in enumerate(counts)]
    assert status("DOCKER-RESTART-LOOP", docker(container(restart_count=now), earlier=earlier)) == expected


def test_another_container_s_samples_do_not_count() -> None:
    earlier = [sample(NOW - 60, restarts_db=0)]
    assert status("DOCKER-RESTART-LOOP", docker(container(restart_count=9), earlier=earlier)) == "ok"


def test_a_container_that_is_restarting_right_now_is_critical_without_any_sample() -> None:
    found = one("DOCKER-RESTART-LOOP", docker(container(state="restarting", restart_count=1, exit_code=1)))
    assert statuses([found]) == ["crit"]
    assert "no earlier sample yet" in found.summary
    assert found.subject.name == "web"


def test_a_verdict_says_over_what_time_restarts_were_counted() -> None:
    earlier = [sample(NOW - 90, restarts_web=0)]
    assert "(counted over 1m30s)" in one("DOCKER-RESTART-LOOP", docker(container(), earlier=earlier)).summary


def test_an_expected_container_that_is_gone_or_stopped_is_critical() -> None:
    found = judge("DOCKER-EXPECTED-MISSING", docker(container("db", state="exited"), expected=["web", "db"]))
    assert [item.summary for item in found] == [
        "container web is expected and does not exist",
        "container db is expected and is exited",
    ]
    assert statuses(found) == ["crit", "crit"]
    assert found[0].next != found[1].next


def test_expected_containers_are_known_by_name_or_compose_service() -> None:
    running = [container("web"), container("shop-db-1", compose_service="db")]
    assert status("DOCKER-EXPECTED-MISSING", docker(*running, expected=["web", "db"])) == "ok"
    one_of_two = [container("w1", compose_service="web", state="exited"), container("w2", compose_service="web")]
    assert status("DOCKER-EXPECTED-MISSING", docker(*one_of_two, expected=["web"])) == "ok"


def test_without_any_expectation_nothing_is_called_well() -> None:
    assert status("DOCKER-EXPECTED-MISSING", docker(container())) == "skipped"


def test_an_engine_without_an_answer_is_critical_and_only_one_rule_says_so() -> None:
    silent = docker(error_class="timeout", error_text="no answer in 3 s")
    found = one("DOCKER-DAEMON", silent)
    assert statuses([found]) == ["crit"]
    assert "live-restore" in found.next
    for rule in ("DOCKER-EXIT-CLASS", "DOCKER-RESTART-LOOP", "DOCKER-EXPECTED-MISSING"):
        assert "ok" not in statuses(judge(rule, silent))


def test_an_engine_that_answers_says_how_many_containers_run() -> None:
    found = one("DOCKER-DAEMON", docker(container(), container("old", state="exited")))
    assert statuses([found]) == ["ok"]
    assert "1 of 2 containers running" in found.summary


@pytest.mark.covers("chk:DOCKER-UNHEALTHY")
@pytest.mark.parametrize(
    ("health", "failures", "expected"),
    [("healthy", 0, "ok"), ("healthy", 1, "info"), ("healthy", 2, "warn"), ("unhealthy", 1, "crit")],
)
def test_one_failed_health_check_is_no_alarm_and_two_are(health: str, failures: int, expected: str) -> None:
    assert status("DOCKER-UNHEALTHY", docker(container(health=health, failing_streak=failures))) == expected
