"""Six real agents over mutual TLS, some of them dead, slow or lying, asked by the real command; and Ctrl-C."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from controller.calling import SLOT_HOLD
from tests.lab import agents, proxy
from tests.lab.agents import BIN, Agent, Command, Desk
from tests.lab.proxy import Proxy
from tests.lab.waiting import free_port, until

NAMES = tuple(f"web0{number}" for number in range(1, 7))
MEMORY = ("--include", "HOST-MEM")
WAITING = "fleetmedic: interrupted: waiting for {} asked; again to leave now\n"


@dataclass(frozen=True)
class Site:
    """Six agents; web05 is behind a proxy too."""

    desk: Desk
    agents: Mapping[str, Agent]
    slow: Proxy
    # Takes connections and never answers.
    mute: int

    def inventory(self, ports: Mapping[str, int] = {}, variables: str = "", names: Sequence[str] = NAMES) -> Path:
        """Write an inventory in which some are dialled at other ports; `variables` is YAML for all at four blanks."""
        file = self.desk.folder / f"{time.monotonic_ns()}.yml"
        rows = [
            f"    {name}: {{fleetmedic_address: 127.0.0.1, fleetmedic_port: {ports.get(name, port)}}}\n"
            for name, port in ((name, self.agents[name].port if name in self.agents else 9) for name in names)
        ]
        file.write_text(f"all:\n  hosts:\n{''.join(rows)}  vars:\n    fleetmedic_limits: {WELL}\n{variables}")
        return file

    @contextlib.contextmanager
    def stopped(self, name: str) -> Iterator[int]:
        """Stop a front for the block, as a host that swaps does; give its port."""
        front = self.agents[name].front
        os.kill(front, signal.SIGSTOP)
        try:
            yield self.agents[name].port
        finally:
            os.kill(front, signal.SIGCONT)

    @contextlib.contextmanager
    def running(self, *words: str | Path) -> Iterator["subprocess.Popen[str]"]:
        process = subprocess.Popen(
            [BIN / "fleetmedic", *map(str, words)],
            env=self.desk.environment, cwd=self.desk.folder,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        with process:
            try:
                yield process
            finally:
                process.kill()


WELL = "{HOST-MEM: {warn_free_share: 0, crit_free_share: 0}}"


@pytest.fixture(scope="module")
def site(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run six agents."""
    desk = agents.desk(lab / tmp_path_factory.mktemp("six").name)
    with contextlib.ExitStack() as stack:
        running = {
            name: stack.enter_context(agents.run(desk, name, port=free_port(), top="discover = false"))
            for name in NAMES
        }
        slow = stack.enter_context(proxy.run("127.0.0.1", running["web05"].port))
        mute = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        yield Site(desk, running, slow, mute)


@contextlib.contextmanager
def babbling() -> Iterator[int]:
    """Answer every connection with random bytes; give the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    line, _ = server.accept()
                    with line, contextlib.suppress(OSError):
                        line.sendall(os.urandom(300))
                        line.recv(65536)

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def hosts(lines: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Give the records of hosts, each of which there must be once."""
    records = [json.loads(line) for line in lines]
    found = [record for record in records if record["type"] == "host"]
    assert len({record["host"] for record in found}) == len(found)
    return {record["host"]: record for record in found}


def states(found: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {name: record["state"] for name, record in found.items()}


def held(done: Command, selected: int, code: int) -> dict[str, Any]:
    """Hold that every selected host has one status, in one document; give it."""
    whole = done.json()
    assert (done.code, whole["exit_code"]) == (code, code), done.err
    told = Counter(report["state"] for report in whole["reports"])
    assert (sum(whole["states"].values()), whole["hosts"], len(whole["reports"])) == (selected, selected, selected)
    assert whole["states"] == dict(told)
    return whole


def most_at_once(site: Site, forks: int) -> int:
    """Of six agents that have fallen silent: how many were begun within half the time that a set-up holds its slot."""
    with contextlib.ExitStack() as stack:
        fronts = {name: stack.enter_context(proxy.run("127.0.0.1", site.agents[name].port)) for name in NAMES}
        for front in fronts.values():
            front.set("silent")
        inventory = site.inventory({name: front.port for name, front in fronts.items()})
        first: dict[str, float] = {}
        with site.running("check", "-i", inventory, *MEMORY, "--json", "-f", str(forks)) as process:
            while process.poll() is None:
                for name, front in fronts.items():
                    if name not in first and front.connections():
                        first[name] = time.monotonic()
                time.sleep(0.005)
            out, err = process.communicate()
    held(Command(process.returncode, out, err), 6, 4)
    assert first.keys() == set(NAMES)
    return max(sum(when - SLOT_HOLD / 2 < other <= when for other in first.values()) for when in first.values())


@pytest.mark.covers("inv:F11")
def test_no_more_of_six_silent_agents_are_set_up_at_once_than_forks(site: Site) -> None:
    # Once may be the noise of other programs: what is begun in time is seen late.
    assert not (most_at_once(site, 2) > 2 and most_at_once(site, 2) > 2)
    assert most_at_once(site, 6) > 2


@pytest.mark.covers("inv:F1", "inv:F2", "inv:F6", "inv:F10")
def test_dead_slow_and_lying_agents_each_have_one_status_and_the_good_ones_their_answer(site: Site) -> None:
    site.slow.set("delay", seconds=0.05)
    with site.stopped("web03") as stopped, babbling() as random_bytes:
        ports = {
            "web02": free_port(),
            "web03": stopped,
            "web04": random_bytes,
            "web05": site.slow.port,
            # Another host's certificate is there.
            "web06": site.agents["web01"].port,
        }
        inventory = site.inventory(ports)
        whole = held(site.desk.check("-i", inventory, *MEMORY, "--json"), 6, 4)
        text = site.desk.check("-i", inventory, *MEMORY)
    causes = {report["host"]: report["cause"] for report in whole["reports"]}
    assert list(causes) == list(NAMES), "in the order of the targets"
    assert {name for name, cause in causes.items() if not cause} == {"web01", "web05"}
    assert whole["states"] == {"ok": 2, "unreachable": 4}
    assert causes["web02"] == f"TCP {ports['web02']} refused: no agent listens there"
    assert "but no TLS answer in 1.5s: agent stopped" in causes["web03"]
    assert causes["web06"] == "another host answers there: its certificate is not for web06"
    assert "6 hosts: 2 ok  4 unreachable   " in text.out
    assert text.out.endswith("   exit code 4\n") or "   exit code 4\n" in text.out
    kept = site.desk.run("runs", "show", whole["run"], "--format", "json").json()
    assert kept["states"] == whole["states"]


@pytest.mark.covers("inv:F1", "inv:F2", "inv:F10")
def test_an_agent_that_is_killed_in_the_middle_of_its_answer_failed_and_its_host_alone(
    site: Site, lab: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # The probe of the URL waits for an answer that never comes, and the front is killed meanwhile.
    variables = f'    fleetmedic_http: {{mute: "http://127.0.0.1:{site.mute}/"}}\n'
    with agents.run(site.desk, "web07", port=free_port(), top="discover = false") as seventh:
        ports = {"web07": seventh.port}
        inventory = site.inventory(ports, variables, ["web01", "web02", "web07"])
        words = ("-i", inventory, *MEMORY, "--include", "HTTP-*", "--format", "jsonl", "--deadline", "4s")
        with site.running("check", *words) as process:
            until("the probe looks", lambda: len(seventh.pids()) > 3, every=0.05)
            time.sleep(0.5)
            os.kill(seventh.front, signal.SIGKILL)
            out, err = process.communicate(timeout=20)
    found = hosts(out.splitlines())
    assert (process.returncode, err) == (2, "")
    assert states(found) == {"web01": "failed", "web02": "failed", "web07": "failed"}
    assert found["web07"]["cause"]
    assert found["web07"]["seconds"] < 3.0
    assert (found["web01"]["cause"], found["web02"]["cause"]) == ("", "")


@pytest.mark.covers("inv:F2", "inv:F7")
def test_a_host_past_its_own_deadline_is_streamed_at_once_and_its_late_answer_is_recorded(site: Site) -> None:
    site.slow.set("delay", seconds=0.25)
    with site.stopped("web03") as stopped:
        # One after the other begins, half a second apart, so that the slow one's answer is still waited for.
        silent = [f"silent{number}" for number in range(5)]
        inventory = site.inventory(
            {"web05": site.slow.port, **dict.fromkeys(silent, stopped)}, names=["web05", *silent]
        )
        bounds = ("--forks", "1", "-T", "3s", "--host-deadline", "1s", "--deadline", "20s")
        done = site.desk.check("-i", inventory, *MEMORY, *bounds, "--format", "jsonl")
    site.slow.set("pass")
    records = [json.loads(line) for line in done.out.splitlines()]
    assert [record["type"] for record in records].count("late") == 1
    assert done.code == 4
    found = hosts(done.out.splitlines())
    assert states(found) == dict.fromkeys(["web05", *silent], "timeout")
    assert records[0]["host"] == "web05"
    assert 1.0 < records[0]["seconds"] < 1.5
    (late,) = [record for record in records if record["type"] == "late"]
    assert (late["host"], late["late"] > 0) == ("web05", True)
    summary = records[-1]
    assert (summary["hosts"], summary["states"]) == (6, {"timeout": 6})
    kept = site.desk.run("runs", "show", summary["run"], "--format", "json").json()
    (slow,) = [report for report in kept["reports"] if report["host"] == "web05"]
    assert (slow["late"], slow["state"], slow["findings"]) == (late["late"], "timeout", [])
    assert slow["cause"].endswith(f"its answer came {late['late']:.1f}s late and is not used")


@pytest.mark.covers("inv:F2")
def test_an_agent_is_told_the_hosts_deadline_and_answers_within_it(site: Site) -> None:
    variables = f'    fleetmedic_http: {{mute: "http://127.0.0.1:{site.mute}/"}}\n'
    inventory = site.inventory({}, variables, ["web01"])
    words = (*MEMORY, "--include", "HTTP-*", "--host-deadline", "1500ms", "--json")
    whole = held(site.desk.check("-i", inventory, *words), 1, 2)
    (report,) = whole["reports"]
    assert (report["state"], report["cause"]) == ("failed", "")
    assert report["seconds"] < 1.6


def interrupted(process: "subprocess.Popen[str]", waiting: str) -> None:
    """Send the first Ctrl-C, and read what is said to it."""
    process.send_signal(signal.SIGINT)
    assert said(process.stderr) == WAITING.format(waiting)


def said(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


@pytest.mark.covers("inv:F7", "inv:F9", "inv:F10")
def test_the_first_interrupt_cancels_who_was_not_asked_waits_for_the_others_and_keeps_all(site: Site) -> None:
    site.slow.set("delay", seconds=0.15)
    ports = {"web02": site.slow.port, **dict.fromkeys(NAMES[2:], site.mute)}
    # web02's own name is not the certificate's: the slow one is web05.
    names = ["web01", "web05", "web02", "web03"]
    inventory = site.inventory({"web05": site.slow.port, **{name: ports[name] for name in names[2:]}}, names=names)
    words = ("-i", inventory, *MEMORY, "--forks", "1", "-T", "5s", "--format", "jsonl")
    with site.running("check", *words) as process:
        first = json.loads(said(process.stdout))
        assert (first["host"], first["state"]) == ("web01", "ok")
        interrupted(process, "1 host that was")
        out, err = process.communicate(timeout=20)
    site.slow.set("pass")
    assert (process.returncode, err) == (130, "")
    found = hosts(out.splitlines()[:-1])
    assert states(found) == {"web02": "cancelled", "web03": "cancelled", "web05": "ok"}
    assert found["web02"]["cause"] == "interrupted before it was asked"
    summary = json.loads(out.splitlines()[-1])
    assert (summary["hosts"], summary["states"]) == (4, {"ok": 2, "cancelled": 2})
    shown = site.desk.run("runs", "show", summary["run"], "--format", "json").json()
    assert {report["host"]: report["state"] for report in shown["reports"]} == {"web01": "ok", **states(found)}
    assert shown["exit_code"] == 130
    assert site.desk.run("inventory", "hosts", "notstarted@last", "-i", inventory).out == "web02\nweb03\n"


@pytest.mark.covers("inv:F7", "inv:F9")
def test_the_second_interrupt_leaves_at_once_and_who_was_asked_is_unknown(site: Site) -> None:
    with site.stopped("web03") as stopped:
        inventory = site.inventory({"web02": site.mute, "web03": stopped}, names=NAMES[:3])
        words = ("-i", inventory, *MEMORY, "-T", "30s", "--deadline", "60s")
        with site.running("check", *words, "--format", "jsonl") as process:
            assert json.loads(said(process.stdout))["host"] == "web01"
            interrupted(process, "2 hosts that were")
            time.sleep(0.2)
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
            assert time.monotonic() - began < 2.0
    assert (process.returncode, err) == (130, "")
    assert states(hosts(out.splitlines()[:-1])) == {"web02": "unknown", "web03": "unknown"}
    summary = json.loads(out.splitlines()[-1])
    assert summary["states"] == {"ok": 1, "unknown": 2}
    text = site.desk.run("runs", "show", summary["run"]).out
    assert "web02  unknown: asked, and left by a second interrupt before it had answered" in text


@pytest.mark.covers("inv:F7", "inv:F9")
def test_an_interrupted_check_for_people_shows_what_came_in(site: Site) -> None:
    inventory = site.inventory({"web02": site.mute}, names=NAMES[:2])
    words = ("-i", inventory, *MEMORY, "-T", "30s", "--deadline", "60s")
    with site.running("check", *words) as process:
        answered(site)
        interrupted(process, "1 host that was")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "")
    assert "UNKNOWN web02 asked, and left by a second interrupt" in out
    assert "OK web01\n" in out
    assert "2 hosts: 1 ok  1 not checked   " in out
    assert "   exit code 130\n" in out


def answered(site: Site) -> None:
    """Wait until the command, which streams nothing, has had the time to ask: its connection is there."""
    until("the mute one is dialled", lambda: dialled(site.mute), every=0.05)
    time.sleep(0.7)


def dialled(port: int) -> bool:
    # gRPC dials IPv4 addresses with sockets of IPv6 too.
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return any(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


@pytest.mark.covers("inv:F7", "inv:F9")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_check_that_is_ended_shows_and_keeps_what_came_in(site: Site, number: signal.Signals, code: int) -> None:
    inventory = site.inventory({"web02": site.mute, "web03": site.mute}, names=NAMES[:3])
    words = ("-i", inventory, *MEMORY, "-T", "30s", "--deadline", "60s", "--forks", "2")
    with site.running("check", *words) as process:
        answered(site)
        process.send_signal(number)
        out, err = process.communicate(timeout=5)
    assert (process.returncode, err) == (code, f"fleetmedic: ended by {number.name}: no host is waited for\n")
    assert f"UNKNOWN web02 asked, and left by {number.name} before it had answered" in out
    assert "OK web01\n" in out
    assert f"   exit code {code}\n" in out
    kept = site.desk.run("runs", "list", "--most", "1").out
    assert f"exit {code}" in kept


@pytest.mark.covers("inv:F7", "inv:F9")
@pytest.mark.parametrize("words", [("show", "disk"), ("describe",), ("inventory", "ping")])
def test_other_commands_that_ask_are_interrupted_alike(site: Site, words: tuple[str, ...]) -> None:
    inventory = site.inventory({"web02": site.mute}, names=NAMES[:2])
    with site.running(*words, "-i", inventory, "-T", "30s", "--deadline", "60s") as process:
        answered(site)
        interrupted(process, "1 host that was")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "")
    assert "asked, and left by a second interrupt before it had answered" in out
    assert "web01" in out


@pytest.mark.covers("inv:F7", "inv:F9")
def test_a_watch_is_ended_by_one_interrupt_in_its_first_look_too(site: Site) -> None:
    inventory = site.inventory({"web02": site.mute}, names=NAMES[:2])
    words = ("-i", inventory, *MEMORY, "-T", "2s", "--watch", "5s", "--format", "jsonl")
    with site.running("check", *words) as process:
        assert json.loads(said(process.stdout))["host"] == "web01"
        interrupted(process, "1 host that was")
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "")
    assert json.loads(out.splitlines()[0])["state"] == "unreachable"
    assert json.loads(out.splitlines()[-1])["exit_code"] == 130


@pytest.mark.covers("inv:F7", "inv:F9")
def test_a_watch_is_ended_by_an_interrupt_between_and_within_later_looks(site: Site) -> None:
    inventory = site.inventory(names=["web01"])
    with site.running("check", "-i", inventory, *MEMORY, "--watch", "2s", "--format", "jsonl") as process:
        said(process.stdout)
        said(process.stdout)
        os.kill(site.agents["web01"].front, signal.SIGSTOP)
        try:
            time.sleep(2.6)
            interrupted(process, "1 host that was")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        finally:
            os.kill(site.agents["web01"].front, signal.SIGCONT)
    assert (process.returncode, err) == (130, "")
    assert [json.loads(line)["type"] for line in out.splitlines()] == ["end"]


@pytest.mark.covers("inv:F10")
def test_ping_tells_who_answers_bad_first_and_the_round_trip_of_the_good(site: Site) -> None:
    port = free_port()
    inventory = site.inventory({"web02": port, "web04": port, "web06": site.agents["web01"].port})
    done = site.desk.run("inventory", "ping", "-i", inventory)
    assert (done.code, done.err) == (4, "")
    lines = done.out.splitlines()
    assert lines[:3] == [
        f"UNREACH web02 TCP {port} refused: no agent listens there",
        f"UNREACH web04 TCP {port} refused: no agent listens there",
        "UNREACH web06 another host answers there: its certificate is not for web06",
    ]
    assert [line.split(" round")[0] for line in lines[3:6]] == [
        f"OK {name} agent 0.1.0" for name in ("web01", "web03", "web05")
    ]
    assert lines[6].startswith("6 hosts: 3 ok  3 unreachable   agent 0.1.0   round trip ")
    assert lines[6].endswith("   exit code 4")


@pytest.mark.covers("inv:F10")
def test_ping_for_programs_is_one_document_or_a_line_for_each_host_as_it_answers(site: Site) -> None:
    inventory = site.inventory({"web02": free_port()})
    whole = held(site.desk.run("inventory", "ping", "-i", inventory, "--json"), 6, 4)
    assert (whole["schema"], whole["type"]) == ("fleetmedic-ping/1", "ping")
    assert whole["versions"] == {"0.1.0": 5}
    times = whole["round_trip"]
    assert 0 < times["min"] <= times["median"] <= times["max"] < 5
    done = site.desk.run("inventory", "ping", "-i", inventory, "--format", "jsonl")
    found = hosts(done.out.splitlines())
    assert Counter(states(found).values()) == {"ok": 5, "unreachable": 1}
    assert json.loads(done.out.splitlines()[-1])["exit_code"] == 4


@pytest.mark.covers("inv:F10")
def test_ping_ends_with_0_65_or_69(site: Site) -> None:
    inventory = site.inventory({"web02": free_port()})
    assert site.desk.run("inventory", "ping", "web01", "-i", inventory).code == 0
    none = site.desk.run("inventory", "ping", "web02", "-i", inventory)
    assert (none.code, none.err) == (69, "")
    nobody = site.desk.run("inventory", "ping", "web99", "-i", inventory)
    assert (nobody.code, nobody.out, len(nobody.err.splitlines())) == (65, "", 1)
    assert site.desk.run("inventory", "ping").code == 65


@pytest.mark.covers("inv:F10")
def test_a_worker_that_is_away_is_told_though_the_agent_answers(site: Site) -> None:
    worker = site.agents["web06"].worker
    os.kill(worker, signal.SIGSTOP)
    try:
        done = site.desk.run("inventory", "ping", "web06", "-i", site.inventory(), "-T", "8s")
    finally:
        os.kill(worker, signal.SIGCONT)
    assert done.out.startswith("WARN web06 the agent answers, its worker does not: "), done.out
    assert done.code == 0
