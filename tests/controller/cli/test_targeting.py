"""Whom a command is for: limits, shares, earlier runs and expected counts, through the real command."""

import contextlib
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.dead_hosts import DeadHost, dead_hosts
from controller.endings import State
from controller.host_report import HostReport
from controller.store import database, runs
from controller.store.runs import Run
from fleetmedic.v1.agent_pb2 import CheckResponse
from tests.lab import agents
from tests.lab.agents import Agent, Desk

LINKS = (
    "{fleetmedic_services: [host], "
    "fleetmedic_host_links: {Dashboard: 'https://grafana.example.net/d/host', Runbook: 'https://wiki.example.net/h'}, "
    "fleetmedic_limits: {HOST-MEM: {crit_free_share: 1.1}}}"
)


@pytest.fixture(scope="module")
def dead() -> Iterator[DeadHost]:
    """Hold a port that refuses."""
    with dead_hosts("127.0.11.1", 1) as hosts:
        yield next(host for host in hosts if host.kind == "refused")


@pytest.fixture
def fleet(desk: Desk, agent: Agent, dead: DeadHost) -> Path:
    """Write an inventory of the agent, and of one that is dead."""
    file = desk.folder / "targets.yml"
    file.write_text(
        f"web:\n  hosts:\n    web01: {{fleetmedic_address: {agent.address}, fleetmedic_port: {agent.port}}}\n"
        f"dead:\n  hosts:\n    web02: {{fleetmedic_address: {dead.address}, fleetmedic_port: {dead.port}}}\n"
        "all:\n  vars: " + LINKS + "\n"
    )
    return file


@pytest.mark.covers("inv:P206")
@pytest.mark.parametrize("words", [("check",), ("show", "disk"), ("describe",), ("inventory", "ping")])
def test_another_count_than_expected_is_65_and_nobody_is_asked(desk: Desk, words: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.78", 7443)) as trap:
        trap.setblocking(False)
        done = desk.run(*words, "-i", "127.0.0.78,127.0.0.79", "--expect", "3")
        assert (done.code, done.out) == (65, "")
        assert done.err == "fleetmedic: --expect 3: 2 selected; nobody was asked, see --list-hosts\n"
        with pytest.raises(BlockingIOError):
            trap.accept()


@pytest.mark.covers("exp:limits")
@pytest.mark.parametrize("words", [("check",), ("show", "disk"), ("describe",), ("inventory", "ping")])
def test_the_hosts_are_listed_a_name_a_line_and_not_asked(desk: Desk, fleet: Path, words: tuple[str, ...]) -> None:
    done = desk.run(*words, "-i", fleet, "--list-hosts")
    assert (done.code, done.out, done.err) == (0, "web01\nweb02\n", "")
    assert desk.run(*words, "-i", fleet, "--list-hosts", "-l", "10%", "--expect", "1").out == "web01\n"


@pytest.mark.covers("inv:P204", "inv:P205")
@pytest.mark.parametrize(
    "words", [("check",), ("show", "disk"), ("describe",), ("inventory", "ping"), ("inventory", "hosts")]
)
@pytest.mark.parametrize("pattern", ["", " ", ",", "wbe", "!@hosts", "@empty", "web:!wbe", "101%", "bad@NONE"])
def test_a_pattern_or_limit_that_is_none_is_65_for_every_command(
    desk: Desk, fleet: Path, words: tuple[str, ...], pattern: str
) -> None:
    (desk.folder / "empty").write_text("\n")
    for asked in ((*words, pattern), (*words, "all", "--limit", pattern)):
        done = desk.run(*asked, "-i", fleet)
        assert (done.code, done.out) == (65, ""), asked
        assert done.err.count("\n") == 1


@pytest.mark.covers("inv:P204")
@pytest.mark.parametrize("words", [("check",), ("show", "disk"), ("describe",), ("inventory", "ping")])
def test_an_empty_inventory_is_65_for_all_but_its_listing(desk: Desk, words: tuple[str, ...]) -> None:
    file = desk.folder / "nobody.ini"
    file.write_text("[web]\n")
    done = desk.run(*words, "-i", file)
    assert done.code == 65
    assert "no host; the inventory" in done.err
    assert desk.run("inventory", "hosts", "-i", file).out == ""
    assert desk.run("inventory", "hosts", "-i", file).code == 0


@pytest.mark.covers("exp:limits", "exp:links", "inv:F1")
def test_the_bad_hosts_of_a_run_are_asked_again_and_links_stand_under_their_findings(desk: Desk, fleet: Path) -> None:
    first = desk.check("-i", fleet, "--include", "HOST-MEM")
    assert first.code == 6
    assert first.out.count("see: Dashboard https://grafana.example.net/d/host\n") == 1
    assert first.out.count("see: Runbook https://wiki.example.net/h\n") == 1
    again = next(line for line in first.out.splitlines() if line.startswith("again: "))
    run = again.partition("bad@")[2].partition(" ")[0]
    assert desk.run("inventory", "hosts", f"bad@{run}", "-i", fleet).out == "web01\nweb02\n"
    assert desk.run("inventory", "hosts", "unreachable@last", "-i", fleet).out == "web02\n"
    assert desk.run("inventory", "hosts", f"web:&bad@{run}", "-i", fleet).out == "web01\n"
    whole = desk.check("-i", fleet, "--include", "HOST-MEM", "--limit", f"bad@{run}", "--json").json()
    assert [report["host"] for report in whole["reports"]] == ["web01", "web02"]
    assert whole["reports"][0]["links"]["host"][0]["title"] == "Dashboard"


@pytest.mark.covers("exp:limits")
def test_the_last_run_is_that_of_the_same_inventory_from_any_folder_and_is_named_in_what_is_printed(
    tmp_path: Path, dead: DeadHost
) -> None:
    desk = agents.desk(tmp_path / "desk")
    hosts = f"[web]\nw1 ansible_host={dead.address} fleetmedic_port={dead.port}\n"
    (desk.folder / "one.ini").write_text(hosts)
    (desk.folder / "another.ini").write_text(hosts)
    (desk.folder / "sub").mkdir()
    first = desk.check("-i", "one.ini", "--json").json()["run"]
    assert desk.run("inventory", "hosts", "bad@last", "-i", "sub/../one.ini").out == "w1\n"
    strange = desk.run("inventory", "hosts", "bad@last", "-i", "another.ini")
    assert (strange.code, strange.out) == (65, "")
    assert "none of this inventory is kept here" in strange.err
    told = desk.run("inventory", "hosts", f"bad@{first}", "-i", "another.ini")
    assert told.out == "w1\n"
    assert told.err.startswith(f"fleetmedic: run {first} is of the inventory {desk.folder}/one.ini: its hosts are ")
    again = desk.check("bad@LAST", "-i", "one.ini", "--limit", "web,zzz,unreachable@last", "--allow-unmatched")
    second = again.out.partition("   run ")[2].partition("\n")[0]
    assert desk.run("runs", "show", second).out.startswith(f"run {second}   check bad@{first} ")


@pytest.mark.covers("exp:limits")
@pytest.mark.parametrize("name", ["3DJ6", "7777", "QRST"])
def test_the_last_run_may_have_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "h.ini").write_text("w1\nw2\nw3\n")
    states = {"w1": State.OK, "w2": State.UNREACHABLE, "w3": State.CANCELLED}
    reports = tuple(HostReport(host, state, "", 0.1, CheckResponse()) for host, state in states.items())
    kept = Run(name, "check", 1.0, 1.0, "all", str(tmp_path / "h.ini"), reports, 130)
    store = tmp_path / "store.db"
    with contextlib.closing(database.connect(store)) as base:
        runs.save(base, kept, "alice", 2.0)
    for pattern, hosts in {
        "bad@last": "w2",
        "all:!ok@LAST:!notstarted@last": "w2",
        "ok@last,notstarted@Last": "w1 w3",
        "notok@last,&w*": "w2 w3",
    }.items():
        done = Desk(tmp_path).run("inventory", "hosts", pattern, "-i", "h.ini", "--store", store)
        assert (done.code, done.out.split()) == (0, hosts.split()), done.err


@pytest.mark.covers("exp:limits")
def test_what_is_printed_to_show_all_narrows_as_was_asked(desk: Desk, agent: Agent) -> None:
    file = desk.folder / "all of it.ini"
    file.write_text(
        f"[web]\nweb01 fleetmedic_address={agent.address} fleetmedic_port={agent.port}\n[web:vars]\n"
        "fleetmedic_limits={'HOST-MEM': {'warn_free_share': 0, 'crit_free_share': 0}}\n"
    )
    done = desk.check("-i", file, "--limit", "web,zzz", "--allow-unmatched", "--include", "HOST-MEM")
    assert done.code == 0
    words = shlex.split(done.out.partition("all of it: fleetmedic ")[2].partition("   exit code")[0])
    assert words[:5] == ["check", "all", "--limit", "web,zzz", "--allow-unmatched"]
    assert desk.run(*words).code == 0


@pytest.mark.covers("inv:P204")
def test_what_matches_nothing_may_be_left_out_where_hosts_are_only_looked_at(desk: Desk, fleet: Path) -> None:
    done = desk.run("inventory", "hosts", "web,wbe", "--allow-unmatched", "-i", fleet)
    assert (done.code, done.out) == (0, "web01\n")
    assert done.err == "fleetmedic: pattern 'web,wbe': 'wbe' matches nothing: left out (--allow-unmatched)\n"


def test_a_limit_without_an_inventory_is_65(desk: Desk) -> None:
    assert desk.check("--limit", "10%").code == 65
