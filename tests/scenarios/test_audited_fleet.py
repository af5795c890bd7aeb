"""Two real agents over mutual TLS: their audit logs listed, verified and exported, cut for real; frozen and thawed."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab import agents, fixtures
from tests.lab.agents import Agent, Command, Desk, Fleet
from tests.lab.waiting import until

RITA = "rita"


class Responder(Desk):
    """A desk with a responder's certificate."""

    @property
    def environment(self) -> dict[str, str]:
        own = self.pki / RITA
        return {
            **super().environment,
            "FLEETMEDIC_CERTIFICATE": f"{own}.crt",
            "FLEETMEDIC_KEY": f"{own}.key",
        }


@pytest.fixture(scope="module")
def fleet(lab: Path) -> Iterator[Fleet]:
    """Run two agents, and a desk of a responder's with a store of its own."""
    fixtures.need()
    desk = Responder(agents.desk(lab / "audited").folder)
    issued = desk.run("pki", "issue", "operator", RITA, "--role", "responder", "--dir", desk.pki, "--out", desk.pki)
    assert issued.code == 0, issued.err
    with (
        agents.run(desk, "db01", port=7473, top="discover = false") as first,
        agents.run(desk, "db02", port=7474, top="discover = false") as second,
        agents.fleet(desk, [first, second]) as made,
    ):
        yield made


@pytest.fixture
def site(fleet: Fleet) -> Fleet:
    """Give the same fleet with a store that knows nothing yet."""
    shutil.rmtree(fleet.desk.folder / "state", ignore_errors=True)
    return fleet


def run(fleet: Fleet, *words: str) -> Command:
    """Run a command of the desk over the fleet's inventory."""
    return fleet.desk.run(*words, "-i", fleet.inventory)


def look(fleet: Fleet, *words: str) -> Command:
    return fleet.check("--include", "HOST-MEM", *words)


def log(agent: Agent) -> Path:
    return sorted((agent.folder / "audit").iterdir())[-1]


def lines(agent: Agent) -> list[bytes]:
    return log(agent).read_bytes().splitlines(keepends=True)


def recorded(agent: Agent, count: int) -> None:
    until("the looks are recorded", lambda: len(lines(agent)) >= count)


@pytest.mark.covers("sec:audit")
def test_the_list_has_the_newest_records_of_all_hosts_and_marks_what_was_refused(site: Fleet) -> None:
    look(site)
    assert site.desk.run("freeze", "x", "-i", site.inventory, environment=Desk(site.desk.folder).environment).code == 2
    until("both are recorded", lambda: run(site, "audit", "list", "--bad").out.count("REFUSED") >= 2)
    done = run(site, "audit", "list")
    assert done.code == 0
    told = done.out.splitlines()
    assert any("db01  rita (responder)  Check done  include HOST-MEM" in line for line in told)
    (refused, *_) = [line for line in told if "db02  alice (observer)  SetFreeze REFUSED" in line]
    assert refused.endswith("  (front's word)")
    assert told[-1].endswith("records of 2 hosts")
    assert [line[:20] for line in told[:-1]] == sorted(line[:20] for line in told[:-1])
    few = run(site, "audit", "list", "--most", "3", "--format", "jsonl").out.splitlines()
    assert len(few) == 3
    assert {"host", "sequence", "hash", "user", "method", "outcome"} <= json.loads(few[0]).keys()
    assert run(site, "audit", "list", "--since", "1h").out.count("\n") > 3


def test_an_observer_may_not_read_a_log(site: Fleet) -> None:
    done = site.desk.run("audit", "list", "-i", site.inventory, environment=Desk(site.desk.folder).environment)
    assert done.code == 2
    assert "permission denied: alice is observer; needs responder" in done.out


@pytest.mark.covers("sec:audit")
def test_what_is_exported_can_be_held_against_its_hashes_by_anybody(site: Fleet) -> None:
    import hashlib

    done = run(site, "audit", "export", "db01")
    assert done.code == 0
    previous = bytes(32)
    for row in map(json.loads, done.out.splitlines()):
        previous = hashlib.sha256(previous + row["record"].encode()).digest()
        assert (row["host"], row["hash"]) == ("db01", previous.hex())
    assert previous != bytes(32)


@pytest.mark.covers("sec:R11", "sec:audit")
def test_whole_logs_are_called_whole_and_every_look_s_head_is_in_them(site: Fleet) -> None:
    for _ in range(3):
        look(site)
    done = run(site, "audit", "verify")
    assert done.code == 0, done.out
    assert "WHOLE db01 records 1 to " in done.out
    assert "3 kept heads in it" in done.out
    assert "2 hosts: 2 whole, 0 broken" in done.out
    again = [json.loads(line) for line in run(site, "audit", "verify", "--format", "jsonl").out.splitlines()]
    assert [(item["host"], item["whole"], item["kept_heads"]) for item in again] == [
        ("db01", True, 4),
        ("db02", True, 4),
    ]


def edited(agent: Agent) -> None:
    rows = lines(agent)
    place = len(rows) // 2
    rows[place] = rows[place].replace(b'"user":"', b'"user":"not-', 1)
    log(agent).write_bytes(b"".join(rows))


def deleted(agent: Agent) -> None:
    rows = lines(agent)
    del rows[len(rows) // 2]
    log(agent).write_bytes(b"".join(rows))


def truncated(agent: Agent) -> None:
    log(agent).write_bytes(b"".join(lines(agent)[:-4]))


def rewritten(agent: Agent) -> None:
    """Make the whole log anew with right hashes, as who knows its format can."""
    import hashlib

    previous, made = bytes(32), []
    for row in lines(agent):
        record = row[65:-1].replace(b'"rita"', b'"carl"')
        previous = hashlib.sha256(previous + record).digest()
        made.append(previous.hex().encode() + b" " + record + b"\n")
    log(agent).write_bytes(b"".join(made))
    (agent.folder / "run/audit-head").write_text(f"{len(made)} {previous.hex()}")


@pytest.mark.covers("sec:R11")
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (edited, "is not what was written"),
        (deleted, " follows record "),
        (truncated, "was cut or rewritten: had record "),
        (rewritten, "is not the one that it had on "),
    ],
)
def test_an_edit_a_deletion_a_cut_end_and_a_log_made_anew_are_found(site: Fleet, harm: object, said: str) -> None:
    agent = site.agents[0]
    for _ in range(6):
        look(site)
    recorded(agent, 8)
    before, head = log(agent).read_bytes(), (agent.folder / "run/audit-head").read_text()
    assert callable(harm)
    harm(agent)
    try:
        done = run(site, "audit", "verify")
    finally:
        log(agent).write_bytes(before)
        (agent.folder / "run/audit-head").write_text(head)
        (agent.folder / "run/audit-cut").unlink(missing_ok=True)
    assert done.code == 2
    assert [line for line in done.out.splitlines() if line.startswith("BROKEN db01 audit log ") and said in line]
    assert "WHOLE db02" in done.out
    assert "2 hosts: 1 whole, 1 broken" in done.out


@pytest.mark.covers("sec:R11", "sec:standing")
def test_a_log_that_was_cut_is_told_at_once_by_the_next_check_and_kept_as_an_event(site: Fleet) -> None:
    agent = site.agents[0]
    for _ in range(4):
        look(site)
    recorded(agent, 6)
    before, head = log(agent).read_bytes(), (agent.folder / "run/audit-head").read_text()
    rows = lines(agent)[:-3]
    log(agent).write_bytes(b"".join(rows))
    # As who cuts the log would cut what the agent remembers of it.
    (agent.folder / "run/audit-head").write_text(f"{len(rows)} {rows[-1][:64].decode()}")
    try:
        done = look(site, "--json")
        after = look(site)
    finally:
        log(agent).write_bytes(before)
        (agent.folder / "run/audit-head").write_text(head)
    assert done.code == 2
    whole = done.json()
    (found,) = [item for report in whole["reports"] for item in report["findings"] if item["id"] == "AUDIT-LOG"]
    assert found["summary"].startswith("audit log of db01 was cut or rewritten: had record ")
    assert (found["status"], found["next"]) == (
        "crit",
        "what is missing, and since when? fleetmedic audit verify db01",
    )
    # The cut is news once; `audit verify` goes on to find it.
    assert after.code == 0, after.out
    events = site.desk.folder / "state/fleetmedic/controller.db"
    import sqlite3

    base = sqlite3.connect(events)
    told = base.execute("SELECT text FROM events WHERE kind = 'audit'").fetchall()
    base.close()
    assert [text for (text,) in told] == [found["summary"]]


@pytest.mark.covers("sec:R11")
def test_a_host_that_was_set_up_anew_is_said_to_be_and_then_called_whole(site: Fleet) -> None:
    desk, agent = site.desk, site.agents[1]
    look(site)
    base_head = (agent.folder / "run/audit-head").read_text()
    before = log(agent).read_bytes()
    rows = lines(agent)[:1]
    log(agent).write_bytes(b"".join(rows))
    (agent.folder / "run/audit-head").write_text(f"1 {rows[0][:64].decode()}")
    try:
        assert run(site, "audit", "verify").code == 2
        anew = run(site, "audit", "verify", "db02", "--begin-anew", "a new disk")
        assert anew.code == 0, anew.out
        assert run(site, "audit", "verify").code == 0
    finally:
        log(agent).write_bytes(before)
        (agent.folder / "run/audit-head").write_text(base_head)
    assert desk.run("audit", "verify", "-i", site.inventory, "--begin-anew", " ").code == 65


@pytest.mark.covers("sec:freeze", "sec:standing")
def test_a_freeze_is_shown_on_every_command_until_it_is_thawed(site: Fleet) -> None:
    done = run(site, "freeze", "deploy freeze until 9", "all")
    assert done.code == 0, done.err
    said = "FROZEN 2 hosts: deploy freeze until 9 (rita, since 20"
    assert "FROZEN db01 db02 deploy freeze until 9" in done.out
    assert said in done.out
    assert "2 hosts: 2 frozen   in " in done.out
    asking: tuple[tuple[str, ...], ...] = (("inventory", "ping"), ("describe",), ("show", "disk"))
    for words in asking:
        assert "deploy freeze until 9 (rita, since " in run(site, *words).out, words
    assert said in look(site).out
    whole = look(site, "--json").json()
    assert whole["frozen"][0] | {"since": ""} == {
        "hosts": ["db01", "db02"],
        "reason": "deploy freeze until 9",
        "user": "rita",
        "since": "",
    }
    assert whole["reports"][0]["frozen"]["user"] == "rita"
    assert said in look(site, "--format", "nagios").err
    asking_nobody = (("runs", "list"), ("snooze", "list"), ("inventory", "hosts", "-i", str(site.inventory)))
    for words in asking_nobody:
        other = site.desk.run(*words)
        assert other.code == 0
        assert other.err.startswith(f"fleetmedic: {said}"), words
    thawed = run(site, "thaw", "the deploy is out")
    assert thawed.code == 0
    assert "2 hosts: 2 thawed" in thawed.out
    assert "FROZEN" not in thawed.out
    assert "FROZEN" not in look(site).out
    assert site.desk.run("runs", "list").err == ""


@pytest.mark.covers("sec:freeze")
def test_a_check_that_sees_the_state_keeps_the_reminder_up_to_date(site: Fleet) -> None:
    run(site, "freeze", "hands off", "db01")
    (site.desk.folder / "state/fleetmedic/controller.db.frozen").unlink()
    assert site.desk.run("runs", "list").err == ""
    look(site)
    assert "FROZEN 1 host: hands off" in site.desk.run("runs", "list").err
    other = Responder(site.desk.folder / "other")
    (site.desk.folder / "other").mkdir(exist_ok=True)
    elsewhere = replace(other, folder=site.desk.folder / "other")
    done = site.desk.run("thaw", "x", "-i", site.inventory, "--store", str(elsewhere.folder / "s.db"))
    assert done.code == 0
    assert "FROZEN" in site.desk.run("runs", "list").err
    look(site)
    assert site.desk.run("runs", "list").err == ""


@pytest.mark.covers("sec:freeze")
def test_a_host_that_does_not_answer_or_refuses_has_its_own_state_and_the_exit_code_says_so(site: Fleet) -> None:
    file = site.desk.folder / "with-gone.yml"
    file.write_text(
        "all:\n  hosts:\n    db01: {fleetmedic_address: 127.0.0.1, fleetmedic_port: 7473}\n"
        "    gone: {fleetmedic_address: 127.0.0.1, fleetmedic_port: 7999}\n"
        "    bare: {ansible_connection: local}\n"
    )
    done = site.desk.run("freeze", "x", "all", "-i", file, "--format", "json")
    rows = {item["host"]: item for item in map(json.loads, done.out.splitlines())}
    site.desk.run("thaw", "x", "db01", "-i", file)
    assert done.code == 4
    assert {host: item["state"] for host, item in rows.items()} == {
        "db01": "ok",
        "gone": "unreachable",
        "bare": "skipped",
    }
    assert rows["db01"]["frozen"] is not False
    assert site.desk.run("freeze", "x", "gone", "-i", file).code == 69
    refused = site.desk.run("freeze", "x", "-i", site.inventory, environment=Desk(site.desk.folder).environment)
    assert (refused.code, "needs responder" in refused.out) == (2, True)
    for reason in ("", "a\nb", "x" * 201):
        assert site.desk.run("freeze", "--", reason, "-i", site.inventory).code in (64, 65)
