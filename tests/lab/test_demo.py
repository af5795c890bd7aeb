"""The demo, as `make demo` runs it."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent import registry
from tests.lab import demo, fixtures

ROOT = Path(__file__).parent.parent.parent
# A second run may take 20 s on a machine like this; a loaded one gets some more.
IN_TIME = 30.0


def play(fault: str, *before: str) -> tuple[str, float]:
    began = time.monotonic()
    done = subprocess.run(
        [*before, sys.executable, "-m", "tests.lab.demo", fault],
        cwd=ROOT,
        env={"PATH": os.defpath, "HOME": "/nonexistent", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, time.monotonic() - began


@pytest.mark.covers("exp:demo")
@pytest.mark.parametrize(("fault", "named"), [("lock", "PG-LOCK-ROOT"), ("redis-full", "REDIS-NOEVICTION-FULL")])
def test_the_fault_that_is_made_is_named(fault: str, named: str) -> None:
    fixtures.need()
    said, took = play(fault)

    before, after = (part for part in said.split("$ fleetmedic check")[1:])
    assert "CRIT" not in before
    assert f"CRIT {'db01' if fault == 'lock' else 'cache01'} {named}" in after
    if fault == "lock":
        pid = re.search(r"\(pid (\d+)\)", said)
        assert pid is not None
        assert f"session {pid[1]} " in after
    assert took < IN_TIME


@pytest.mark.covers("exp:demo")
def test_nothing_is_named_where_nothing_is_broken_and_no_root_is_needed() -> None:
    fixtures.need(root=True)
    said, _ = play("none", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")

    assert "Nothing was named." in said
    assert "CRIT" not in said


@pytest.mark.covers("exp:demo")
def test_the_demos_own_text_holds_no_finding_id() -> None:
    text = Path(demo.__file__).read_text()

    assert [rule.id for rule in registry.load() if rule.id in text] == []
