"""Installations that do not come to their end: a host is as it was before, whatever ended them, and whenever."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.bootstrap import one_host, rollout, signing
from controller.bootstrap.installing import Ending, Outcome
from controller.bootstrap.one_host import Ready, Target, Wanted
from controller.bootstrap.side_by_side import Sessions
from controller.bootstrap.verifying import verifier
from controller.inventory.loading import load
from controller.ssh import Trust, destination
from tests.controller.bootstrap.installing import CONFIG, HOME, Crew, ending, exists, files, pids, untouched
from tests.lab import proxy
from tests.lab.agents import Command
from tests.lab.hosts import LabHost
from tests.lab.proxy import Proxy
from tests.lab.waiting import until

ROOT = Path(__file__).parent.parent.parent.parent
ON_HOST = r"exec\(compile\(text"
# With nothing yet, with a key that waits, and with all; killed where pip still runs, and where services do.
CUT = ("sending", "enrolling", "verifying")
KILLED = ("installing", "verifying")
# Where no answer is to come, nobody waits for one as long as elsewhere.
IMPATIENT = {"controller/bootstrap/one_host.py": "\nANSWERS = 6.0\n"}


def utc() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


def attempt(crew: Crew, between: Proxy, when: str, then: Callable[[], object]) -> Outcome:
    """Install over a proxy; once the host is at that step `then` happens."""
    host = load([str(crew.inventory)]).host(crew.site.only.name)
    known = crew.desk.folder / "known-by-proxy"
    keys = crew.site.known_hosts.read_text().split(" ", 1)[1]
    known.write_text(f"[127.0.0.1]:{between.port} {keys}")
    target = Target(host, replace(destination(host, {}, "root"), address="127.0.0.1", port=between.port))
    sessions = Sessions(Trust((known,), 30.0, own_keys=False))
    wanted = Wanted(signing.authorities(crew.desk.pki, "test", utc), crew.bundles, discover=False, forks=1)

    def progress(_: str, step: str) -> None:
        if step == when:
            then()

    seen = one_host.look(target, sessions, progress)
    assert seen.seen is not None, seen.outcome
    facts = seen.seen.facts
    ready = one_host.prepare(seen, {facts: rollout.bundle_for(crew.bundles, facts, print)}, discover=False)
    assert isinstance(ready, Ready)
    with verifier(wanted.owner.passing()) as verify:
        return one_host.install(ready, sessions, wanted, verify, progress)


def ended(host: LabHost) -> bool:
    return host.tried("pgrep", "-f", ON_HOST).code == 1


@pytest.mark.covers("sec:install")
def test_a_host_undoes_by_itself_what_is_cut_off_at_any_step(fresh: Crew) -> None:
    host = fresh.site.only
    before = files(host)
    with proxy.run(host.address, 22) as between:
        for step in CUT:
            between.set("pass")
            outcome = attempt(fresh, between, step, lambda: between.set("cut"))
            assert outcome.ending == Ending.FAILED, (step, outcome)
            assert "the host undoes what it has not finished" in outcome.said
            until(f"the host has undone what was cut at {step}", lambda: ended(host), seconds=120.0)
            untouched(host, before)
        between.set("pass")
        outcome = attempt(fresh, between, "never", print)
    assert outcome.ending == Ending.INSTALLED, outcome


@pytest.mark.covers("sec:install")
def test_the_next_installation_repairs_what_was_killed_at_any_step(fresh: Crew) -> None:
    host = fresh.site.only
    before = files(host)
    with proxy.run(host.address, 22) as between:
        for step in KILLED:
            outcome = attempt(fresh, between, step, lambda: host.run("pkill", "-9", "-f", ON_HOST))
            assert outcome.ending == Ending.FAILED, (step, outcome)
            assert exists(host, f"{HOME}/.undo"), step
            # The next one is cut before it begins anew: what is left then is what it repaired.
            attempt(fresh, between, "sending", lambda: host.run("pkill", "-9", "-f", ON_HOST))
            done = fresh.agent("uninstall", host.name, "--yes", "--purge")
            assert done.code == 0, done.out
            untouched(host, before)
        outcome = attempt(fresh, between, "starting", lambda: host.run("pkill", "-9", "-f", ON_HOST))
        done = fresh.agent("install", host.name)
    assert "after an installation that was cut off" in ending(done, host.name)
    assert fresh.ping().code == 0


@pytest.mark.covers("sec:install")
def test_nothing_is_left_where_the_agent_does_not_answer(fresh: Crew, folder: Path) -> None:
    host = fresh.site.only
    taken = ["--quiet", "--unit=other", "/usr/bin/python3", "-m", "http.server", "--bind", host.address, "7443"]
    host.run("systemd-run", *taken)
    before = files(host)
    done = other_code(fresh, folder / "impatient", IMPATIENT)("install", host.name)
    assert done.code == 2
    line = ending(done, host.name)
    assert line.startswith(f"✗ failed       {host.name}  it does not answer: ")
    assert "fleetmedic-agent-serve said: fleetmedic-agent: " in line
    assert "7443" in line
    assert line.endswith("; what was done is undone")
    untouched(host, before)


def other_code(crew: Crew, folder: Path, changes: Mapping[str, str]) -> Callable[..., Command]:
    """Another version's fleetmedic: a copy of this one with more at the end of some files."""
    for name in ("agent", "controller", "protos"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in changes.items():
        with (folder / name).open("a") as file:
            file.write(text)
    program = "import sys; from controller.cli import main; main()"
    environment = {**crew.desk.environment, **crew.environment, "PYTHONPATH": f"{folder}:{folder}/protos"}

    def run(*words: str) -> Command:
        done = subprocess.run(
            [sys.executable, "-c", program, "agent", *words, "-i", crew.inventory],
            env=environment,
            cwd=crew.desk.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        return Command(done.returncode, done.stdout, done.stderr)

    return run


@pytest.mark.covers("sec:install", "sec:bundle")
def test_an_upgrade_comes_with_a_plan_and_a_bad_one_leaves_the_version_before_it(fresh: Crew, folder: Path) -> None:
    host = fresh.site.only
    older = other_code(fresh, folder / "older", {"agent/budgets.py": "\n# as it was\n"})
    assert older("install", host.name).code == 0
    first = host.run("readlink", f"{HOME}/current").strip()
    key = host.run("md5sum", "/var/lib/fleetmedic/identity/agent.key")

    # One that was there before the one before.
    oldest = f"{HOME}/0.0.9-00000000"
    host.run("mkdir", oldest)
    host.run("touch", "-d", "2026-01-01", oldest)
    spoilt = {"agent/front/server.py": '\nraise RuntimeError("not this one")\n'}
    broken = other_code(fresh, folder / "broken", {**IMPATIENT, **spoilt})
    held, running = files(host), pids(host)
    done = broken("install", host.name)
    assert done.code == 2, done.out
    assert f"1 host: 1 upgrade {first} -> 0.1.0-" in done.out
    assert ending(done, host.name).endswith("what was done is undone")
    assert host.run("readlink", f"{HOME}/current").strip() == first
    now = files(host)
    assert [path for path in held if path.startswith(HOME) and now.get(path) != held[path]] == []
    assert now[CONFIG] == held[CONFIG]
    assert fresh.ping().code == 0
    assert "0" not in pids(host)
    assert pids(host) != running

    done = fresh.agent("install", host.name)
    assert done.code == 0, done.out
    second = host.run("readlink", f"{HOME}/current").strip()
    assert second != first
    assert f"1 host: 1 upgrade {first} -> {second}" in done.out
    assert host.run("md5sum", "/var/lib/fleetmedic/identity/agent.key") == key
    # A job that outlives the restart still runs from the version before; older ones are gone.
    assert sorted(host.run("ls", HOME).split()) == sorted([first, second, "current"])
    assert fresh.ping().code == 0


@pytest.mark.covers("sec:install")
def test_ctrl_c_once_waits_for_a_host_that_is_under_way_and_twice_lets_it_undo(fresh: Crew) -> None:
    host = fresh.site.only
    before = files(host)
    for times, said in ((2, " failed "), (1, " installed ")):
        words: list[str | Path] = [
            Path(sys.executable).parent / "fleetmedic",
            "agent",
            "install",
            "all",
            "-i",
            fresh.inventory,
        ]
        running = subprocess.Popen(
            words,
            env={**fresh.desk.environment, **fresh.environment},
            cwd=fresh.desk.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until("it is under way", lambda: exists(host, f"{HOME}/.undo/before.json"), seconds=60.0)
        for _ in range(times):
            os.kill(running.pid, signal.SIGINT)
            time.sleep(1.0)
        out, err = running.communicate(timeout=120)
        assert running.returncode == 130, (out, err)
        assert "waiting for 1 host that is under way; again to leave, and they undo it" in err
        assert said in out, out
        if times == 2:
            until("the host has undone it", lambda: ended(host), seconds=120.0)
            untouched(host, before)
    assert fresh.ping().code == 0
