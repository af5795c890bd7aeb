"""What the command says of itself: examples first, at once, and nothing imported for it that it does not need."""

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from controller import VERSION
from tests.controller import terminal
from tests.controller.test_printed_commands import commands
from tests.lab import agents
from tests.lab.agents import BIN, Agent, Desk
from tests.lab.waiting import free_port

HEAVY = ("grpc", "yaml", "cryptography", "google.protobuf", "sqlite3", "asyncio")


def imported(*words: str) -> set[str]:
    """Give which modules of HEAVY a command imports."""
    code = (
        "import sys\nfrom controller.cli import main\nsys.argv = ['fleetmedic', *sys.argv[1:]]\n"
        "try:\n    main()\nfinally:\n    print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name for name in HEAVY if name in done.stderr.splitlines()}


@pytest.mark.covers("exp:R13")
@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_every_help_has_its_examples_before_its_options(path: tuple[str, ...], tmp_path: Path) -> None:
    done = Desk(tmp_path).run(*path, "--help")
    assert (done.code, done.err) == (0, "")
    example = re.search(r"^ +fleetmedic " + " ".join(path), done.out, re.MULTILINE)
    assert example
    assert example.start() < done.out.index("Options:")
    assert Desk(tmp_path).run(*path, "-h").out == done.out


def test_the_program_alone_shows_its_help_and_its_version(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.run().out == desk.run("--help").out
    assert desk.run("--version").out == f"fleetmedic, version {VERSION}\n"


@pytest.mark.covers("perf:E6")
@pytest.mark.parametrize("words", [("--help",), ("pki", "--help"), ("config", "--help")])
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    assert imported(*words) == set()


@pytest.mark.covers("perf:E6")
def test_help_costs_less_than_80_ms_of_the_processor(tmp_path: Path) -> None:
    spent = []
    for _ in range(5):
        process = subprocess.Popen([BIN / "fleetmedic", "--help"], cwd=tmp_path, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        spent.append(used.ru_utime + used.ru_stime)
    assert min(spent) < 0.08, spent


@pytest.fixture(scope="module")
def fleet(desk: Desk, agent: Agent) -> Path:
    """Write an inventory of web01 and a host that refuses."""
    file = desk.folder / "help.yml"
    file.write_text(
        f"all:\n  hosts:\n    web01: {{fleetmedic_address: {agent.address}, fleetmedic_port: {agent.port}}}\n"
        f"    gone: {{fleetmedic_address: 127.0.0.1, fleetmedic_port: {free_port()}}}\n"
        "  vars:\n    fleetmedic_limits: {HOST-MEM: {warn_free_share: 1.1, crit_free_share: 1.1}}\n"
    )
    return file


def check(desk: Desk, fleet: Path, columns: int, *words: str, **environment: str) -> str:
    """Run a check at a terminal; give what reached it."""
    everything: list[str | Path] = [BIN / "fleetmedic", "check", "-i", fleet, "--include", "HOST-MEM", *words]
    code, text = terminal.run(everything, {**desk.environment, "TERM": "xterm", **environment}, desk.folder, columns)
    assert code == 6
    return text


@pytest.mark.covers("exp:R8", "exp:R9")
def test_at_a_terminal_there_are_colours_progress_and_a_line_before_the_first_answer(desk: Desk, fleet: Path) -> None:
    text = check(desk, fleet, 100)
    assert re.match(r"\x1b\[2mall: 2 hosts   inventory \S+   forks 32   deadline 10s\x1b\[0m\n", text)
    assert "\x1b[31;1m✗ CRIT\x1b[0m" in text
    assert "1/2 hosts answered" in text
    assert re.search(r"\r2/2 hosts answered\r {18}\r\S", text)


@pytest.mark.covers("exp:R9")
@pytest.mark.parametrize(
    ("words", "environment"), [((), {"NO_COLOR": "1"}), ((), {"TERM": "dumb"}), (("--no-color",), {})]
)
def test_colours_can_be_turned_off(
    desk: Desk, fleet: Path, words: tuple[str, ...], environment: dict[str, str]
) -> None:
    assert not terminal.COLOUR.search(check(desk, fleet, 100, *words, **environment))


@pytest.mark.covers("exp:R9")
@pytest.mark.parametrize("locale", [{"LANG": "C"}, {"LANG": "C.UTF-8", "LC_ALL": "C"}, {"LANG": "POSIX"}])
def test_a_locale_that_is_not_utf8_gets_ascii(desk: Desk, fleet: Path, locale: dict[str, str]) -> None:
    text = check(desk, fleet, 100, **locale)
    assert text.isascii()
    assert "x CRIT" in text


@pytest.mark.parametrize("columns", [80, 100])
def test_no_line_is_wider_than_the_terminal_but_for_words_that_are(desk: Desk, fleet: Path, columns: int) -> None:
    text = terminal.COLOUR.sub("", check(desk, fleet, columns))
    shown = [line.rpartition("\r")[2].replace("\x1b[K", "") for line in text.splitlines()]
    assert all(len(line) <= columns or max(map(len, line.split())) > columns - 30 for line in shown[1:]), shown


@pytest.mark.covers("exp:R8", "exp:R9")
def test_in_a_pipe_there_is_no_escape_no_progress_and_nothing_cut(desk: Desk, fleet: Path) -> None:
    done = desk.check("-i", fleet, "--include", "HOST-MEM")
    assert (done.code, done.err) == (6, "")
    assert "\x1b" not in done.out
    assert "\r" not in done.out
    assert done.out.startswith("CRIT web01 HOST-MEM  ")
    assert "UNREACH gone TCP " in done.out


@pytest.mark.covers("exp:R8")
@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_at_a_terminal_programs_get_no_progress(desk: Desk, fleet: Path, form: str) -> None:
    text = check(desk, fleet, 100, "--format", form)
    assert "hosts answered" not in text
    assert "\r" not in text
    assert "\x1b" not in text


@pytest.mark.covers("exp:R8", "exp:R9")
def test_a_dumb_terminal_gets_its_progress_without_escapes(desk: Desk, fleet: Path) -> None:
    text = check(desk, fleet, 100, TERM="dumb")
    assert "2/2 hosts answered\r" in text
    assert "\x1b" not in text


@pytest.mark.covers("exp:R4", "exp:R5")
def test_json_is_one_document_and_jsonl_a_line_for_each_host_and_a_summary(desk: Desk, fleet: Path) -> None:
    whole = desk.check("-i", fleet, "--include", "HOST-MEM", "--json").json()
    assert whole["schema"] == "fleetmedic-check/1"
    assert [report["host"] for report in whole["reports"]] == ["web01", "gone"]
    lines = desk.check("-i", fleet, "--include", "HOST-MEM", "--format", "jsonl").out.splitlines()
    assert len(lines) == 3
    assert '"type": "summary"' in lines[-1]
    assert '"type": "host"' in lines[0]


@pytest.mark.covers("exp:R23")
def test_every_run_is_kept_listed_and_shown(desk: Desk, fleet: Path) -> None:
    run = desk.check("-i", fleet, "--include", "HOST-MEM", "--json").json()["run"]
    listed = desk.run("runs", "list", "--most", "1").out
    assert listed.startswith(f"{run}  ")
    assert listed.endswith(f"  check all  2 hosts  1 check  {listed.split()[-4]}  exit 6   {fleet}\n")
    shown = desk.run("runs", "show", run.lower(), "--host", "web01").out
    assert "CRIT  HOST-MEM" in shown
    assert "gone" not in shown
    base = sqlite3.connect(desk.folder / "state" / "fleetmedic" / "controller.db")
    assert base.execute("SELECT count(*) FROM events WHERE text LIKE 'check of all: 2 hosts%'").fetchone()[0] >= 1
    base.close()


def test_this_machine_is_asked_where_no_inventory_is_given(desk: Desk) -> None:
    done = desk.check("--include", "HOST-MEM", "--json")
    assert done.code in (0, 2)
    assert [item["id"] for item in done.json()["reports"][0]["findings"]] == ["HOST-MEM"]


def test_the_agent_of_the_tests_is_the_installed_one() -> None:
    assert (agents.BIN / "fleetmedic-agent").exists()
