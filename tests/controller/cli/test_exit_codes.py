"""The exit codes of the installed command, one case or more each, and never a traceback."""

import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.dead_hosts import DeadHost, dead_hosts
from controller import exit_codes
from controller.endings import State
from controller.host_report import HostReport
from fleetmedic.v1.finding_pb2 import STATUS_CRIT, STATUS_WARN
from tests.controller import reports
from tests.lab import authority as certificates
from tests.lab.agents import BIN, Agent, Command, Desk
from tests.lab.authority import CLIENT

WELL = "{warn_free_share: 0, crit_free_share: 0}"
WARNS = "{warn_free_share: 1.1, crit_free_share: 0}"
FAILS = "{warn_free_share: 1.1, crit_free_share: 1.1}"


@pytest.fixture(scope="module")
def dead() -> Iterator[dict[str, DeadHost]]:
    """Hold a host of each dead kind."""
    with dead_hosts("127.0.0.1", 1) as hosts:
        yield {host.kind: host for host in hosts}


def inventory(desk: Desk, agent: Agent, limits: str, *others: DeadHost) -> Path:
    """Write an inventory of web01 with these limits of HOST-MEM, and of others."""
    hosts = [f"    web01: {{fleetmedic_address: {agent.address}, fleetmedic_port: {agent.port}}}"]
    hosts += [
        f"    {item.name}: {{fleetmedic_address: {item.address}, fleetmedic_port: {item.port}}}" for item in others
    ]
    file = desk.folder / "codes.yml"
    file.write_text(
        "all:\n  hosts:\n" + "\n".join(hosts) + f"\n  vars:\n    fleetmedic_limits: {{HOST-MEM: {limits}}}\n"
    )
    return file


def ask(desk: Desk, file: Path, *words: str) -> Command:
    return desk.check("-i", file, "--include", "HOST-MEM", *words)


def refused(done: Command, code: int, said: str) -> None:
    """Hold that a command ended with this code and one clear line, and printed no answer."""
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert "Traceback" not in done.err
    assert "bug of ours" not in done.err
    if code != exit_codes.USAGE:
        assert len(done.err.splitlines()) == 1, done.err
        assert done.err.startswith("fleetmedic: ")


@pytest.mark.covers("exp:R7", "inv:F10")
@pytest.mark.parametrize(
    ("limits", "kinds", "words", "code"),
    [
        (WELL, (), (), 0),
        (WELL, (), ("--strict",), 0),
        (WARNS, (), (), 0),
        (WARNS, (), ("--strict",), 16),
        (FAILS, (), (), 2),
        (WELL, ("refused",), (), 4),
        (FAILS, ("refused",), (), 6),
        (WARNS, ("refused",), ("--strict",), 20),
    ],
)
def test_a_check_ends_with_the_code_of_its_hosts(
    desk: Desk,
    agent: Agent,
    dead: dict[str, DeadHost],
    limits: str,
    kinds: tuple[str, ...],
    words: tuple[str, ...],
    code: int,
) -> None:
    done = ask(desk, inventory(desk, agent, limits, *(dead[kind] for kind in kinds)), *words)
    assert (done.code, done.err) == (code, "")
    assert f"   exit code {code}\n" in done.out


@pytest.mark.covers("exp:R7")
@pytest.mark.parametrize(
    ("report", "strict", "code"),
    [
        (reports.answered("a", reports.finding("A-B", STATUS_WARN), reports.finding("C-D", STATUS_CRIT)), True, 18),
        (reports.answered("a", reports.finding("A-B", reports.NEWER)), False, 2),
        (reports.answered("a", reports.skipped("A-B", "none")), True, 0),
        (reports.silent("a", State.TIMEOUT), False, 4),
        (reports.silent("a", State.NOT_ATTEMPTED), False, 2),
        (reports.silent("a", State.SKIPPED), False, 0),
        (reports.silent("a", State.UNKNOWN), False, 4),
        (reports.silent("a", State.GATE_FAILED), False, 2),
        (reports.silent("a", State.CHANGED, ""), False, 0),
    ],
)
def test_each_state_sets_its_bit(report: HostReport, strict: bool, code: int) -> None:
    assert exit_codes.of_check([reports.answered("b", reports.finding()), report], strict=strict) == code


@pytest.mark.covers("exp:R15")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chek"], "No such command 'chek'. Did you mean 'check'?"),
        (["check", "--forsk", "3"], "--forks"),
        (["check", "--format", "xml"], "'xml' is not one of 'text', 'json', 'jsonl'"),
        (["runs", "list", "--most", "0"], "0 is not in the range"),
        (["runs", "show"], "Missing argument 'RUN'"),
        (["runs", "lst"], "No such command 'lst'. Did you mean 'list'?"),
        (["pki", "init"], "Missing option '--org'"),
        (["check", "a", "b"], "unexpected extra argument"),
    ],
)
def test_wrong_use_is_64_with_what_was_meant(desk: Desk, words: list[str], said: str) -> None:
    refused(desk.run(*words), 64, said)


@pytest.mark.covers("exp:R15", "exp:P23", "inv:P204")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["web02"], "did you mean web01"),
        (["web01", "--include", "HOST-MEN"], "no check is named 'HOST-MEN'; did you mean HOST-MEM"),
        (["web01", "--exclude", "NO-SUCH-THING"], "no check is named 'NO-SUCH-THING'"),
        (["web01", "--service", "hots"], "no service hots on any host; did you mean host?"),
        (["", "--include", "HOST-MEM"], "empty"),
        (["web01", "--deadline", "soon"], "--deadline: deadline: 'soon' is no duration, such as 10s, 500ms or 2m"),
    ],
)
def test_a_question_that_fits_nothing_is_65_with_what_was_meant(
    desk: Desk, agent: Agent, words: list[str], said: str
) -> None:
    refused(desk.check("-i", inventory(desk, agent, WELL), *words), 65, said)


def test_a_host_of_no_inventory_is_65(desk: Desk) -> None:
    refused(desk.check("db01"), 65, "db01: no inventory says which host that is: give one with -i FILE")
    refused(desk.run("describe", "db01"), 65, "give one with -i FILE")
    refused(desk.run("inventory", "hosts"), 65, "no inventory: give one with -i FILE")


def test_a_bad_inventory_is_65_with_file_and_line(desk: Desk) -> None:
    file = desk.folder / "bad.ini"
    file.write_text("[web]\nweb01\n[we b]\n")
    for words in (["check"], ["describe"], ["inventory", "list"], ["inventory", "graph"]):
        refused(desk.run(*words, "-i", file), 65, f"{file}:3: ")
    refused(desk.check("-i", desk.folder / "none.ini"), 65, "none.ini")


@pytest.mark.parametrize("words", [("runs", "show", "ZZZZ"), ("runs", "show", "../../etc/passwd")])
def test_an_unknown_run_is_65(desk: Desk, words: tuple[str, ...]) -> None:
    refused(desk.run(*words), 65, "no run ")


def test_a_misspelt_run_or_host_of_a_run_is_65_with_what_was_meant(desk: Desk, agent: Agent) -> None:
    done = ask(desk, inventory(desk, agent, WELL), "--json")
    run = done.json()["run"]
    meant = run[:-1] + ("A" if run[-1] != "A" else "B")
    refused(desk.run("runs", "show", meant), 65, "did you mean")
    refused(desk.run("runs", "show", run, "--host", "web1"), 65, f"run {run} has no host 'web1'; did you mean web01?")


def test_describe_of_a_dead_host_is_69_and_of_one_among_others_4(
    desk: Desk, agent: Agent, dead: dict[str, DeadHost]
) -> None:
    file = inventory(desk, agent, WELL, dead["refused"])
    alone = desk.run("describe", dead["refused"].name, "-i", file)
    assert (alone.code, alone.err) == (69, "")
    assert "no answer: TCP" in alone.out
    both = desk.run("describe", "-i", file)
    assert both.code == 4
    assert "web01  agent 0.1.0\n" in both.out
    assert desk.run("describe", "web01", "-i", file).code == 0


def test_missing_certificates_are_77_and_name_what_is_missing(desk: Desk, agent: Agent) -> None:
    file = inventory(desk, agent, WELL)
    none = {"FLEETMEDIC_KEY": "", "FLEETMEDIC_CA": ""}
    refused(desk.run("check", "-i", file, environment=none), 77, "--key, --ca not set")
    refused(desk.check("-i", file, "--key", desk.folder / "none.key"), 77, "none.key: can't be read: No such file")


@pytest.mark.covers("sec:F9")
def test_a_key_that_others_may_read_is_77(desk: Desk, agent: Agent) -> None:
    key = desk.folder / "open.key"
    key.write_bytes((desk.pki / "alice.key").read_bytes())
    for mode in (0o640, 0o604):
        key.chmod(mode)
        refused(
            desk.check("-i", inventory(desk, agent, WELL), "--key", key), 77, "open.key: may be read by others: chmod"
        )
    key.chmod(stat.S_IRUSR)
    assert ask(desk, inventory(desk, agent, WELL), "--key", str(key)).code == 0


@pytest.mark.covers("sec:F9")
@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [(-2, -1, "ended on "), (1, 2, "is not valid yet: is this machine's clock right?")],
)
def test_a_certificate_out_of_its_time_is_77(desk: Desk, agent: Agent, begins: int, ends: int, said: str) -> None:
    made = certificates.root(datetime.fromtimestamp(time.time(), UTC))
    uri = "spiffe://lab/role/observer/user/alice"
    issued = made.issue("alice", uris=[uri], usages=[CLIENT], begins=timedelta(days=begins), ends=timedelta(days=ends))
    files = issued.write(desk.folder / "odd")
    file = inventory(desk, agent, WELL)
    refused(desk.check("-i", file, "--certificate", files.certificate, "--key", files.key), 77, said)


@pytest.mark.covers("sec:F9")
def test_files_that_do_not_fit_each_other_are_77(desk: Desk, agent: Agent) -> None:
    file, pki = inventory(desk, agent, WELL), desk.pki
    words: list[str | Path] = ["check", "-i", file]
    refused(desk.run(*words, "--key", pki / "agent-ca.key"), 77, "agent-ca.key: is not the key of ")
    refused(desk.run(*words, "--key", _secret(desk, "junk")), 77, "junk: is no PEM private key")
    refused(desk.run(*words, "--certificate", _secret(desk, "junk")), 77, "junk: is no PEM certificate")
    refused(desk.run(*words, "--ca", _secret(desk, "junk")), 77, "junk: is no PEM certificate")


def _secret(desk: Desk, name: str) -> Path:
    file = desk.folder / name
    file.touch(0o600)
    file.write_text("junk")
    return file


def test_a_store_that_cannot_be_used_is_1_and_the_answer_is_shown_all_the_same(desk: Desk) -> None:
    file = desk.folder / "notes.txt"
    file.write_text("remember the milk\n" * 100)
    for place, said in ((file, f"{file}: file is not a database; move it away"), (file / "a.db", "another place with")):
        done = desk.check("--include", "HOST-MEM", "--store", place)
        assert done.code == 1
        assert "1 host: 1 ok" in done.out
        assert done.err.startswith("fleetmedic: this run is not kept: ")
        assert said in done.err
        assert len(done.err.splitlines()) == 1


def test_a_reader_that_has_seen_enough_gets_no_complaint(desk: Desk, agent: Agent) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    process = subprocess.Popen(
        [str(BIN / "fleetmedic"), "inventory", "list", "-i", str(inventory(desk, agent, WELL))],
        env=desk.environment, stdout=ours.fileno(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    ours.close()
    assert process.communicate(timeout=10)[1] == ""
    assert process.returncode == 0


def test_a_file_whose_name_is_no_text_is_65(desk: Desk, agent: Agent) -> None:
    file = desk.folder / "odd-\udcff.yml"
    file.write_bytes(inventory(desk, agent, WELL).read_bytes())
    refused(ask(desk, file), 65, "odd-\\udcff.yml' is not UTF-8 text: rename the file")


def test_help_prints_the_whole_table_of_codes(desk: Desk) -> None:
    text = desk.check("--help").out
    codes = {0, *(value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int))}
    signals = {exit_codes.SIGNALLED + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    assert len(codes) == 12
    for code in (codes - {exit_codes.SIGNALLED}) | signals:
        assert f"\n    {code} " in text, code
