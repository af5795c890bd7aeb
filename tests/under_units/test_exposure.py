"""The scores of the units that are installed, by systemd's own measure."""

import subprocess
from pathlib import Path

import pytest

from tests.lab import requirements
from tests.lab.hosts import Site
from tests.under_units import by_hand

CHECKOUT = by_hand.CHECKOUT
# systemd says 15 where it prints 1.5.
MOST = {by_hand.SERVE: 15, by_hand.WORK: 40}


def packaged(name: str) -> Path:
    return Path(str(by_hand.unit(name)))


@pytest.mark.covers("sec:exposure")
@pytest.mark.parametrize("name", by_hand.UNITS)
def test_a_unit_is_exposed_no_more_than_it_may_be(name: str) -> None:
    judged = subprocess.run(
        [
            *(requirements.required("systemd-analyze"), "security", "--offline=true", "--no-pager"),
            *(f"--threshold={MOST[name]}", packaged(name)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert f"Overall exposure level for {name}: " in judged.stdout


@pytest.mark.covers("sec:exposure")
@pytest.mark.parametrize("name", by_hand.UNITS)
def test_every_directive_is_one_that_systemd_knows(name: str) -> None:
    judged = subprocess.run(
        [requirements.required("systemd-analyze"), "verify", "--man=no", packaged(name)],
        capture_output=True,
        text=True,
        check=False,
    )
    # Of the program alone it may complain: it is not installed on this machine.
    assert [line for line in judged.stderr.splitlines() if name in line and "is not executable" not in line] == []


@pytest.mark.covers("sec:exposure")
@pytest.mark.parametrize("name", by_hand.UNITS)
def test_the_scored_unit_is_the_one_that_runs_to_the_byte(confined: Site, name: str) -> None:
    installed = confined.only.run("cat", f"/etc/systemd/system/{name}")
    assert installed.encode() == packaged(name).read_bytes()
    shown = confined.only.run("systemctl", "show", name, "--property=FragmentPath,DropInPaths,NeedDaemonReload")
    assert set(shown.split("\n")) == {
        f"FragmentPath=/etc/systemd/system/{name}",
        "DropInPaths=",
        "NeedDaemonReload=no",
        "",
    }


@pytest.mark.covers("sec:exposure")
@pytest.mark.parametrize("name", by_hand.UNITS)
def test_the_page_says_of_each_directive_what_it_does(name: str) -> None:
    page = (CHECKOUT / "docs" / "units.md").read_text()
    section = page.partition(f"## {name.removeprefix('fleetmedic-agent-').removesuffix('.service')}")[2]
    section = section.partition("\n## ")[0]
    lines = packaged(name).read_text().splitlines()
    directives = {line.partition("=")[0] for line in lines if "=" in line and not line.startswith("#")}
    assert {word for word in directives if f"`{word}" not in section} == set()
