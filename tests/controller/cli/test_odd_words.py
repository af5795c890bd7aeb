"""Words on the command line that are no text: one clear line, and never a bug of ours."""

import os

import pytest

from tests.lab.agents import Agent, Desk

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
