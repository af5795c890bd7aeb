"""Heads of audit logs in the store, what a report's head says against them, and the reminder of freezes."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from controller import cut_logs, frozen
from controller.endings import State
from controller.frozen import Freeze, Frozen
from controller.host_report import HostReport
from controller.store import audit_heads, database
from controller.store.audit_heads import Head
from fleetmedic.v1 import agent_pb2
from fleetmedic.v1.agent_pb2 import CheckResponse, Identity, Standing

AT = 1_700_000_000.0
ONE, TWO = b"1" * 32, b"2" * 32


@pytest.fixture
def base(tmp_path: Path) -> sqlite3.Connection:
    """Open a store."""
    return database.connect(tmp_path / "s.db")


def report(sequence: int, hash_: bytes = ONE, *, agent: bool = True) -> HostReport:
    answer = CheckResponse(standing=Standing(audit_sequence=sequence, audit_head=hash_ if sequence else b""))
    if agent:
        answer.agent.CopyFrom(Identity(name="db01"))
    return HostReport("db01", State.OK, "", 0.1, answer)


def save(base: sqlite3.Connection, *heads: Head) -> None:
    audit_heads.save(base, heads, (), AT)


def test_every_head_is_kept_and_the_last_one_is_what_the_next_look_is_held_against(base: sqlite3.Connection) -> None:
    first, second = Head("db01", 3, ONE, AT, "AAAA"), Head("db01", 9, TWO, AT + 1, "BBBB")
    save(base, first)
    save(base, second)
    save(base, replace(first, at=AT + 2))
    assert audit_heads.every(base, "db01") == (first, second)
    assert audit_heads.last(base)["db01"].sequence == 3
    audit_heads.set_aside(base, ["db01"], AT)
    assert (audit_heads.every(base, "db01"), audit_heads.last(base)) == ((), {})


@pytest.mark.covers("sec:B7")
@pytest.mark.parametrize(("sequence", "hash_"), [(0, b""), (2**63, ONE), (2**64 - 1, ONE), (5, b"x"), (5, b"x" * 33)])
def test_a_head_that_no_log_has_is_not_kept(base: sqlite3.Connection, sequence: int, hash_: bytes) -> None:
    save(base, Head("db01", sequence, hash_, AT, "AAAA"))
    assert audit_heads.last(base) == {}


@pytest.mark.covers("sec:R11")
@pytest.mark.parametrize(
    ("sequence", "hash_", "said"),
    [
        (640, ONE, "audit log of db01 was cut or rewritten: had record 812, has 640"),
        (812, TWO, "audit log of db01 was cut or rewritten: record 812 is not the one that it had"),
        (0, b"", "audit log of db01 is gone: had record 812, has none"),
        (812, ONE, ""),
        (813, TWO, ""),
    ],
)
def test_a_head_that_went_back_or_is_another_is_critical(sequence: int, hash_: bytes, said: str) -> None:
    known = {"db01": Head("db01", 812, ONE, AT, "AAAA")}
    told = cut_logs.told(report(sequence, hash_), known, AT + 10)
    assert [item.summary for item in told.answer.findings] == ([said] if said else [])
    assert told.state == (State.FAILED if said else State.OK)
    events = list(cut_logs.events("BBBB", AT, "alice", [told]))
    assert [event.text for event in events] == ([said] if said else [])


@pytest.mark.covers("sec:R11", "sec:R6")
@pytest.mark.parametrize(
    ("sequence", "alarm", "silent"),
    [
        (0, "the audit log can't be written, and nothing will be changed: Read-only file system", True),
        (0, "the audit log can't be written: a record is under way for 7s", True),
        (0, "the audit log takes no record: the worker is away", True),
        (0, "the audit log was cut or rewritten: had record 812, has 0", False),
        (0, "the certificate ends in 3 days", False),
        (640, "the audit log can't be written, and nothing will be changed: Read-only file system", False),
    ],
)
def test_no_head_from_an_agent_that_can_t_read_its_log_is_no_cut(sequence: int, alarm: str, *, silent: bool) -> None:
    known = {"db01": Head("db01", 812, ONE, AT, "AAAA")}
    asked = report(sequence)
    asked.answer.standing.alarms.append(alarm)
    told = cut_logs.told(asked, known, AT + 10)
    assert (not told.answer.findings, told.state == State.OK) == (silent, silent)
    assert (list(cut_logs.events("BBBB", AT, "alice", [told])) == []) == silent


def test_of_two_looks_at_once_the_older_head_may_come_later() -> None:
    known = {"db01": Head("db01", 812, ONE, AT, "AAAA")}
    assert cut_logs.told(report(811, TWO), known, AT - 1).state == State.OK


def test_of_a_host_that_did_not_answer_nothing_is_said() -> None:
    known = {"db01": Head("db01", 812, ONE, AT, "AAAA")}
    silent = HostReport("db01", State.UNREACHABLE, "down", 0.1, CheckResponse())
    assert cut_logs.told(silent, known, AT + 1) is silent
    assert cut_logs.told(report(5), {}, AT + 1).state == State.OK


# Freezes.


def freeze(reason: str = "deploy", since: float = AT) -> Freeze:
    return Freeze(reason, "alice", since)


def test_hosts_that_are_frozen_alike_are_one_freeze_since_the_first() -> None:
    seen = [("a", freeze(since=AT + 1)), ("b", None), ("c", freeze()), ("d", freeze("other"))]
    assert frozen.gather(seen) == (Frozen(freeze(), ("a", "c")), Frozen(freeze("other"), ("d",)))


@pytest.mark.covers("sec:freeze")
def test_the_reminder_holds_what_was_heard_last_of_each_host_and_goes_with_the_last_freeze(tmp_path: Path) -> None:
    file = tmp_path / "new" / "s.db.frozen"
    frozen.note(file, {"a": None})
    assert not file.exists()
    frozen.note(file, {"a": freeze(), "b": freeze("other")})
    frozen.note(file, {"a": None})
    assert frozen.read(file) == {"b": freeze("other")}
    assert oct(file.stat().st_mode) == "0o100600"
    frozen.note(file, {"b": None})
    assert (file.exists(), frozen.read(file)) == (False, {})


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": 1}', '{"a": ["x", "y", "z"]}', '{"a": ["x", "y", NaN]}', "[" * 10**5]
)
def test_a_reminder_that_is_none_of_ours_reminds_of_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "f").write_text(text)
    assert frozen.read(tmp_path / "f") == {}


@pytest.mark.covers("sec:B7")
@pytest.mark.parametrize("seconds", [-(2**62), -1, 2**62])
def test_a_freeze_with_an_odd_date_is_a_freeze(seconds: int) -> None:
    said = agent_pb2.Freeze(reason="x" * 10_000)
    said.since_time.seconds = seconds
    found = frozen.of(Standing(freeze=said))
    assert found is not None
    assert (len(found.reason), 0 <= found.since < 1e11) == (200, True)
