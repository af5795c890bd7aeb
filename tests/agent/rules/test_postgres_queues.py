"""Queues behind schema changes, owners of connections and upkeep, over snapshots made by hand."""

from typing import Any

import pytest

from fleetmedic.v1.snapshot_pb2 import PostgresLockEdge, PostgresOwner
from tests.agent.rules.judged import container, docker, edge, judge, one, postgres, session, status, statuses

STRONG: dict[str, Any] = {"mode": "AccessExclusiveLock", "lock_type": "relation", "relation": "stock"}
WEAK: dict[str, Any] = {"mode": "AccessShareLock", "lock_type": "relation", "relation": "stock"}


def queue(*edges: PostgresLockEdge) -> list[str]:
    return [item.summary for item in judge("PG-LOCK-DDL-QUEUE", postgres(sessions=[session(1)], edges=edges))]


def test_those_who_wait_for_the_change_alone_would_go_on_without_it() -> None:
    change, first, second = edge(2, 1, **STRONG), edge(3, 2, **WEAK), edge(4, 2, **WEAK)
    (said,) = queue(change, first, second)
    assert "session 2 waits" in said
    assert "held by 1, and 2 sessions queue behind it" in said


def test_those_who_wait_for_another_too_would_not() -> None:
    (said,) = queue(edge(2, 1, **STRONG), edge(3, 2, **WEAK), edge(4, 2, **WEAK), edge(4, 9, **WEAK))
    assert "1 session queue behind it" in said


def test_who_waits_for_one_of_the_queue_goes_on_with_it() -> None:
    (said,) = queue(edge(2, 1, **STRONG), edge(3, 2, **WEAK), edge(4, 3, mode="ShareLock", lock_type="transactionid"))
    assert "2 sessions queue behind it" in said


def test_changes_that_only_together_hold_up_the_queue_are_named_together() -> None:
    """Two that wait for one reader: whoever comes after waits for both."""
    changes = (edge(2, 1, **STRONG), edge(3, 1, **STRONG), edge(3, 2, **STRONG))
    behind = [edge(pid, change, **WEAK) for pid in (4, 5) for change in (2, 3)]
    made = judge("PG-LOCK-DDL-QUEUE", postgres(sessions=[session(1)], edges=[*changes, *behind]))
    assert statuses(made) == ["crit"]
    assert "session 2 waits" in made[0].summary
    assert "held by 1, and 2 sessions queue behind it and 1 more of its kind" in made[0].summary
    assert made[0].next.endswith("; and so each of the others, who are in the way as well: 3")


@pytest.mark.parametrize(
    "edges",
    [
        [edge(2, 1, **STRONG)],
        [edge(2, 1, **WEAK), edge(3, 2, **WEAK)],
        [edge(2, 1, mode="ExclusiveLock", lock_type="tuple"), edge(3, 2, mode="ExclusiveLock", lock_type="tuple")],
        [],
    ],
    ids=["nobody behind it", "no schema change", "row locks", "no wait at all"],
)
def test_without_a_queue_behind_a_change_all_is_well(edges: list[PostgresLockEdge]) -> None:
    assert status("PG-LOCK-DDL-QUEUE", postgres(edges=edges)) == "ok"


def owner(count: int, client: str = "172.18.0.7", state: str = "idle") -> PostgresOwner:
    return PostgresOwner(user="app", database="shop", application="orders", client=client, state=state, count=count)


def test_the_client_is_named_by_its_container_and_what_it_runs() -> None:
    server = postgres(
        used=60, most=103, owners=[owner(40), owner(15, state="idle in transaction"), owner(5, "10.0.0.9")]
    )
    engine = docker(container("orders-2", addresses=["172.18.0.7"], image="shop/orders:41"))
    found = one("PG-CONN-HOG", server, engine)
    assert statuses([found]) == ["warn"]
    assert "orders from orders-2 (shop/orders:41) holds 55 of 100 slots (55%, limit 50%)" in found.summary
    assert "orders from 172.18.0.7 holds" in one("PG-CONN-HOG", server).summary


@pytest.mark.parametrize(("count", "expected"), [(49, "ok"), (50, "warn"), (89, "warn"), (90, "crit")])
def test_a_hog_is_who_holds_half_of_the_slots(count: int, expected: str) -> None:
    assert status("PG-CONN-HOG", postgres(most=103, owners=[owner(count)])) == expected


@pytest.mark.parametrize(
    ("query", "application", "expected"),
    [
        ("SELECT 1", "web", "crit"),
        ("VACUUM (ANALYZE) stock", "psql", "info"),
        ("create index concurrently i on t (a)", "psql", "info"),
        ("COPY stock TO STDOUT", "pg_dump", "info"),
        ("SELECT vacuum FROM t", "web", "crit"),
    ],
)
def test_backups_and_upkeep_take_their_time(query: str, application: str, expected: str) -> None:
    long = session(7, "active", query=query, application=application, query_seconds=4000, transaction_seconds=4000)
    for rule in ("PG-LONG-QUERY", "PG-LONG-TXN"):
        assert status(rule, postgres(sessions=[long])) == expected


def test_of_several_statements_the_longest_that_counts_is_named() -> None:
    dump = session(1, "active", application="pg_dump", query_seconds=9000)
    slow = session(2, "active", application="web", query_seconds=90, query="SELECT ?")
    found = one("PG-LONG-QUERY", postgres(sessions=[dump, slow]))
    assert statuses([found]) == ["warn"]
    assert "application web" in found.summary
    assert "pg_cancel_backend(2)" in found.next


def test_a_statement_that_waits_for_a_lock_is_not_offered_for_cancelling() -> None:
    victim = session(5, "active", query_seconds=400, query="UPDATE t", wait_event="Lock/transactionid")
    found = one("PG-LONG-QUERY", postgres(sessions=[victim]))
    assert "see PG-LOCK-ROOT" in found.next
    assert "pg_cancel_backend" not in found.next


def test_the_command_to_copy_goes_to_the_server_that_was_looked_at() -> None:
    elsewhere = postgres()
    elsewhere.target.socket, elsewhere.target.port = "/tmp/my pg", 5433
    assert one("PG-LONG-TXN", elsewhere).equal_command.startswith("psql -h '/tmp/my pg' -p 5433 -c ")
    usual = postgres()
    usual.target.socket, usual.target.port = "/run/postgresql", 5432
    assert one("PG-LONG-TXN", usual).equal_command.startswith("psql -c ")
