"""Words on the command line that are no text: one clear line, and never a bug of ours."""

import os
import shlex
import subprocess

import pytest

from tests.lab.agents import BIN, Agent, Desk

ODD = os.fsdecode(b"\xff\xfe")


@pytest.mark.parametrize(
    "words",
    [
        ("check", "--include", ODD),
        ("check", f"--include={ODD}"),
        ("check", "--exclude", ODD),
        ("check", "--service", ODD),
        ("check", ODD),
        ("describe", ODD),
        ("inventory", "hosts", ODD),
        ("inventory", "host", ODD),
        ("runs", "show", ODD),
        ("runs", "show", "AAAA", "--host", ODD),
        ("runs", "list", "--store", ODD),
        ("pki", "issue", "agent", "db01", "--dir", "pki", "--out", ODD),
        (ODD,),
    ],
)
def test_a_word_that_is_no_text_is_65_and_named(desk: Desk, agent: Agent, words: tuple[str, ...]) -> None:
    file = desk.folder / "odd.yml"
    file.write_text(
        f"all: {{hosts: {{web01: {{fleetmedic_address: {agent.address}, fleetmedic_port: {agent.port}}}}}}}\n"
    )
    done = desk.run(*words, environment={"FLEETMEDIC_INVENTORY": str(file)})
    assert (done.code, done.out) == (65, "")
    assert done.err.startswith("fleetmedic: '")
    assert done.err.endswith("\\udcff\\udcfe' is not UTF-8 text: rename the file, or write the word again\n")
    assert len(done.err.splitlines()) == 1


def test_an_inventory_is_shown_whole_however_odd_and_without_its_secrets(desk: Desk) -> None:
    file = desk.folder / "odd.yml"
    file.write_text(
        "all:\n  hosts:\n    web01:\n      releases: {2020-01-01: a}\n"
        "      url: 'http://u:hunter2@web01/h?access_token=hunter3&x=1'\n"
        "      db: {password: hunter4, name: shop}\n      api_key: hunter5\n"
    )
    for words in (("list",), ("host", "web01")):
        done = desk.run("inventory", *words, "-i", file)
        assert (done.code, done.err) == (0, "")
        assert "hunter" not in done.out
        assert "2020-01-01" in done.out
        assert "shop" in done.out


def test_groups_nested_deeper_than_calls_are_drawn(desk: Desk) -> None:
    file = desk.folder / "deep.ini"
    file.write_text("".join(f"[g{n}:children]\ng{n + 1}\n" for n in range(1200)) + "[g1200]\nh1\n")
    done = desk.run("inventory", "graph", "-i", file)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1].endswith("--h1")
    assert desk.run("inventory", "hosts", "g0", "-i", file).out == "h1\n"


@pytest.mark.parametrize("closed", [1, 2])
def test_a_stream_that_the_caller_closed_changes_no_exit_code(desk: Desk, closed: int) -> None:
    command = f"exec {shlex.quote(str(BIN / 'fleetmedic'))} check --include HOST-MEM {closed}>&-"
    done = subprocess.run(["sh", "-c", command], env=desk.environment, capture_output=True, check=False)
    assert done.returncode in (0, 2)
    assert b"bug of ours" not in done.stdout + done.stderr


def test_a_count_with_thousands_of_digits_is_refused_in_one_line(desk: Desk) -> None:
    done = desk.check("--forks", "9" * 5000)
    assert done.code == 65
    assert "must be a whole number from 1 to 10000" in done.err


@pytest.mark.parametrize("form", ["text", "json", "jsonl"])
def test_a_reader_that_has_seen_enough_changes_no_exit_code(desk: Desk, form: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [str(BIN / "fleetmedic"), "check", "--include", "HOST-MEM", "--format", form]
    done = subprocess.run(command, env=desk.environment, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.stderr == b""
    runs = desk.run("runs", "list", "--most", "1").out
    assert f"exit {done.returncode}" in runs, "it went on to its end, and kept its run"
