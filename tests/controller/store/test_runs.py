"""Runs: kept as they were, named so that they can be read out, and none lost among many writers."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path

import pytest

from controller.endings import State
from controller.store import events, runs
from controller.store.database import StoreError, connect, telling
from controller.store.ids import ALPHABET
from controller.store.runs import Run
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_ERROR, STATUS_INFO, STATUS_WARN
from tests.controller import reports
from tests.lab.agents import Desk
from tests.lab.fixtures import need

ROOT = Path(__file__).parents[3]


@pytest.fixture
def base(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Open an empty store."""
    opened = connect(tmp_path / "a.db")
    yield opened
    opened.close()


def blobs(base: sqlite3.Connection, run: str) -> dict[str, bool]:
    rows = base.execute("SELECT host, answer IS NOT NULL FROM reports WHERE run = ? ORDER BY place", (run,))
    return {host: bool(kept) for host, kept in rows}


@pytest.mark.covers("sec:B7")
def test_a_host_that_floods_us_gets_no_more_rows_than_others_and_its_answer_is_kept(base: sqlite3.Connection) -> None:
    flood = [reports.finding("A-B", STATUS_CRIT, name=str(number)) for number in range(runs.MOST_ROWS + 100)]
    run = reports.run(reports.answered("evil", *flood), reports.answered("good", reports.finding("C-D", STATUS_WARN)))
    runs.save(base, run, "alice", reports.NOW)
    kept = dict(base.execute("SELECT host, count(*) FROM findings WHERE run = ? GROUP BY host", (run.id,)))
    assert kept == {"evil": runs.MOST_ROWS, "good": 1}
    loaded = runs.load(base, run.id)
    assert loaded is not None
    assert len(loaded.reports[0].answer.findings) == runs.MOST_ROWS + 100


@pytest.mark.covers("exp:R23")
def test_a_run_comes_back_as_it_was_but_for_what_was_wholly_well(base: sqlite3.Connection) -> None:
    run = reports.forty_hosts()
    runs.save(base, run, "alice", reports.NOW)
    loaded = runs.load(base, "7f3k")
    assert loaded is not None
    assert (loaded.id, loaded.kind, loaded.started_at, loaded.seconds) == (
        run.id,
        run.kind,
        run.started_at,
        run.seconds,
    )
    assert (loaded.pattern, loaded.inventory, loaded.exit_code) == (run.pattern, run.inventory, run.exit_code)
    for before, after in zip(run.reports, loaded.reports, strict=True):
        assert (after.host, after.state, after.cause, after.seconds, after.clock_offset) == (
            before.host, before.state, before.cause, before.seconds, before.clock_offset,
        )  # fmt: skip
        well = before.state == State.OK and not before.warns
        assert after.answer == (type(before.answer)() if well else before.answer)


def test_the_whole_answer_is_kept_of_bad_hosts_only(base: sqlite3.Connection) -> None:
    run = reports.run(
        reports.answered("well", reports.finding(), reports.finding("I-I", STATUS_INFO)),
        reports.answered("skipped", reports.skipped("A-B", "none here")),
        reports.answered("warn", reports.finding("W-W", STATUS_WARN)),
        reports.answered("crit", reports.finding("C-C", STATUS_CRIT)),
        reports.answered("error", reports.finding("E-E", STATUS_ERROR)),
        reports.answered("newer", reports.finding("N-N", reports.NEWER)),
        reports.silent("dead"),
    )
    runs.save(base, run, "alice", reports.NOW)
    assert blobs(base, run.id) == {
        "well": False, "skipped": False, "warn": True, "crit": True, "error": True, "newer": True, "dead": True,
    }  # fmt: skip
    rows = base.execute("SELECT host, id, first_seen_at FROM findings ORDER BY rowid").fetchall()
    assert rows == [("warn", "W-W", None), ("crit", "C-C", None), ("error", "E-E", None), ("newer", "N-N", None)]


@pytest.mark.covers("sec:B7")
def test_a_first_seen_date_that_is_none_does_not_lose_the_run(base: sqlite3.Connection) -> None:
    run = reports.run(reports.answered("a", reports.finding("C-C", STATUS_CRIT, since=10**15)))
    runs.save(base, run, "alice", reports.NOW)
    assert base.execute("SELECT first_seen_at FROM findings").fetchone() == (1e15,)


def test_an_unknown_run_is_none(base: sqlite3.Connection) -> None:
    assert runs.load(base, "ZZZZ") is None


def test_a_run_leaves_one_event_with_who_and_what(base: sqlite3.Connection) -> None:
    runs.save(base, reports.forty_hosts(), "alice", reports.NOW)
    (row,) = base.execute("SELECT at, recorded_at, kind, actor, source, text, data FROM events").fetchall()
    assert row[:6] == (
        reports.NOW - 3.4, reports.NOW, "check", "alice", "controller", "check of all: 40 hosts, exit code 6",
    )  # fmt: skip
    assert json.loads(row[6]) == {"run": "7F3K", "hosts": 40, "checks": 60, "exit_code": 6}


def test_runs_are_listed_newest_first_and_no_more_than_asked(base: sqlite3.Connection) -> None:
    for number in range(5):
        made = Run(f"R{number}", "check", 100.0 + number, 1.0, "all", "", (reports.silent("a"),), 4)
        runs.save(base, made, "alice", 0.0)
    assert [item.id for item in runs.recent(base, 3)] == ["R4", "R3", "R2"]
    assert (runs.recent(base, 1)[0].hosts, runs.recent(base, 1)[0].exit_code) == (1, 4)


def test_a_run_that_cannot_be_kept_whole_is_not_kept_at_all(base: sqlite3.Connection) -> None:
    twice = reports.run(reports.silent("a"), reports.silent("a"))
    with pytest.raises(sqlite3.IntegrityError):
        runs.save(base, twice, "alice", reports.NOW)
    for table in ("runs", "reports", "findings", "events"):
        assert base.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def chosen(text: str) -> Callable[[Sequence[str]], str]:
    """Choose these signs one after the other."""
    signs = iter(text)
    return lambda _: next(signs)


def test_a_run_id_has_no_sign_that_is_mistaken_for_another() -> None:
    assert len(set(ALPHABET)) == 32
    assert not set("01OI") & set(ALPHABET)
    assert ALPHABET.upper() == ALPHABET


def test_a_run_id_is_four_signs_and_never_one_that_is_taken(base: sqlite3.Connection) -> None:
    runs.save(base, reports.run(identity="2222"), "alice", 0.0)
    assert runs.new_id(base, chosen("ABCD")) == "ABCD"
    assert runs.new_id(base, chosen("22223333")) == "3333"


def test_a_run_id_grows_where_short_ones_run_out(base: sqlite3.Connection) -> None:
    runs.save(base, reports.run(identity="2222"), "alice", 0.0)
    signs = chain(repeat("2", 12), repeat("3"))
    assert runs.new_id(base, lambda _: next(signs)) == "33333"


WRITER = """
import random, sys
from pathlib import Path
from controller.store import runs
from controller.store.database import connect
from tests.controller import reports
sys.stdin.read()
for number in range(50):
    base = connect(Path(sys.argv[1]))
    identity = runs.new_id(base, random.SystemRandom().choice)
    runs.save(base, reports.run(reports.silent("a"), identity=identity), sys.argv[2], float(number))
    base.close()
"""


def test_two_processes_saving_fifty_runs_each_at_once_lose_none(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, file, name], stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
        )
        for name in ("alice", "bob")
    ]
    for writer in writers:
        assert writer.stdin
        writer.stdin.close()
        writer.stdin = None
    ends = [writer.communicate(timeout=60)[1] for writer in writers]
    assert ends == [b"", b""]
    base = connect(file)
    assert base.execute("SELECT count(*) FROM runs").fetchone() == (100,)
    assert base.execute("SELECT actor, count(*) FROM events GROUP BY actor").fetchall() == [("alice", 50), ("bob", 50)]
    assert list(events.broken(base)) == []
    base.close()


@pytest.fixture
def small(folder: Path) -> Iterator[Path]:
    """Mount a file system of 224 KiB."""
    need("mount")
    place = folder / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=224k", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_gets_a_clear_line_and_keeps_what_was_there(small: Path) -> None:
    file = small / "a.db"
    base = connect(file)
    runs.save(base, reports.run(identity="2222"), "alice", 0.0)
    (small / "filler").write_bytes(b"x" * 20_000)
    with pytest.raises(StoreError) as refusal:
        _fill(base, file)
    assert str(refusal.value) == (f"{file}: database or disk is full; make room, or give another place with --store")
    counted = base.execute("SELECT id, hosts, (SELECT count(*) FROM reports WHERE run = id) FROM runs").fetchall()
    assert ("2222", 0, 0) in counted
    assert all(hosts == kept for _, hosts, kept in counted)
    assert list(events.broken(base)) == []
    base.close()


def _fill(base: sqlite3.Connection, file: Path) -> None:
    with telling(file):
        for number in range(100):
            runs.save(base, _many(f"R{number}"), "alice", 0.0)


def _many(identity: str) -> Run:
    return reports.run(*(reports.silent(f"host{number}", cause="x" * 200) for number in range(100)), identity=identity)


def test_a_check_with_a_full_disk_is_shown_all_the_same_and_ends_with_one_line_and_1(small: Path) -> None:
    (small / "filler").write_bytes(b"x" * 150_000)
    done = Desk(small.parent).run("check", "--include", "HOST-MEM", "--store", small / "state" / "a.db")
    assert done.code == 1
    assert "1 host: 1 ok" in done.out
    assert "runs show" not in done.out
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith(f"fleetmedic: this run is not kept: {small}/state/a.db: ")
    assert "make room, or give another place with --store" in done.err
