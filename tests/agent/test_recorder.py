"""The flight recorder: since when a finding stands, and what counters were, across checks."""

import os
import sqlite3
from pathlib import Path

import pytest

from agent.recorder import KEEP_SECONDS, Recorder
from fleetmedic.v1.finding_pb2 import (
    STATUS_CRIT,
    STATUS_ERROR,
    STATUS_INFO,
    STATUS_OK,
    STATUS_SKIPPED,
    STATUS_WARN,
    Finding,
    Status,
    Subject,
)
from fleetmedic.v1.snapshot_pb2 import Snapshot, Target

NOW = 1_700_000_000.0


DAY = 86400.0


def finding(
    status: "Status.ValueType", name: str = "a", rule: str = "X", *, service: str = "s", kind: str = "k"
) -> Finding:
    return Finding(id=rule, status=status, subject=Subject(service=service, kind=kind, name=name))


def since(recorder: Recorder, made: Finding, now: float) -> float | None:
    recorder.date([made], now)
    return made.first_seen_time.ToMilliseconds() / 1000 if made.HasField("first_seen_time") else None


def snapshot(name: str = "a") -> Snapshot:
    return Snapshot(target=Target(probe="redis", service="s", name=name))


def test_a_bad_finding_keeps_the_time_it_was_first_seen_while_it_changes_between_bad_states(tmp_path: Path) -> None:
    for at, status in enumerate((STATUS_WARN, STATUS_CRIT, STATUS_ERROR, STATUS_WARN)):
        assert since(Recorder(tmp_path), finding(status), NOW + at) == NOW


def test_a_finding_that_was_well_in_between_begins_anew(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    assert since(recorder, finding(STATUS_CRIT), NOW) == NOW
    assert since(recorder, finding(STATUS_OK), NOW + 1) is None
    assert since(recorder, finding(STATUS_CRIT), NOW + 2) == NOW + 2


def test_a_finding_that_could_not_be_judged_in_between_is_not_forgotten(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    assert since(recorder, finding(STATUS_CRIT), NOW) == NOW
    assert since(recorder, finding(STATUS_SKIPPED), NOW + 1) is None
    assert since(recorder, finding(STATUS_INFO), NOW + 1) is None
    assert since(recorder, finding(STATUS_CRIT), NOW + 2) == NOW


def first_seen(recorder: Recorder, *made: Finding, now: float) -> float:
    """Of the first of the findings of a whole check."""
    recorder.date(made, now, complete=True)
    return made[0].first_seen_time.ToMilliseconds() / 1000


def test_what_recovered_under_another_subject_s_ok_begins_anew(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    web = finding(STATUS_CRIT, "web", service="web", kind="container")
    assert first_seen(recorder, web, now=NOW) == NOW
    first_seen(recorder, finding(STATUS_OK, "/run/docker.sock", service="docker", kind="docker"), now=NOW + DAY)
    assert first_seen(recorder, web, now=NOW + 90 * DAY) == NOW + 90 * DAY


def test_one_that_stays_bad_keeps_its_time_while_another_of_its_rule_recovers(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    one, other = finding(STATUS_CRIT, "pid 1"), finding(STATUS_WARN, "pid 2")
    first_seen(recorder, one, other, now=NOW)
    assert first_seen(recorder, one, now=NOW + 1) == NOW
    assert first_seen(recorder, other, now=NOW + 2) == NOW + 2
    assert first_seen(recorder, one, now=NOW + 200 * DAY) == NOW + 200 * DAY


def test_one_that_stays_bad_for_longer_than_the_memory_keeps_its_time(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    first_seen(recorder, finding(STATUS_CRIT), now=NOW)
    assert first_seen(recorder, finding(STATUS_CRIT), now=NOW + 200 * DAY) == NOW


@pytest.mark.parametrize(
    "other",
    [
        finding(STATUS_SKIPPED, "the server"),
        finding(STATUS_ERROR, "the server"),
        finding(STATUS_OK, "another server", service="elsewhere"),
        finding(STATUS_OK, "the server", rule="Y"),
    ],
    ids=["skipped", "error", "another service", "another rule"],
)
def test_what_a_whole_check_did_not_look_at_is_not_forgotten(tmp_path: Path, other: Finding) -> None:
    recorder = Recorder(tmp_path)
    first_seen(recorder, finding(STATUS_CRIT, "pid 1"), now=NOW)
    recorder.date([other], NOW + 1, complete=True)
    assert first_seen(recorder, finding(STATUS_CRIT, "pid 1"), now=NOW + 2) == NOW


def test_a_part_of_a_check_forgets_nothing_it_does_not_name(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    first_seen(recorder, finding(STATUS_CRIT, "pid 1"), now=NOW)
    recorder.date([finding(STATUS_OK, "the server")], NOW + 1)
    assert first_seen(recorder, finding(STATUS_CRIT, "pid 1"), now=NOW + 2) == NOW


def test_a_url_that_one_request_names_and_the_next_does_not_is_not_well(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    first_seen(recorder, finding(STATUS_CRIT, "http://a/", kind="http"), now=NOW)
    recorder.date([finding(STATUS_OK, "http://b/", kind="http")], NOW + 1, complete=True)
    assert first_seen(recorder, finding(STATUS_CRIT, "http://a/", kind="http"), now=NOW + 2) == NOW


def test_what_nobody_asked_about_for_ninety_days_is_forgotten(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    first_seen(recorder, finding(STATUS_CRIT, rule="Y"), now=NOW)
    recorder.date([finding(STATUS_OK)], NOW + 91 * DAY, complete=True)
    assert first_seen(recorder, finding(STATUS_CRIT, rule="Y"), now=NOW + 92 * DAY) == NOW + 92 * DAY


def test_findings_are_known_by_id_and_subject(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    since(recorder, finding(STATUS_CRIT), NOW)
    assert since(recorder, finding(STATUS_CRIT, name="b"), NOW + 1) == NOW + 1
    assert since(recorder, finding(STATUS_CRIT, rule="Y"), NOW + 2) == NOW + 2
    assert since(recorder, finding(STATUS_CRIT, name=""), NOW + 3) == NOW + 3
    assert since(recorder, finding(STATUS_CRIT, name=""), NOW + 4) == NOW + 3


def test_counters_come_back_by_target_within_the_window_oldest_first(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for age in (400, 200, 100):
        recorder.keep([(snapshot(), {"a": float(age), "b": 1.0}), (snapshot("other"), {"a": 9.0})], NOW - age)
    earlier = Recorder(tmp_path).earlier(snapshot(), NOW, 300.0)
    assert [dict(item.counters) for item in earlier] == [{"a": 200.0, "b": 1.0}, {"a": 100.0, "b": 1.0}]
    assert [item.taken_time.ToSeconds() for item in earlier] == [NOW - 200, NOW - 100]
    assert recorder.earlier(snapshot("unknown"), NOW, 300.0) == []


def test_counters_of_the_future_are_not_taken_for_earlier_ones(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.keep([(snapshot(), {"a": 1.0})], NOW + 60)
    assert recorder.earlier(snapshot(), NOW, 300.0) == []


def test_counters_older_than_a_day_are_forgotten(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.keep([(snapshot(), {"a": 1.0})], NOW - KEEP_SECONDS - 1)
    recorder.keep([(snapshot(), {"a": 2.0})], NOW)
    assert [dict(item.counters) for item in recorder.earlier(snapshot(), NOW, 10.0**9)] == [{"a": 2.0}]


def test_two_processes_keep_counters_at_once_and_none_is_lost(tmp_path: Path) -> None:
    children = []
    for writer in range(4):
        pid = os.fork()
        if pid == 0:
            for n in range(10):
                Recorder(tmp_path).keep([(snapshot(), {f"{writer}-{n}": 1.0})], NOW)
            os._exit(0)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
    (earlier,) = Recorder(tmp_path).earlier(snapshot(), NOW, 10.0)
    assert len(earlier.counters) == 40


def test_the_file_is_plain_sqlite_and_no_descriptor_stays_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    since(Recorder(tmp_path), finding(STATUS_CRIT), NOW)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    base = sqlite3.connect(tmp_path / "recorder.db")
    assert base.execute("SELECT id, name, since FROM first_seen").fetchall() == [("X", "a", NOW)]
    base.close()
