"""The PostgreSQL rules over snapshots made by hand."""

import time

import pytest

from fleetmedic.v1.snapshot_pb2 import (
    POSTGRES_RUNG_PROCESS_TITLES,
    POSTGRES_RUNG_WARM,
    PostgresConnections,
    PostgresLogin,
    PostgresOwner,
    PostgresSnapshot,
    Snapshot,
)
from tests.agent.rules.judged import (
    duration,
    edge,
    judge,
    one,
    postgres,
    refused_postgres,
    session,
    status,
    statuses,
    target,
)


@pytest.mark.parametrize(("seconds", "expected"), [(0.999, "ok"), (1.0, "ok"), (1.001, "warn")])
def test_a_login_slower_than_a_second_is_a_warning(seconds: float, expected: str) -> None:
    assert status("PG-UP", postgres(login=PostgresLogin(role="r", select_one=duration(seconds)))) == expected


@pytest.mark.parametrize(
    ("error_class", "words"),
    [
        ("53300", "full"),
        ("57P03", "starting"),
        ("53100", "no space left"),
        ("read-only", "read-only"),
        ("timeout", "gives no answer"),
        ("refused", "nobody listens"),
        ("unreachable", "can't be reached"),
        ("cut", "cut the connection off"),
        ("unknown", "refuses the login"),
    ],
)
def test_a_refusal_is_critical_and_says_which_kind_it_is(error_class: str, words: str) -> None:
    found = one("PG-UP", refused_postgres(error_class, "the text"))
    assert statuses([found]) == ["crit"]
    assert words in found.summary
    assert "the text" in found.summary
    assert found.next


@pytest.mark.parametrize("error_class", ["28P01", "28000", "3D000"])
def test_a_refusal_of_our_own_login_is_skipped_with_the_grants_to_run(error_class: str) -> None:
    found = one("PG-UP", refused_postgres(error_class, "no such role", grants="GRANT pg_monitor TO fleetmedic"))
    assert statuses([found]) == ["skipped"]
    assert found.reason == "needs a login: no such role"
    assert found.excerpt == "GRANT pg_monitor TO fleetmedic"


def test_a_standby_that_takes_no_queries_is_told_and_is_not_down() -> None:
    found = one("PG-UP", refused_postgres("standby", "the database system is not accepting connections"))
    assert statuses([found]) == ["info"]
    assert "a standby that takes no queries" in found.summary


@pytest.mark.parametrize("rule", ["PG-UP", "PG-CONN-SATURATION", "PG-IDLE-TXN", "PG-LOCK-ROOT"])
def test_a_login_whose_own_queries_fail_is_never_ok_and_says_why(rule: str) -> None:
    found = one(rule, refused_postgres("", "", read_error_class="timeout", read_error_text="due to lock timeout"))
    assert statuses([found]) == ["warn" if rule == "PG-UP" else "error"]
    assert "due to lock timeout" in found.summary


def test_a_server_that_let_only_its_superuser_in_is_full() -> None:
    assert status("PG-UP", postgres(used=97)) == "ok"
    found = one("PG-UP", postgres(used=98))
    assert statuses([found]) == ["crit"]
    assert "53300" in found.summary


def test_a_full_server_names_who_holds_most_and_how_it_was_read() -> None:
    snapshot = refused_postgres("53300", "too many clients", rung=POSTGRES_RUNG_PROCESS_TITLES)
    snapshot.postgres.owners.add(user="app", database="shop", client="10.0.0.5", state="idle", count=90)
    snapshot.postgres.owners.add(user="etl", database="shop", client="10.0.0.6", state="active", count=7)
    summary = one("PG-UP", snapshot).summary
    assert "90 of 97 are app@shop from 10.0.0.5, idle" in summary
    assert "process titles" in summary
    snapshot.postgres.login.rung = POSTGRES_RUNG_WARM
    assert "warm connection" in one("PG-UP", snapshot).summary


@pytest.mark.parametrize(("used", "expected"), [(77, "ok"), (78, "warn"), (87, "warn"), (88, "crit"), (97, "crit")])
def test_slots_are_counted_without_those_kept_back(used: int, expected: str) -> None:
    assert status("PG-CONN-SATURATION", postgres(used=used, most=100, superuser=3)) == expected


def test_reserved_connections_are_no_application_slots() -> None:
    assert status("PG-CONN-SATURATION", postgres(used=79, most=110, superuser=3, reserved=7)) == "ok"
    assert status("PG-CONN-SATURATION", postgres(used=80, most=110, superuser=3, reserved=7)) == "warn"


def test_a_limit_of_the_request_moves_the_status_and_shows_its_origin() -> None:
    found = one("PG-CONN-SATURATION", postgres(used=50), limits={"warn_share": 0.5, "crit_share": 0.6})
    assert statuses([found]) == ["warn"]
    assert (found.metrics[0].limit, found.metrics[0].origin) == (0.5, "test")


def test_a_server_full_by_its_process_titles_is_critical_and_names_the_owner() -> None:
    snapshot = refused_postgres("53300", rung=POSTGRES_RUNG_PROCESS_TITLES)
    snapshot.postgres.connections.used = 90
    snapshot.postgres.owners.append(PostgresOwner(user="app", database="shop", client="local", state="idle", count=90))
    found = one("PG-CONN-SATURATION", snapshot)
    assert statuses([found]) == ["crit"]
    assert "90 connections by process titles; most by app@shop from local: 90 idle" in found.summary


def test_process_titles_of_a_server_that_is_not_full_prove_nothing() -> None:
    snapshot = refused_postgres("28P01", "wrong password", rung=POSTGRES_RUNG_PROCESS_TITLES)
    snapshot.postgres.connections.used = 5
    assert status("PG-CONN-SATURATION", snapshot) == "skipped"


@pytest.mark.parametrize(("seconds", "expected"), [(59.9, "ok"), (60, "warn"), (299.9, "warn"), (300, "crit")])
def test_an_idle_transaction_is_judged_by_how_long_it_idles(seconds: float, expected: str) -> None:
    assert status("PG-IDLE-TXN", postgres(sessions=[session(7, seconds=seconds)])) == expected


def test_an_aborted_transaction_counts_as_idle_and_an_active_one_does_not() -> None:
    assert status("PG-IDLE-TXN", postgres(sessions=[session(7, "idle in transaction (aborted)", 400)])) == "crit"
    assert status("PG-IDLE-TXN", postgres(sessions=[session(7, "active", 4000)])) == "ok"


def test_the_longest_idle_session_is_the_one_named() -> None:
    found = one(
        "PG-IDLE-TXN", postgres(sessions=[session(7, seconds=70), session(8, seconds=90, query="UPDATE t SET x = ?")])
    )
    assert found.summary.startswith("2 idle in transaction, the longest session 8 (app@shop from 10.0.0.5;")
    assert "UPDATE t SET x = ?" in found.summary
    assert [row.cells[0] for row in found.table.rows] == ["8", "7"]


BLIND = {
    "no login at all": refused_postgres("refused", "connection refused"),
    "process titles only": Snapshot(
        target=target("postgres"),
        postgres=PostgresSnapshot(
            login=PostgresLogin(error_class="53300", rung=POSTGRES_RUNG_PROCESS_TITLES),
            connections=PostgresConnections(used=90),
        ),
    ),
    "no pg_monitor": postgres(sees_all=False),
}


@pytest.mark.parametrize("rule", ["PG-IDLE-TXN", "PG-LOCK-ROOT"])
@pytest.mark.parametrize("why", BLIND)
def test_sessions_that_could_not_be_seen_are_skipped_with_the_reason(rule: str, why: str) -> None:
    found = one(rule, BLIND[why])
    assert statuses([found]) == ["skipped"]
    assert found.reason.startswith("needs ")


def test_without_pg_monitor_the_grant_to_run_names_the_role() -> None:
    assert one("PG-LOCK-ROOT", BLIND["no pg_monitor"]).reason == "needs pg_monitor: GRANT pg_monitor TO fleetmedic"


@pytest.mark.parametrize(("seconds", "expected"), [(4.9, "ok"), (5, "warn"), (29.9, "warn"), (30, "crit")])
def test_a_lock_is_judged_by_its_longest_wait(seconds: float, expected: str) -> None:
    assert status("PG-LOCK-ROOT", postgres(edges=[edge(2, 1, seconds)])) == expected


@pytest.mark.parametrize(("victims", "expected"), [(4, "ok"), (5, "crit")])
def test_a_lock_with_many_victims_is_critical_at_once(victims: int, expected: str) -> None:
    assert status("PG-LOCK-ROOT", postgres(edges=[edge(10 + n, 1, 0.1) for n in range(victims)])) == expected


def test_a_chain_has_one_root_which_is_the_one_that_does_not_wait() -> None:
    edges = [edge(2, 1, 40, relation="orders"), edge(3, 2, 30), edge(4, 3, 20), edge(5, 3, 10), edge(6, 3, 6)]
    found = one("PG-LOCK-ROOT", postgres(sessions=[session(1), session(2, "active")], edges=edges))
    values = {metric.name: metric.value for metric in found.metrics}
    assert values == {"longest_wait_seconds": 40, "victims": 5, "depth": 3}
    assert found.subject.name == "postgres here pid 1"
    assert "blocks 5 sessions on orders" in found.summary
    assert [row.cells[:2] for row in found.table.rows] == [["1", "root"], *([str(n), "victim"] for n in range(2, 7))]


def test_two_roots_are_two_findings_the_one_with_more_victims_first() -> None:
    found = judge("PG-LOCK-ROOT", postgres(edges=[edge(2, 1, 9), edge(4, 3, 9), edge(5, 3, 9)]))
    assert [item.subject.name for item in found] == ["postgres here pid 3", "postgres here pid 1"]
    assert statuses(found) == ["warn", "warn"]


def test_two_hundred_waiters_in_one_queue_are_judged_in_half_a_second() -> None:
    edges = [edge(waiting, blocking, 60) for waiting in range(2, 202) for blocking in range(1, waiting)]
    began = time.perf_counter()
    found = one("PG-LOCK-ROOT", postgres(sessions=[session(pid) for pid in range(1, 202)], edges=edges))
    assert time.perf_counter() - began < 0.5
    assert len(edges) == 20_100
    assert {metric.name: metric.value for metric in found.metrics}["victims"] == 200
    assert found.subject.name.endswith("pid 1")


def test_a_prepared_transaction_is_a_root_without_a_session() -> None:
    found = one("PG-LOCK-ROOT", postgres(edges=[edge(2, 0, 31)]))
    assert statuses([found]) == ["crit"]
    assert found.summary.startswith("a prepared transaction blocks 1 session (limit 5), the longest wait 31s")
    assert "ROLLBACK PREPARED" in found.next


def test_to_cancel_is_advised_for_an_active_root_alone() -> None:
    def step(state: str) -> str:
        return one("PG-LOCK-ROOT", postgres(sessions=[session(1, state)], edges=[edge(2, 1, 31)])).next

    assert "pg_cancel_backend(1)" in step("active")
    assert "pg_terminate_backend(1)" in step("idle in transaction")
    assert "pg_cancel_backend" not in step("idle in transaction")


def test_a_circle_of_waits_has_no_root_and_is_not_called_free_of_waits() -> None:
    fresh = one("PG-LOCK-ROOT", postgres(edges=[edge(1, 2, 0.5), edge(2, 1, 0.4)]))
    assert statuses([fresh]) == ["ok"]
    assert fresh.summary == "2 sessions wait, none for long"
    lasting = one("PG-LOCK-ROOT", postgres(edges=[edge(1, 2, 31), edge(2, 1, 30), edge(3, 1, 2)]))
    assert statuses([lasting]) == ["crit"]
    assert lasting.summary.startswith("3 sessions wait in a circle, the longest 31s")


def test_a_server_without_waits_is_well_and_says_so() -> None:
    found = one("PG-LOCK-ROOT", postgres())
    assert (statuses([found]), found.summary, found.next) == (["ok"], "no session waits for a lock", "")
