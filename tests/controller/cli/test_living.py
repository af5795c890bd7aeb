"""Living with a fleet: what changed, what is snoozed and what is watched, over a real agent and a real Redis."""

import contextlib
import json
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from controller.cli.check.watching import pause
from controller.store import events
from tests.controller import terminal
from tests.lab import agents
from tests.lab import redis as cache
from tests.lab.agents import BIN, Command, Desk
from tests.lab.fixtures import need
from tests.lab.waiting import free_port, until

LOOK = ["--include", "REDIS-UP"]


@dataclass(frozen=True)
class Site:
    """An agent that knows of a Redis, which a test starts and stops."""

    desk: Desk
    inventory: Path
    folder: Path
    port: int

    @contextlib.contextmanager
    def redis(self) -> Iterator[None]:
        with cache.run(self.folder, port=self.port):
            yield

    def check(self, *words: str | Path, pattern: tuple[str, ...] = ()) -> Command:
        return self.desk.check(*pattern, "-i", self.inventory, *LOOK, *words)

    def run(self, *words: str | Path) -> Command:
        return self.desk.run(*words)


@pytest.fixture(scope="module")
def site(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run the agent of web01."""
    need("redis-server")
    folder = lab / tmp_path_factory.mktemp("living").name
    desk = agents.desk(folder)
    port = free_port()
    config = f'\n[[redis]]\nservice = "carts"\nhost = "127.0.0.1"\nport = {port}\n'
    with (
        agents.run(desk, "web01", port=free_port(), top="discover = false", config=config) as agent,
        agents.fleet(desk, [agent]) as fleet,
    ):
        yield Site(desk, fleet.inventory, folder / "redis", port)


@pytest.fixture(autouse=True)
def _afresh(site: Site) -> Iterator[None]:
    """Give each test an empty store."""
    yield
    for file in (site.folder.parent / "state" / "fleetmedic").glob("controller.db*"):
        file.unlink()


@pytest.mark.covers("exp:new", "exp:R20")
def test_new_says_what_was_stopped_between_two_checks_and_counts_what_stands(site: Site) -> None:
    with site.redis():
        first = site.check("--new")
        assert (first.code, first.err) == (0, "")
        assert "no earlier run asked this of this pattern and inventory: all that is bad is new" in first.out
    stopped = site.check("--new")
    assert (stopped.code, stopped.err) == (2, "")
    assert stopped.out.startswith("CRIT web01 new  REDIS-UP  carts "), stopped.out
    assert ": 1 new  0 worse  0 better  0 gone\n" in stopped.out
    assert "0 findings stand as in run " in stopped.out

    again = site.check("--new")
    assert again.code == 0, "what was known before is no news"
    assert "CRIT" not in again.out
    assert "1 finding stands as in run " in again.out
    assert "1 host: 1 failed" in again.out

    with site.redis():
        healed = site.check("--new")
    assert healed.code == 0
    assert "GONE web01 REDIS-UP  carts " in healed.out
    assert "was crit\n" in healed.out


@pytest.mark.covers("exp:new")
def test_a_check_is_held_against_the_run_that_is_named(site: Site) -> None:
    with site.redis():
        well = site.check("--json").json()["run"]
    site.check()
    site.check()
    for name in (well, well.lower()):
        changed = site.check("--baseline", name, "--json")
        assert changed.code == 2
        whole = changed.json()
        assert (whole["schema"], whole["baseline"], whole["exit_code"]) == ("fleetmedic-changes/1", well, 2)
        assert [(item["change"], item["host"], item["id"], item["now"]) for item in whole["changes"]] == [
            ("new", "web01", "REDIS-UP", "crit")
        ]
    assert site.check("--baseline", "last").code == 0
    lines = [json.loads(item) for item in site.check("--baseline", well, "--format", "jsonl").out.splitlines()]
    assert [(item["type"], item.get("change")) for item in lines] == [("change", "new"), ("summary", None)]
    # The whole state is what is kept, not the exit code of the comparison.
    assert " exit 2 " in site.run("runs", "list", "--most", "1").out


@pytest.mark.covers("exp:new")
def test_another_question_is_not_the_run_before(site: Site) -> None:
    site.check()
    other = site.desk.check("-i", site.inventory, "--include", "HOST-MEM", "--new")
    assert "no earlier run asked this" in other.out
    assert "no earlier run asked this" in site.check("--new", pattern=("web01",)).out
    told = site.desk.check("-i", site.inventory, "--include", "HOST-MEM", "--baseline", "last").out
    assert "asked for other checks or services" in told
    assert "1 finding of run " in told
    assert " was not looked at again" in told
    assert "GONE" not in told


@pytest.mark.covers("exp:new", "exp:R15")
def test_a_baseline_that_is_not_kept_is_65_before_anybody_is_asked(site: Site) -> None:
    nothing = site.check("--baseline", "last")
    assert (nothing.code, nothing.out) == (65, "")
    assert nothing.err == "fleetmedic: there is no last run: none is kept here\n"
    site.check()
    done = site.check("--baseline", "ZZZZ")
    assert (done.code, done.out) == (65, "")
    assert "no run 'ZZZZ'" in done.err
    assert len(site.run("runs", "list").out.splitlines()) == 1


@pytest.mark.covers("exp:diff")
def test_two_kept_runs_are_compared_as_a_check_and_its_baseline_are(site: Site) -> None:
    with site.redis():
        before = site.check("--json").json()["run"]
    after = site.check("--json").json()["run"]
    done = site.run("runs", "diff", before, after)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("CRIT web01 new  REDIS-UP  carts ")
    assert f"since run {before} (" in done.out
    assert f"run {after}\n" in done.out
    back = site.run("runs", "diff", "last", before, "--format", "json").json()
    assert [(item["change"], item["was"], item["now"]) for item in back["changes"]] == [("gone", "crit", "ok")]


@pytest.mark.covers("exp:snooze", "exp:L11")
def test_a_snoozed_finding_is_named_with_reason_owner_and_end_and_sets_no_exit_code(site: Site) -> None:
    assert site.check().code == 2
    made = site.run("snooze", "add", "redis-up", "web01", "--reason", "moved on\nMonday", "--for", "4h")
    assert (made.code, made.err) == (0, ""), made.err
    name = made.out.split()[1].rstrip(":")
    assert f"snooze {name}: REDIS-UP on web01 (crit, as in run " in made.out

    quiet = site.check()
    assert (quiet.code, quiet.err) == (0, "")
    assert "CRIT" not in quiet.out
    assert "OK web01" not in quiet.out, "a host with a snoozed fault is not well"
    assert "SNOOZED web01 REDIS-UP  carts " in quiet.out
    assert "(crit): moved on Monday, by root until " in quiet.out
    assert f"   snooze {name}\n" in quiet.out
    assert "1 host: 1 snoozed" in quiet.out

    for form in ("json", "jsonl"):
        out = site.check("--format", form).out
        summary = json.loads(out if form == "json" else out.splitlines()[-1])
        (item,) = summary["snoozed"]
        assert (item["host"], item["id"], item["status"]) == ("web01", "REDIS-UP", "crit")
        assert (item["snooze"], item["reason"], item["by"]) == (name, "moved on Monday", "root")
        assert item["until"].endswith("Z")
        host = summary["reports"][0] if form == "json" else json.loads(out.splitlines()[0])
        assert (host["state"], [known["id"] for known in host["snoozed"]]) == ("ok", ["REDIS-UP"])
        assert "REDIS-UP" not in [known["id"] for known in host["findings"]]
    assert "snoozed: REDIS-UP on web01 by root for 3h more (moved on Monday)" in site.check("--paste").out

    assert f"{name}  REDIS-UP on web01 until " in site.run("snooze", "list").out
    ended = site.run("snooze", "end", name.lower())
    assert (ended.code, ended.out) == (0, f"snooze {name} of REDIS-UP on 1 host is ended\n")
    assert site.run("snooze", "list").out == "nothing is snoozed\n"
    assert f"{name}  REDIS-UP on web01 ended " in site.run("snooze", "list", "--all").out
    shown = site.check()
    assert shown.code == 2
    assert shown.out.startswith("CRIT web01 REDIS-UP")
    assert f"SNOOZE web01 snooze {name} of REDIS-UP ended " in shown.out, "it ended since the last run"
    assert "SNOOZE" not in site.check().out


@pytest.mark.covers("exp:snooze", "exp:Q4")
def test_a_snooze_and_its_end_are_in_the_event_log_and_an_older_run_is_shown_as_it_was(site: Site) -> None:
    site.check()
    name = site.run("snooze", "add", "REDIS-UP", "--reason", "known", "--for", "2d").out.split()[1].rstrip(":")
    quiet = site.check("--json").json()["run"]
    site.run("snooze", "end", name)
    with contextlib.closing(sqlite3.connect(site.folder.parent / "state" / "fleetmedic" / "controller.db")) as base:
        rows = base.execute(
            "SELECT kind, actor, data FROM events WHERE kind LIKE 'snooze%' ORDER BY sequence"
        ).fetchall()
        assert list(events.broken(base)) == []
    assert [(kind, actor, json.loads(data)["snooze"]) for kind, actor, data in rows] == [
        ("snooze", "root", name),
        ("snooze-end", "root", name),
    ]
    assert json.loads(rows[0][2])["reason"] == "known"
    assert [item["snooze"] for item in site.run("runs", "show", quiet, "--format", "json").json()["snoozed"]] == [name]
    assert f"snoozed then: REDIS-UP on web01: known, by root   snooze {name}" in site.run("runs", "show", quiet).out


@pytest.mark.covers("exp:snooze")
def test_a_silent_host_is_never_snoozed(site: Site, tmp_path: Path) -> None:
    site.check()
    site.run("snooze", "add", "REDIS-UP", "--reason", "known", "--for", "4h")
    gone = tmp_path / "gone.yml"
    gone.write_text(f"all: {{hosts: {{web01: {{fleetmedic_address: 127.0.0.1, fleetmedic_port: {free_port()}}}}}}}\n")
    done = site.desk.check("-i", gone, *LOOK)
    assert done.code == 4
    assert done.out.startswith("UNREACH web01 TCP ")


@pytest.mark.covers("exp:snooze", "exp:R15")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("REDIS-UP", "--for", "4h"), 64, "Missing option '--reason'"),
        (("REDIS-UP", "--for", "4h", "--reason", "  "), 64, "--reason: say why"),
        (("REDIS-UP", "--reason", "x"), 64, "Missing option '--for'"),
        (("REDIS-UP", "--reason", "x", "--for", "31d"), 64, "between a minute and 30 days from now"),
        (("REDIS-UP", "--reason", "x", "--for", "2020-01-01T00:00Z"), 64, "between a minute and 30 days from now"),
        (("REDIS-UP", "--reason", "x", "--for", "soon"), 64, "'soon' is neither a span such as 4h or 2d nor a time"),
        (
            ("REDIS-UPP", "--reason", "x", "--for", "4h"),
            65,
            "finding REDIS-UPP that warns or is critical; did you mean",
        ),
        (("REDIS-UP", "web02", "--reason", "x", "--for", "4h"), 65, "web02: no run of the last day has REDIS-UP there"),
        (("REDIS-UP", "--subject", "y", "--reason", "x", "--for", "4h"), 65, "REDIS-UP is about no 'y' there, but"),
    ],
)
def test_a_snooze_without_reason_end_or_finding_is_refused(
    site: Site, words: tuple[str, ...], code: int, said: str
) -> None:
    site.check()
    done = site.run("snooze", "add", *words)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert site.run("snooze", "list", "--all").out == "nothing is snoozed\n"


@pytest.mark.covers("exp:snooze", "exp:R15")
def test_ending_what_is_not_snoozed_is_65_and_ends_nothing(site: Site) -> None:
    site.check()
    name = site.run("snooze", "add", "REDIS-UP", "--reason", "known", "--for", "4h").out.split()[1].rstrip(":")
    done = site.run("snooze", "end", name, "ZZZZ")
    assert (done.code, done.out) == (65, "")
    assert "no snooze 'ZZZZ'" in done.err
    assert name in site.run("snooze", "list").out
    site.run("snooze", "end", name)
    twice = site.run("snooze", "end", name)
    assert twice.code == 65
    assert f"snooze {name} ended 0s ago by root" in twice.err


@pytest.mark.covers("exp:snooze")
def test_a_second_snooze_that_would_change_nothing_is_refused_and_a_longer_one_is_not(site: Site) -> None:
    site.check()
    name = site.run("snooze", "add", "REDIS-UP", "--reason", "known", "--for", "4h").out.split()[1].rstrip(":")
    shorter = site.run("snooze", "add", "REDIS-UP", "--reason", "again", "--for", "2h")
    assert shorter.code == 65
    assert f"`fleetmedic snooze end {name}` first" in shorter.err
    assert site.run("snooze", "add", "REDIS-UP", "--reason", "longer", "--for", "8h").code == 0


@pytest.mark.covers("exp:watch")
def test_a_watch_at_a_terminal_prints_the_whole_answer_then_transitions_and_ends_with_130(site: Site) -> None:
    words: list[str | Path] = [BIN / "fleetmedic", "check", "-i", site.inventory, *LOOK, "--watch", "2s", "--no-color"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(site.redis())
        with terminal.running(words, {**site.desk.environment, "TERM": "xterm"}, site.desk.folder, 100) as watched:
            until("the first look", lambda: "look 1: 1 ok" in watched.text(), seconds=20.0)
            stack.close()
            until("the transition", lambda: "ok -> crit" in watched.text(), seconds=20.0)
            watched.process.send_signal(signal.SIGINT)
            assert watched.process.wait(20) == 130
    text = watched.text()
    assert "all: 1 host" in text
    assert "✓ OK      1 host          web01" in text
    (line,) = [line for line in text.splitlines() if "ok -> crit" in line]
    assert "Z  ✗ CRIT    web01           REDIS-UP  carts " in line
    assert "Ctrl-C ends it" in text
    last = text.splitlines()[-1]
    assert "; the last: 1 host: 1 failed   run " in last
    assert last.endswith("   its exit code 2")
    looks = len(site.run("runs", "list").out.splitlines())
    assert looks >= 2, "each look is kept"


@pytest.mark.covers("exp:watch")
def test_a_watch_in_a_pipe_gives_a_record_for_each_transition_and_no_heartbeat(site: Site) -> None:
    process = subprocess.Popen(
        [BIN / "fleetmedic", "check", "-i", site.inventory, *LOOK, "--watch", "2s", "--format", "jsonl"],
        env=site.desk.environment, cwd=site.desk.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    host, summary = json.loads(process.stdout.readline()), json.loads(process.stdout.readline())
    assert (host["type"], host["state"], summary["exit_code"]) == ("host", "failed", 2)
    with site.redis():
        healed = json.loads(process.stdout.readline())
        assert (healed["type"], healed["change"], healed["was"], healed["now"]) == ("transition", "gone", "crit", "ok")
        kept = site.run("runs", "list", "--most", "1").out
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "")
    assert kept.split()[0] == healed["run"]
    (end,) = map(json.loads, out.splitlines())
    assert (end["type"], end["exit_code"]) == ("end", 0)


@pytest.mark.covers("exp:watch")
def test_a_watch_whose_reader_went_away_ends(site: Site) -> None:
    words: list[str | Path] = [BIN / "fleetmedic", "check", "-i", site.inventory, *LOOK, "--watch", "2s"]
    process = subprocess.Popen(words, env=site.desk.environment, cwd=site.desk.folder, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    process.stdout.close()
    with site.redis():
        assert process.wait(20) == 0


@pytest.mark.covers("exp:watch", "exp:new", "exp:paste")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--watch", "1s"), "--watch: '1s' must lie between 2s and 1d"),
        (("--watch", "often"), "--watch: 'often' is no span of time"),
        (("--watch", "5s", "--json"), "--watch goes with --format text and jsonl"),
        (("--watch", "5s", "--new"), "not with --watch"),
        (("--new", "--baseline", "last"), "--new and --baseline: one of them"),
        (("--new", "--format", "junit"), "--new and --baseline go with --format text, json and jsonl"),
        (("--paste", "--format", "nagios"), "--paste is a form of its own"),
    ],
)
def test_options_that_do_not_go_together_are_64(site: Site, words: tuple[str, ...], said: str) -> None:
    done = site.check(*words)
    assert (done.code, done.out) == (64, "")
    assert said in done.err


@pytest.mark.covers("exp:paste")
def test_a_paste_of_a_check_and_of_its_run_are_the_same_short_lines(site: Site) -> None:
    done = site.check("--paste")
    assert (done.code, done.err) == (2, "")
    lines = done.out.splitlines()
    assert lines[0].startswith("fleetmedic check of all at ")
    assert lines[1].startswith("CRIT web01  REDIS-UP  carts: ")
    assert lines[-2].startswith("1 host:  1 failed   run ")
    name = lines[-2].split()[-1]
    assert lines[-1] == f"all of it: fleetmedic runs show {name}"
    assert site.run("runs", "show", name, "--paste").out == done.out
    assert site.run("runs", "show", "last", "--paste").out == done.out


@pytest.mark.covers("exp:junit", "exp:R25")
def test_a_ci_gets_a_suite_for_the_host_and_the_exit_code_of_the_check(site: Site) -> None:
    done = site.check("--format", "junit")
    assert (done.code, done.err) == (2, "")
    (suite,) = ElementTree.fromstring(done.out)
    assert (suite.get("name"), suite.get("failures"), suite.get("tests")) == ("web01", "1", "1")


@pytest.mark.covers("exp:nagios", "exp:R25")
def test_a_monitoring_system_gets_its_line_and_its_codes(site: Site) -> None:
    down = site.check("--format", "nagios")
    assert (down.code, down.err) == (2, "")
    assert down.out.startswith("FLEETMEDIC CRITICAL - 1 host: 1 failed; CRIT web01 REDIS-UP carts: ")
    with site.redis():
        well = site.check("--format", "nagios")
    assert well.code == 0
    assert well.out.startswith("FLEETMEDIC OK - 1 host: 1 ok | hosts=1;;;0 ok=1;;;0;1 ")
    bad = site.check("--format", "nagios", pattern=("nobody",))
    assert (bad.code, bad.err) == (3, "")
    assert bad.out.startswith("FLEETMEDIC UNKNOWN - ")
    assert len(bad.out.splitlines()) == 1


def test_looks_that_take_longer_than_the_interval_do_not_pile_up() -> None:
    assert pause(0.5, 10.0) == 9.5
    assert pause(10.0, 10.0) == 10.0
    assert pause(37.0, 10.0) == 3.0, "the looks at 10, 20 and 30 s were missed, and are not made up for"
