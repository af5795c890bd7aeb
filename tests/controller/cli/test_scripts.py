"""The names that a runbook knows work as it has them: from any folder, with no argument, and with theirs."""

import json
import re
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.lab import agents
from tests.lab.agents import Agent, Desk
from tests.lab.waiting import free_port

CHECK, REPORT = "health-check-all-services.sh", "generate-incident-report.py"


@pytest.fixture(scope="module")
def scripts(desk: Desk) -> Path:
    """Install the scripts into a folder whose name a shell would split."""
    folder = desk.folder / "run book's $scripts"
    done = desk.run("scripts", "install", folder)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"wrote {folder / CHECK}",
        f"wrote {folder / REPORT}",
        "not written: fetch-logs.sh, which comes with the command that fetches logs",
    ]
    return folder


@pytest.fixture(scope="module")
def fleet(desk: Desk, agent: Agent) -> Mapping[str, str]:
    """Configure an inventory of web01, well but for a limit, and a host that refuses."""
    file = desk.folder / "scripts.yml"
    file.write_text(
        f"all:\n  hosts:\n    web01: {{fleetmedic_address: {agent.address}, fleetmedic_port: {agent.port}}}\n"
        f"    gone: {{fleetmedic_address: 127.0.0.1, fleetmedic_port: {free_port()}}}\n"
        "  vars:\n    fleetmedic_limits: {HOST-MEM: {warn_free_share: 1.1, crit_free_share: 1.1}}\n"
    )
    return {**desk.environment, "FLEETMEDIC_INVENTORY": str(file)}


def run(
    words: Sequence[str | Path], folder: Path, environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    folder.mkdir(exist_ok=True, parents=True)
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def names(folder: Path) -> list[str]:
    return sorted(place.name for place in folder.iterdir())


def test_the_scripts_are_a_few_lines_and_may_be_run(scripts: Path) -> None:
    for name in (CHECK, REPORT):
        assert stat.S_IMODE((scripts / name).stat().st_mode) & 0o111
        assert len((scripts / name).read_text().splitlines()) <= 8
    assert names(scripts) == [REPORT, CHECK]


@pytest.mark.covers("exp:C16")
def test_the_health_check_writes_a_json_and_a_text_file_for_each_host_and_a_summary(
    scripts: Path, fleet: Mapping[str, str], folder: Path
) -> None:
    done = run([scripts / CHECK, "--output-dir", "./incident-triage/"], folder, fleet)
    assert done.returncode == 6, done.stderr
    made = folder / "incident-triage"
    assert names(made) == ["gone.json", "gone.txt", "summary.json", "summary.txt", "web01.json", "web01.txt"]
    summary = json.loads((made / "summary.json").read_text())
    assert (summary["exit_code"], summary["states_by_host"]) == (6, {"web01": "failed", "gone": "unreachable"})
    findings = json.loads((made / "web01.json").read_text())["findings"]
    assert "crit" in [item["status"] for item in findings if item["id"] == "HOST-MEM"]
    assert "CRIT  HOST-MEM" in (made / "web01.txt").read_text()
    assert "TCP " in (made / "gone.txt").read_text()
    assert (made / "summary.txt").read_text() in done.stdout
    assert done.stdout.endswith(f"wrote {made}\n")


@pytest.mark.covers("exp:J2")
def test_the_health_check_runs_with_no_argument_and_says_in_which_dated_folder(
    scripts: Path, fleet: Mapping[str, str], folder: Path
) -> None:
    done = run([scripts / CHECK], folder, fleet)
    assert done.returncode == 6, done.stderr
    (made,) = folder.iterdir()
    assert re.fullmatch(r"health-\d{4}-\d\d-\d\dT\d{6}Z", made.name)
    assert done.stdout.endswith(f"wrote {made}\n")
    assert len(names(made)) == 6


@pytest.mark.covers("exp:J2")
def test_the_health_check_of_this_machine_needs_no_inventory(scripts: Path, desk: Desk, folder: Path) -> None:
    done = run([scripts / CHECK, "--include", "HOST-LOAD"], folder, desk.environment)
    assert done.returncode in (0, 2), done.stderr
    (made,) = folder.iterdir()
    assert len(names(made)) == 4


@pytest.mark.covers("exp:C16")
def test_patterns_and_options_are_passed_on(scripts: Path, fleet: Mapping[str, str], folder: Path) -> None:
    done = run([scripts / CHECK, "web01", "-t", "made", "--include", "HOST-MEM", "--json"], folder, fleet)
    assert done.returncode == 2, done.stderr
    assert names(folder / "made") == ["summary.json", "summary.txt", "web01.json", "web01.txt"]
    assert [row["host"] for row in json.loads(done.stdout)["reports"]] == ["web01"]
    assert done.stderr == f"wrote {folder / 'made'}\n"


def test_a_folder_that_cannot_be_written_is_said_after_the_answer(desk: Desk, folder: Path) -> None:
    (folder / "made").write_text("a file")
    done = desk.run("check", "--include", "HOST-LOAD", "--output-dir", folder / "made" / "deep")
    assert "1 host: " in done.out
    assert done.err.startswith(f"fleetmedic: not written: {folder / 'made'}")
    assert done.code in (1, 2)


def test_a_folder_is_for_one_look_and_a_paste_stays_as_it_is(desk: Desk, folder: Path) -> None:
    watched = desk.run("check", "--watch", "10s", "--output-dir", folder / "made")
    assert (watched.code, "--output-dir is for one look: without --watch" in watched.err) == (64, True)
    assert not (folder / "made").exists()
    pasted = desk.run("check", "--include", "HOST-LOAD", "--paste", "--output-dir", folder / "made")
    assert "wrote" not in pasted.out
    assert pasted.err == f"wrote {folder / 'made'}\n"


@pytest.mark.covers("exp:C16", "exp:snooze")
def test_what_is_snoozed_is_named_in_the_files_of_its_host(
    scripts: Path, fleet: Mapping[str, str], folder: Path
) -> None:
    own = {**fleet, "XDG_STATE_HOME": str(folder / "state")}
    run([scripts / CHECK, "web01", "--include", "HOST-MEM"], folder, own)
    program: list[str | Path] = [
        agents.BIN / "fleetmedic",
        "snooze",
        "add",
        "HOST-MEM",
        "web01",
        "--for",
        "1h",
        "--reason",
        "known",
    ]
    snoozed = run(program, folder, own)
    assert snoozed.returncode == 0, snoozed.stderr
    done = run([scripts / CHECK, "web01", "--include", "HOST-MEM", "-t", "made"], folder, own)
    assert done.returncode == 0, done.stderr
    one = json.loads((folder / "made" / "web01.json").read_text())
    assert [item["id"] for item in one["snoozed"]] == ["HOST-MEM"]
    assert "snoozed then: HOST-MEM on web01: known" in (folder / "made" / "web01.txt").read_text()
    assert json.loads((folder / "made" / "summary.json").read_text())["snoozed"]


@pytest.mark.covers("exp:J3")
@pytest.mark.parametrize("before", [[], [sys.executable]], ids=["itself", "python"])
def test_the_report_is_made_in_an_empty_folder_with_no_store_and_no_agent(
    scripts: Path, tmp_path: Path, before: list[str]
) -> None:
    alone = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home")}
    words: list[str | Path] = [
        *before,
        scripts / REPORT,
        "--title",
        "Pool exhausted",
        "--severity",
        "SEV1",
        "--output-dir",
        ".",
    ]
    done = run(words, tmp_path / "empty", alone)
    assert (done.returncode, done.stderr) == (0, "")
    assert [name.partition("pool")[2] for name in names(tmp_path / "empty")] == ["-exhausted.json", "-exhausted.md"]
    assert not (tmp_path / "home").exists()


def test_the_report_wants_a_title_and_a_severity(scripts: Path, tmp_path: Path) -> None:
    done = run([scripts / REPORT, "--output-dir", "."], tmp_path / "empty", {"HOME": str(tmp_path)})
    assert done.returncode == 64
    assert "Missing option '--title'" in done.stderr


def test_ours_are_written_again_and_a_strangers_file_only_by_force(desk: Desk, folder: Path) -> None:
    for _ in range(2):
        assert desk.run("scripts", "install", folder / "made").code == 0
    (folder / "made" / CHECK).write_text("#!/bin/sh\necho mine\n")
    (folder / "made" / REPORT).unlink()
    done = desk.run("scripts", "install", folder / "made")
    assert done.code == 1
    assert f"{folder / 'made' / CHECK}: not written by fleetmedic, and left as it is" in done.err
    assert names(folder / "made") == [CHECK]
    assert "mine" in (folder / "made" / CHECK).read_text()
    assert desk.run("scripts", "install", folder / "made", "--force").code == 0
    assert "mine" not in (folder / "made" / CHECK).read_text()


def test_the_agent_of_these_tests_is_installed_beside_the_command() -> None:
    assert (agents.BIN / "fleetmedic").exists()
