"""Hosts that the inventory marks as without an agent: told as not checked, and never dialled."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.inventory.connection import AGENTLESS
from tests.lab.agents import Agent, Desk


@pytest.fixture
def trap() -> Iterator[socket.socket]:
    """Listen where an agent of a host without an agent would be: anything that comes in was dialled."""
    with socket.create_server(("127.0.0.77", 7443)) as listening:
        listening.setblocking(False)
        yield listening


def inventory(desk: Desk, agent: Agent, kind: str) -> Path:
    file = desk.folder / f"{kind}.yml"
    file.write_text(
        f"all:\n  hosts:\n    web01: {{fleetmedic_address: {agent.address}, fleetmedic_port: {agent.port}}}\n"
        f"    box: {{ansible_connection: {kind}, ansible_host: 127.0.0.77}}\n"
    )
    return file


def untouched(trap: socket.socket) -> bool:
    try:
        trap.accept()
    except BlockingIOError:
        return True
    return False


@pytest.mark.covers("inv:F2")
@pytest.mark.parametrize("kind", ["local", "docker"])
def test_a_host_without_an_agent_is_skipped_and_not_dialled(
    desk: Desk, agent: Agent, trap: socket.socket, kind: str
) -> None:
    file = inventory(desk, agent, kind)
    words = ("-i", file, "--include", "HOST-MEM", "--exclude", "PG-*")
    whole = desk.check(*words, "--json").json()
    assert [(report["host"], report["state"], report["cause"]) for report in whole["reports"]] == [
        ("web01", whole["reports"][0]["state"], ""),
        ("box", "skipped", AGENTLESS),
    ]
    told = desk.check(*words)
    assert f"SKIPPED box {AGENTLESS}\n" in told.out
    assert "1 not checked" in told.out
    assert told.code in (0, 2)
    assert untouched(trap)


def test_a_table_of_others_is_whole_without_it(desk: Desk, agent: Agent) -> None:
    done = desk.run("show", "disk", "-i", inventory(desk, agent, "local"))
    assert done.code == 0, done.out
    assert f"- box  {AGENTLESS}\n" in done.out
    assert "NOT SEEN" not in done.out


def test_one_with_a_port_of_its_own_is_dialled(desk: Desk, agent: Agent) -> None:
    file = desk.folder / "own.yml"
    file.write_text(
        "all: {hosts: {web01: {ansible_connection: local, "
        f"fleetmedic_address: {agent.address}, fleetmedic_port: {agent.port}}}}}}}\n"
    )
    (report,) = desk.check("-i", file, "--include", "HOST-MEM", "--json").json()["reports"]
    assert report["cause"] == ""
    assert [finding["id"] for finding in report["findings"]] == ["HOST-MEM"]


def test_a_question_to_hosts_without_agents_alone_is_65_and_no_success(
    desk: Desk, agent: Agent, trap: socket.socket
) -> None:
    done = desk.check("box", "-i", inventory(desk, agent, "local"))
    assert (done.code, done.out, done.err) == (65, "", f"fleetmedic: box: {AGENTLESS}\n")
    assert untouched(trap)


def test_a_misspelt_check_is_told_though_one_host_has_no_agent(desk: Desk, agent: Agent) -> None:
    done = desk.check("-i", inventory(desk, agent, "local"), "--include", "HOST-MEN")
    assert done.code == 65
    assert "did you mean HOST-MEM" in done.err
    done = desk.check("-i", inventory(desk, agent, "local"), "--service", "hots")
    assert done.code == 65
    assert "did you mean host?" in done.err


def test_describe_and_inventory_say_so_too(desk: Desk, agent: Agent, trap: socket.socket) -> None:
    file = inventory(desk, agent, "local")
    both = desk.run("describe", "-i", file)
    assert (both.code, both.err) == (0, "")
    assert f"box  {AGENTLESS}\n" in both.out
    assert desk.run("describe", "box", "-i", file).code == 69
    assert desk.run("inventory", "host", "box", "-i", file).out.startswith(f"box  {AGENTLESS}\n")
    assert untouched(trap)
