"""What happens at the edges of the command: readers that leave, disks that are full, signals that end it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.agents import BIN
from tests.lab.waiting import until


def run(folder: Path, *words: str, **streams: int) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.defpath, "HOME": str(folder), "LANG": "C.UTF-8"}
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [BIN / "fleetmedic", *words],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},  # type: ignore[call-overload]
    )
    return done


@pytest.fixture
def unread() -> Iterator[int]:
    """The end of a pipe whose other end is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.covers("inv:F6")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("inventory", "hosts", "nobody", "-i", "a,b"), 65),
        (("inventory", "hosts", "-i", "a,b"), 0),
        (("inventory", "validate", "-i", "bad.ini"), 65),
        (("inventory", "validate", "--strict", "-i", "odd.ini"), 16),
        (("check", "-i", "odd.ini"), 77),
        (("check", "--nonsense"), 64),
        (("config", "show"), 0),
    ],
)
@pytest.mark.parametrize("streams", [("stdout",), ("stderr",), ("stdout", "stderr")])
def test_nobody_who_stops_reading_changes_the_exit_code(
    tmp_path: Path, unread: int, words: tuple[str, ...], code: int, streams: tuple[str, ...]
) -> None:
    (tmp_path / "bad.ini").write_text("w1 fleetmedic_port=x\n")
    (tmp_path / "odd.ini").write_text("w1 fleetmedic_prot=1\n")
    done = run(tmp_path, *words, **dict.fromkeys(streams, unread))
    assert done.returncode == code, done
    assert "Traceback" not in f"{done.stdout}{done.stderr}"


@pytest.mark.covers("inv:F6")
def test_a_disk_that_is_full_is_an_error_of_ours_in_one_line(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = run(tmp_path, "inventory", "hosts", "-i", "a,b", stdout=full)
        assert (done.returncode, done.stderr) == (1, "fleetmedic: No space left on device\n")
        assert run(tmp_path, "inventory", "hosts", "nobody", "-i", "a,b", stderr=full).returncode == 65
    finally:
        os.close(full)


@pytest.mark.covers("inv:I123", "inv:F6")
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGTERM, 143, "fleetmedic: ended by SIGTERM\n"),
        (signal.SIGHUP, 129, "fleetmedic: ended by SIGHUP\n"),
        (signal.SIGINT, 130, "\nfleetmedic: interrupted\n"),
    ],
)
def test_a_signal_ends_the_script_that_is_read_with_all_it_started(
    tmp_path: Path, number: signal.Signals, code: int, said: str
) -> None:
    script = tmp_path / "hosts.sh"
    script.write_text("#!/bin/sh\nsleep 1000 & echo $! > pid.new; mv pid.new pid; wait\n")
    script.chmod(0o755)
    process = subprocess.Popen(
        [BIN / "fleetmedic", "inventory", "hosts", "-i", "./hosts.sh"],
        env={"PATH": os.defpath, "HOME": str(tmp_path)}, cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        until("the script runs", (tmp_path / "pid").exists)
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err[-len(said) :]) == (code, said)
    sleeper = Path("/proc", (tmp_path / "pid").read_text().strip(), "cmdline")
    until("what it started is ended", lambda: not sleeper.exists() or not sleeper.read_bytes())


@pytest.mark.covers("inv:F6")
@pytest.mark.parametrize(
    "words",
    [
        ("check", "-i", ""),
        ("check", "--inventory="),
        ("check", "-i", "a,b", "-i", ""),
        ("check", "-i", "a,b", "--limit", ""),
        ("check", "-i", "a,b", "--deadline", ""),
        ("check", "--store", ""),
        ("check", "--output-dir", ""),
        ("show", "disk", "--run", ""),
        ("inventory", "ping", "-i", "a,b", "--certificate", ""),
        ("inventory", "hosts", "-i", ""),
    ],
)
def test_an_option_without_a_value_falls_back_to_no_default(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run(tmp_path, *words)
    option = next(word for word in reversed(words) if word).rstrip("=")
    mend = "write one, or leave it out"
    assert (done.returncode, done.stdout, done.stderr) == (
        65,
        "",
        f"fleetmedic: {option}: its value is empty, as an unset variable leaves it; {mend}\n",
    )
    assert not list(tmp_path.iterdir()), "nothing is made"


@pytest.mark.covers("inv:F6")
def test_nohup_has_its_way(tmp_path: Path) -> None:
    (tmp_path / "hosts.sh").write_text('#!/bin/sh\ntouch begun; sleep 1; echo \'{"web": ["w1"]}\'\n')
    (tmp_path / "hosts.sh").chmod(0o755)
    process = subprocess.Popen(
        ["nohup", BIN / "fleetmedic", "inventory", "hosts", "-i", "./hosts.sh"],
        env={"PATH": os.defpath, "HOME": str(tmp_path)}, cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with process:
        until("the script runs", (tmp_path / "begun").exists)
        process.send_signal(signal.SIGHUP)
        out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "w1\n")
