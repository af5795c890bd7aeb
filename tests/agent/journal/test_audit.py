"""The audit log on real files: the chain, rotation, crashes, edits, and a disk that takes nothing."""

import contextlib
import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.journal import audit, chain
from agent.journal.audit import AuditError, Record
from agent.journal.chain import Head
from tests.lab import fixtures

NOW = 1_700_000_000.25


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Make the folder of a log and its run folder."""
    (tmp_path / "run").mkdir()
    return tmp_path


def write(place: Path, count: int = 1, detail: str = "x", largest: int = audit.LARGEST_FILE) -> Head:
    """Append so many records; give the last head."""
    record = Record("alice", "responder", "SetFreeze", "begun", detail)
    made = [audit.append(place / "audit", place / "run", record, NOW, largest=largest) for _ in range(count)]
    return made[-1]


def files(place: Path) -> list[Path]:
    return sorted((place / "audit").iterdir())


def flaws(place: Path, largest: int = audit.LARGEST_FILE) -> list[str]:
    return chain.verify(audit.lines(place / "audit"), (audit.MOST_FILES - 1) * largest).flaws()


def last(place: Path) -> Head:
    return chain.verify(audit.lines(place / "audit"), audit.LEAST_LEFT).head


def details(place: Path) -> list[str]:
    return [str(chain.fields(line.record)["detail"]) for line in audit.lines(place / "audit")]


@pytest.mark.covers("sec:audit")
def test_each_record_is_a_line_whose_hash_covers_the_one_before(place: Path) -> None:
    head = write(place, 3)
    first, second, _ = files(place)[0].read_bytes().splitlines()
    made = chain.hashed(chain.FIRST, first[65:])
    assert first[:64].decode() == made.hex()
    assert second[:64].decode() == chain.hashed(made, second[65:]).hex()
    assert second[65:].startswith(b'{"sequence":2,"time":"2023-11-14T22:13:20.250Z","user":"alice","role":"responder",')
    assert (head.sequence, audit.head(place / "run"), flaws(place), audit.alarms(place / "run")) == (3, head, [], [])
    assert oct((place / "audit").stat().st_mode) == "0o40700"
    assert oct(files(place)[0].stat().st_mode) == "0o100600"
    assert oct((place / "run/audit-head").stat().st_mode) == "0o100644"


def test_what_a_caller_names_neither_fills_the_log_nor_breaks_a_line(place: Path) -> None:
    for more in ("x", "\u202e", "\U0001f4a9"):
        write(place, 1, 'a\n"b"\u202e\ud800' + more * 10_000)
    for line in files(place)[0].read_bytes().splitlines():
        assert len(line) < 850
        assert line.isascii()
    assert details(place)[1] == 'a\n"b"\u202e\ud800' + "\u202e" * 79 + "…"
    assert flaws(place) == []


@pytest.mark.covers("sec:audit")
def test_files_are_rotated_by_size_the_oldest_pruned_and_the_chain_goes_on(place: Path) -> None:
    head = write(place, 200, largest=2000)
    assert len(files(place)) == audit.MOST_FILES
    first = int(files(place)[0].name[:12])
    assert first > 1
    assert any(said.startswith(f"records up to {first - 1} are pruned") for said in details(place))
    assert (flaws(place, 2000), last(place)) == ([], head)
    after = head.sequence - 30
    assert [line.sequence for line in audit.lines(place / "audit", after)] == list(range(after + 1, head.sequence + 1))


@pytest.mark.covers("sec:R11")
def test_a_file_that_somebody_else_removed_is_missed(place: Path) -> None:
    write(place, 200, largest=2000)
    oldest = files(place)[0]
    oldest.unlink()
    (said,) = flaws(place, 2000)
    assert said.startswith("records 1 to ")
    assert said.endswith("no later one says that they were pruned")


@pytest.mark.covers("sec:R11")
def test_a_short_log_that_says_that_the_rest_was_pruned_is_not_believed(place: Path) -> None:
    before = Head(4999, b"?" * 32)
    made, line = chain.written(before, {"user": "fleetmedic", "pruned": [before.sequence, before.hash.hex()]})
    (place / "audit").mkdir(mode=0o700)
    (place / "audit/000000005000.log").write_bytes(line + chain.written(made, {"user": "alice"})[1])
    audit.verify(place / "audit", place / "run")
    (said,) = audit.alarms(place / "run")
    assert "records 1 to 4999 are missing, and no later one says that they were pruned" in said


@pytest.mark.covers("sec:audit", "sec:R6")
def test_a_line_that_a_crash_tore_is_cut_off_and_the_log_says_so(place: Path) -> None:
    write(place, 2)
    with files(place)[0].open("ab") as file:
        file.write(b"0123456789abcdef torn")
    write(place)
    assert details(place) == ["x", "x", "21 bytes of a record that was not written whole are cut off", "x"]
    assert (flaws(place), audit.alarms(place / "run")) == ([], [])


def test_an_empty_last_file_as_a_crash_leaves_it_is_written_on(place: Path) -> None:
    write(place, 2)
    (place / "audit/000000000003.log").touch()
    assert write(place).sequence == 3
    assert flaws(place) == []


def edited(place: Path) -> None:
    file = files(place)[0]
    file.write_bytes(file.read_bytes().replace(b'"sequence":4,"time":"2023', b'"sequence":4,"time":"2022'))


def deleted(place: Path) -> None:
    lines = files(place)[0].read_bytes().splitlines(keepends=True)
    files(place)[0].write_bytes(b"".join(lines[:3] + lines[4:]))


def garbled(place: Path) -> None:
    lines = files(place)[0].read_bytes().splitlines(keepends=True)
    files(place)[0].write_bytes(b"".join([*lines[:3], b"\x00" * 40 + b"\n", *lines[4:]]))


@pytest.mark.covers("sec:R11", "sec:R6")
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (edited, ["record 4 is not what was written"]),
        (deleted, ["record 5 follows record 3"]),
        (garbled, ["a line that is no record follows record 3", "record 5 follows record 3"]),
    ],
)
def test_a_middle_that_was_changed_is_told_and_neither_mended_nor_an_end_of_the_log(
    place: Path, harm: object, said: list[str]
) -> None:
    write(place, 9)
    assert callable(harm)
    harm(place)
    before = files(place)[0].read_bytes()
    audit.verify(place / "audit", place / "run")
    assert write(place).sequence == 10
    assert files(place)[0].read_bytes().startswith(before)
    assert flaws(place) == said
    assert audit.alarms(place / "run") == [f"the audit log does not hold together: {'; '.join(said)}"]


@pytest.mark.covers("sec:R11")
def test_an_end_that_was_edited_is_told_with_the_next_record(place: Path) -> None:
    write(place, 3)
    file = files(place)[0]
    file.write_bytes(file.read_bytes().replace(b'"sequence":3,"time":"2023', b'"sequence":3,"time":"2022'))
    write(place)
    assert audit.alarms(place / "run") == ["the audit log does not hold together: record 3 is not what was written"]


@pytest.mark.covers("sec:R11")
def test_an_end_that_was_cut_is_told_by_the_agent_while_it_remembers_its_head(place: Path) -> None:
    write(place, 8)
    lines = files(place)[0].read_bytes().splitlines(keepends=True)
    files(place)[0].write_bytes(b"".join(lines[:5]))
    write(place)
    assert flaws(place) == []
    assert details(place)[5].startswith("the log was cut or rewritten: had record 8, has 5")
    audit.verify(place / "audit", place / "run")
    assert audit.alarms(place / "run") == ["the audit log was cut or rewritten: had record 8, has 5"]


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o1777])
def test_a_folder_that_others_may_enter_takes_no_record(place: Path, mode: int) -> None:
    (place / "audit").mkdir()
    (place / "audit").chmod(mode)
    with pytest.raises(AuditError, match="must be a folder of this user's with mode 0700"):
        write(place)


def test_a_link_in_place_of_the_folder_takes_no_record(place: Path) -> None:
    (place / "elsewhere").mkdir(mode=0o700)
    (place / "audit").symlink_to(place / "elsewhere")
    with pytest.raises(AuditError):
        write(place)


@pytest.fixture
def small(place: Path) -> Iterator[Path]:
    """Mount a disk of 64 KiB for the log."""
    fixtures.need(root=True)
    (place / "audit").mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "t", place / "audit"], check=True)
    yield place
    subprocess.run(["umount", place / "audit"], check=True)


def fill_up(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as opened:
        while True:
            opened.write(b"x" * 4096)


@pytest.mark.covers("sec:R6", "sec:audit")
def test_a_full_disk_takes_no_record_keeps_the_log_whole_and_is_told_until_there_is_room(small: Path) -> None:
    write(small, 3)
    fill = small / "audit/fill"
    fill_up(fill)
    with pytest.raises(AuditError, match="No space left"):
        write(small, 40)
    known = audit.head(small / "run")
    (said,) = audit.alarms(small / "run")
    assert said == "the audit log can't be written, and nothing will be changed: No space left on device"
    fill.unlink()
    assert flaws(small) == []
    assert known is not None
    assert write(small).sequence == known.sequence + 1
    assert (flaws(small), audit.alarms(small / "run")) == ([], [])


@pytest.mark.covers("sec:R6")
def test_a_read_only_disk_takes_no_record(small: Path) -> None:
    write(small)
    subprocess.run(["mount", "-o", "remount,ro", small / "audit"], check=True)
    with pytest.raises(AuditError, match="Read-only"):
        write(small)
    assert "Read-only file system" in audit.alarms(small / "run")[0]


def test_who_writes_for_too_long_is_not_waited_for_and_told(place: Path) -> None:
    write(place)
    with (place / "run/audit.lock").open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        os.pwrite(held.fileno(), f"{time.monotonic() - 7:020.3f}".encode(), 0)
        assert audit.alarms(place / "run") == ["the audit log can't be written: a record is under way for 7s"]
        began = time.monotonic()
        with pytest.raises(AuditError, match="is being written for 7s"):
            write(place)
        assert time.monotonic() - began < 1.0
    write(place)
    assert audit.alarms(place / "run") == []


def test_two_hundred_records_of_eight_processes_are_one_chain(place: Path) -> None:
    pids = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                record = Record("alice", "observer", "Check", "done")
                for _ in range(25):
                    audit.append(place / "audit", place / "run", record, NOW, patience=30.0)
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 8
    assert (flaws(place), last(place).sequence) == ([], 200)
