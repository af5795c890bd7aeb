"""check --via ssh on hosts with systemd, sshd and files of their own: it finds what is wrong, and leaves nothing."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab import agents, proxy
from tests.lab.agents import BIN, Command, Desk
from tests.lab.hosts import LabHost, Site
from tests.lab.proxy import Proxy
from tests.lab.waiting import free_port, until

MADE = Path(__file__).parents[3] / ".cache/bundles"
# What a host itself changes, beside what a visit might.
TREE = (
    "find / ( -path /proc -o -path /sys -o -path /usr -o -path /dev/pts -o -path /run/log -o -path /run/systemd )"
    " -prune -o -type d -printf %p:%m\\n -o -printf %p:%m:%s:%T@\\n"
)
PROCESSES = "ps -e -o ppid=,args="
MOUNTS = "cat /proc/1/mountinfo"
PLACES = ("/dev/shm", "/tmp", "/var/tmp", "/run")
MEMORY = ("--include", "HOST-MEM")
# Other programs load this machine, and run out of memory on it, as they like.
NOT_OURS = ("--exclude", "HOST-*")


@dataclass(frozen=True)
class Visitor:
    """A desk without any certificate, which knows the hosts' SSH keys and has bundles."""

    desk: Desk
    site: Site
    bundles: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.defpath,
            "HOME": str(self.desk.folder),
            "XDG_STATE_HOME": str(self.desk.folder / "state"),
            "FLEETMEDIC_BUNDLES": str(self.bundles),
            "FLEETMEDIC_KNOWN_HOSTS": str(self.site.known_hosts),
            "LANG": "C.UTF-8",
        }

    def inventory(self, hosts: Mapping[str, str] = {}, **variables: str) -> Path:
        """Write one; `hosts` are their variables as YAML, else the site's own, `variables` those of all."""
        lines = ["all:", "  vars:", f"    ansible_ssh_private_key_file: {self.site.key}"]
        lines += [f"    {name}: {value}" for name, value in variables.items()]
        lines.append("  hosts:")
        lines += [f"    {name}: {{{said}}}" for name, said in (hosts or self._hosts()).items()]
        file = self.desk.folder / f"fleet-{abs(hash(tuple(lines)))}.yml"
        file.write_text("\n".join(lines) + "\n")
        return file

    def _hosts(self) -> dict[str, str]:
        return {host.name: f"ansible_host: {host.address}" for host in self.site.hosts}

    def words(self, *words: str | Path, inventory: Path | None = None) -> list[str]:
        return [
            str(BIN / "fleetmedic"),
            "check",
            *map(str, words),
            "-i",
            str(inventory or self.inventory()),
            "--via",
            "ssh",
        ]

    def check(self, *words: str | Path, inventory: Path | None = None, environment: Mapping[str, str] = {}) -> Command:
        done = subprocess.run(
            self.words(*words, inventory=inventory),
            env={**self.environment, **environment},
            cwd=self.desk.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Command(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def checking(self, *words: str | Path, inventory: Path | None = None) -> Iterator[subprocess.Popen[str]]:
        """Run one beside the test, in which it gets signals of its own."""
        with subprocess.Popen(
            self.words(*words, inventory=inventory),
            env=self.environment,
            cwd=self.desk.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture(scope="module")
def visitor(lab: Path, hosts: Site, tmp_path_factory: pytest.TempPathFactory) -> Visitor:
    if not MADE.exists():
        pytest.skip("no bundle was made: make .cache/bundles/.made")
    folder = lab / tmp_path_factory.mktemp("visitor").name
    folder.mkdir()
    shutil.copytree(MADE, folder / "bundles")
    return Visitor(Desk(folder), hosts, folder / "bundles")


@dataclass(frozen=True)
class Seen:
    """All of a host that a visit might change."""

    tree: frozenset[str]
    processes: tuple[str, ...]
    mounts: str


def seen(host: LabHost) -> Seen:
    processes = sorted(line for line in host.run(*PROCESSES.split()).splitlines() if " ps -e" not in line)
    return Seen(frozenset(host.run(*TREE.split(" ")).splitlines()), tuple(processes), host.run(*MOUNTS.split()))


def left(host: LabHost) -> list[str]:
    """The folders of visits that are there now."""
    found = host.run("find", *PLACES, "-maxdepth", "1", "-name", "fleetmedic-visit-*")
    return found.split()


@contextlib.contextmanager
def unchanged(host: LabHost, seconds: float = 10.0) -> Iterator[None]:
    """Hold that after the block, and `seconds` for what was cut off, the host is as it was before."""
    before = seen(host)
    yield
    until("the end of the visit", lambda: not left(host) and seen(host).processes == before.processes, seconds=seconds)
    after = seen(host)
    assert after.tree ^ before.tree == frozenset()
    assert after == before


@contextlib.contextmanager
def silent_page(host: LabHost) -> Iterator[None]:
    """Have the host's agent.toml name a page whose server accepts and says nothing: 6 s for whoever looks at it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        host.put({"/etc/fleetmedic/agent.toml": f'[[page]]\nservice = "shop"\nurl = "http://127.0.0.1:{port}/"\n'})
        try:
            yield
        finally:
            host.run("rm", "-r", "/etc/fleetmedic")


@contextlib.contextmanager
def line_to(visitor: Visitor, host: LabHost) -> Iterator[tuple[Proxy, Path]]:
    """A proxy on the way to a host, and an inventory that goes by it."""
    with proxy.run(host.address, 22) as way:
        (key,) = re.findall(rf"^{re.escape(host.address)} (.*)$", visitor.site.known_hosts.read_text(), re.MULTILINE)
        (visitor.desk.folder / f"known-{way.port}").write_text(f"[127.0.0.1]:{way.port} {key}\n")
        yield way, visitor.inventory(hosts={host.name: f"ansible_host: 127.0.0.1, ansible_port: {way.port}"})


def findings(done: Command) -> list[dict[str, Any]]:
    (report,) = done.json()["reports"]
    found: list[dict[str, Any]] = report["findings"]
    return found


@contextlib.contextmanager
def postgres(host: LabHost) -> Iterator[None]:
    """Run a PostgreSQL on a host whose ten slots are nearly all taken."""
    (programs,) = Path("/usr/lib/postgresql").glob("*/bin")
    user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups")
    options = "-c listen_addresses= -c unix_socket_directories=/run/postgresql -c max_connections=10 -c fsync=off"
    host.run("mkdir", "-p", "/srv/pg", "/run/postgresql")
    host.run("chown", "postgres:", "/srv/pg", "/run/postgresql")
    host.run(*user, programs / "initdb", "-D", "/srv/pg", "--auth", "trust", "--no-sync")
    host.run(*user, programs / "pg_ctl", "-D", "/srv/pg", "-w", "-l", "/srv/pg/log", "-o", options, "start")
    try:
        for _ in range(7):
            host.run(
                "systemd-run", "--quiet", *(f"--property={item}" for item in ("User=postgres", "Type=exec")),
                "psql", "-h", "/run/postgresql", "-c", "SELECT pg_sleep(300)",
            )  # fmt: skip
        yield
    finally:
        host.run(*user, programs / "pg_ctl", "-D", "/srv/pg", "-w", "-m", "immediate", "stop")
        host.run("rm", "-r", "/srv/pg")


def saturation(done: Command) -> str:
    """What is said of PostgreSQL's slots; on a machine that is overloaded it is that there was no time to look."""
    (said,) = [item for item in findings(done) if item["id"] == "PG-CONN-SATURATION"]
    return f"{said['status']}: {said['summary']}"


@pytest.mark.covers("sec:via-ssh", "exp:X16")
def test_a_host_without_an_agent_is_looked_at_and_a_real_fault_is_found(visitor: Visitor) -> None:
    host = visitor.site["db01"]
    asked = ("db01", *NOT_OURS)
    well = visitor.check(*asked, "--json")
    assert (well.code, well.err) == (0, ""), well.out
    with postgres(host):
        until("the fault is found", lambda: "crit" in saturation(visitor.check(*asked, "--json")), seconds=60.0)
        text = visitor.check(*asked, "--include", "PG-CONN-SATURATION").out
        assert text.startswith("CRIT db01 PG-CONN-SATURATION"), text
        assert "again: fleetmedic check bad@" in text
        assert " --via ssh" in text


@pytest.mark.covers("sec:via-ssh")
def test_after_a_look_every_host_is_as_it_was(visitor: Visitor) -> None:
    with contextlib.ExitStack() as held:
        for host in visitor.site.hosts:
            held.enter_context(unchanged(host))
        done = visitor.check("--json", *NOT_OURS)
    assert (done.code, done.err) == (0, "")
    reports = done.json()["reports"]
    assert [report["state"] for report in reports] == ["ok", "ok", "ok"]
    said = {item["id"]: item["status"] for item in reports[0]["findings"]}
    assert said["PY-PROCS"] == "skipped", "the visitor takes itself for no server"


@pytest.mark.covers("sec:via-ssh")
def test_two_looks_at_once_are_two_answers(visitor: Visitor) -> None:
    host = visitor.site["app01"]
    with (
        unchanged(host),
        silent_page(host) as _,
        visitor.checking("app01", "--json") as one,
        visitor.checking("app01", "--json") as two,
    ):
        until("two folders", lambda: len(left(host)) == 2, seconds=20.0)
        for process in (one, two):
            out, err = process.communicate(timeout=60)
            assert err == ""
            assert '"HTTP-ASSETS"' in out
            assert process.returncode == 2


@pytest.mark.covers("sec:via-ssh")
@pytest.mark.parametrize("moment", ["brought", "looks"])
def test_a_line_that_is_cut_in_the_middle_leaves_nothing(visitor: Visitor, moment: str) -> None:
    host = visitor.site["web01"]
    with unchanged(host), silent_page(host), line_to(visitor, host) as (way, fleet):
        known = visitor.desk.folder / f"known-{way.port}"
        with visitor.checking("web01", "--json", "--known-hosts", known, inventory=fleet) as process:
            if moment == "brought":
                until("a login", lambda: way.connections() > 0, seconds=20.0)
                way.set("delay", seconds=0.02)
            until("the folder", lambda: bool(left(host)), seconds=30.0)
            if moment == "looks":
                until("the agent", lambda: "--folder" in host.run("ps", "-e", "-o", "args="), seconds=30.0)
            way.set("cut")
            out, _ = process.communicate(timeout=60)
        assert process.returncode == 2, out
        assert "the SSH connection broke" in out


@pytest.mark.covers("sec:via-ssh")
def test_a_line_that_falls_silent_costs_the_deadline_and_the_host_clears_up_by_itself(visitor: Visitor) -> None:
    host = visitor.site["web01"]
    with unchanged(host, seconds=40.0), silent_page(host), line_to(visitor, host) as (way, fleet):
        known = visitor.desk.folder / f"known-{way.port}"
        words = ("web01", "--json", "--known-hosts", known, "--deadline", "20s")
        with visitor.checking(*words, inventory=fleet) as process:
            until("the agent", lambda: "--folder" in host.run("ps", "-e", "-o", "args="), seconds=30.0)
            way.set("silent")
            out, _ = process.communicate(timeout=60)
        assert process.returncode == 4, out
        assert "reached by SSH, but no whole answer within the deadline of 20s" in out
        until("the host's own end of it", lambda: not left(host), seconds=40.0)


@pytest.mark.covers("sec:via-ssh")
def test_the_second_ctrl_c_leaves_and_the_host_clears_up_by_itself(visitor: Visitor) -> None:
    host = visitor.site["db01"]
    with unchanged(host, seconds=20.0), silent_page(host):
        with visitor.checking("--json", "--forks", "1") as process:
            until("the agent", lambda: "--folder" in host.run("ps", "-e", "-o", "args="), seconds=30.0)
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
            out, err = process.communicate(timeout=30)
            assert time.monotonic() - began < 5.0
        assert process.returncode == 130
        assert "interrupted: waiting for 1 host that was asked; again to leave now" in err
        assert [report["state"] for report in Command(130, out, err).json()["reports"]] == [
            "unknown",
            "cancelled",
            "cancelled",
        ]


@pytest.mark.covers("sec:via-ssh")
def test_after_the_first_ctrl_c_the_answer_of_who_was_asked_is_awaited(visitor: Visitor) -> None:
    host = visitor.site["db01"]
    with unchanged(host), silent_page(host):
        with visitor.checking("--json", "--forks", "1") as process:
            until("the agent", lambda: "--folder" in host.run("ps", "-e", "-o", "args="), seconds=30.0)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        states = [report["state"] for report in Command(130, out, err).json()["reports"]]
        assert (process.returncode, states) == (130, ["failed", "cancelled", "cancelled"])
        assert '"HTTP-ASSETS"' in out


@pytest.mark.covers("sec:via-ssh")
def test_an_agent_that_hangs_is_ended_with_all_it_forked(visitor: Visitor) -> None:
    host = visitor.site["app01"]
    with unchanged(host, seconds=20.0), silent_page(host):
        with visitor.checking("app01", "--json", "--deadline", "20s") as process:
            until("the job", lambda: host.run("ps", "-e", "-o", "args=").count("--folder") > 1, seconds=30.0)
            pids = host.run("pgrep", "-f", "[-]-folder").split()
            # A job may have ended meanwhile.
            host.tried("kill", "-STOP", *pids)
            out, _ = process.communicate(timeout=60)
        assert process.returncode == 4, out
        until("the host's own end of it", lambda: not left(host), seconds=20.0)


@pytest.mark.covers("sec:via-ssh")
def test_the_hosts_own_agent_toml_is_heeded_and_one_that_is_wrong_is_told_and_looked_past(visitor: Visitor) -> None:
    host = visitor.site["db01"]
    limit = "[limits.HOST-MEM]\ncrit_free_share = 1.1\n"
    try:
        host.put({"/etc/fleetmedic/agent.toml": f'name = "db01"\n{limit}'})
        done = visitor.check("db01", "--json", *MEMORY)
        (fault,) = findings(done)
        assert (done.code, fault["status"]) == (2, "crit")
        host.put({"/etc/fleetmedic/agent.toml": f'nmae = "db01"\n{limit}'})
        done = visitor.check("db01", "--json", *MEMORY)
        (report,) = done.json()["reports"]
        assert (done.code, report["state"]) == (2, "failed")
        assert report["cause"].startswith("/etc/fleetmedic/agent.toml:1: nmae: ")
        assert report["cause"].endswith("; looked without it")
        assert [item["status"] for item in report["findings"]] == ["ok"]
    finally:
        host.run("rm", "-r", "/etc/fleetmedic")


@pytest.mark.covers("sec:via-ssh")
def test_another_login_than_roots_sees_what_it_may_and_by_sudo_all(visitor: Visitor) -> None:
    host = visitor.site["db01"]
    words = ("db01", "--json", "--user", "deploy", "--include", "DOCKER-*", "--include", "HOST-OOM")
    host.put({"/etc/fleetmedic/agent.toml": '[docker]\nsocket = "/root/none.sock"\n'})
    try:
        with unchanged(host):
            plain = visitor.check(*words)
        assert "/root/none.sock" not in plain.out, "another than root does not heed agent.toml"
        with unchanged(host):
            risen = visitor.check(*words, "--become")
        assert "/root/none.sock" in risen.out
        by_inventory = visitor.check(*words, inventory=visitor.inventory(ansible_become="true"))
        assert "/root/none.sock" in by_inventory.out
    finally:
        host.run("rm", "-r", "/etc/fleetmedic")


def test_sudo_that_wants_a_password_is_the_cause(visitor: Visitor) -> None:
    host = visitor.site["app01"]
    host.put({"/etc/sudoers": "root ALL=(ALL:ALL) ALL\ndeploy ALL=(ALL:ALL) ALL\n"}, 0o440)
    try:
        done = visitor.check("app01", "--json", "--user", "deploy", "--become")
    finally:
        host.put({"/etc/sudoers": "root ALL=(ALL:ALL) ALL\ndeploy ALL=(ALL:ALL) NOPASSWD: ALL\n"}, 0o440)
    (report,) = done.json()["reports"]
    assert (done.code, report["state"]) == (2, "failed")
    assert report["cause"] == "the visitor could not begin: sudo: a password is required"


def test_no_agents_port_is_asked_and_no_certificate_is_needed(visitor: Visitor) -> None:
    with socket.create_server(("127.0.1.1", 7443)) as trap:
        trap.setblocking(False)
        done = visitor.check("db01", *MEMORY)
        assert done.code == 0, done.out
        with pytest.raises(BlockingIOError):
            trap.accept()


@pytest.mark.covers("sec:A11", "sec:via-ssh")
def test_a_host_whose_key_is_not_known_is_unreachable_and_the_others_are_looked_at(visitor: Visitor) -> None:
    known = visitor.desk.folder / "two"
    known.write_text("".join(visitor.site.known_hosts.read_text().splitlines(keepends=True)[1:]))
    done = visitor.check("--json", *MEMORY, "--known-hosts", known)
    states = {report["host"]: report["state"] for report in done.json()["reports"]}
    assert states == {"db01": "unreachable", "app01": "ok", "web01": "ok"}
    assert done.code == 4
    assert f"the key of 127.0.1.1 is in no {known}" in done.out


def test_a_host_without_the_python_that_is_named_says_so(visitor: Visitor) -> None:
    fleet = visitor.inventory(ansible_python_interpreter="/opt/none/python3")
    done = visitor.check("db01", inventory=fleet)
    assert done.code == 2
    assert "/opt/none/python3" in done.out
    assert "the agent needs Python 3.11 or newer (ansible_python_interpreter)" in done.out


def test_without_a_bundle_for_a_host_nothing_is_brought_and_the_command_for_one_is_named(visitor: Visitor) -> None:
    done = visitor.check("db01", "--json", environment={"FLEETMEDIC_BUNDLES": "/nonexistent"})
    (report,) = done.json()["reports"]
    assert (done.code, report["state"]) == (2, "not_attempted")
    assert "fleetmedic agent bundle --python 3." in report["cause"]


def test_hosts_that_ansible_reaches_otherwise_are_skipped(visitor: Visitor) -> None:
    fleet = visitor.inventory({"db01": "ansible_host: 127.0.1.1", "box": "ansible_connection: docker"})
    done = visitor.check("--json", *MEMORY, inventory=fleet)
    assert {report["host"]: report["state"] for report in done.json()["reports"]} == {"db01": "ok", "box": "skipped"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--via", "ssh"), 65, "--via ssh: no inventory says which hosts: give one with -i FILE"),
        (("--via", "telnet", "-i", "a,"), 64, "Invalid value for '--via'"),
        (("--become", "-i", "a,"), 64, "--become, --user, --private-key and --known-hosts go with --via ssh"),
        (("--user", "me", "--via", "agent", "-i", "a,"), 64, "go with --via ssh"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(
    visitor: Visitor, words: tuple[str, ...], code: int, said: str
) -> None:
    done = visitor.desk.run("check", *words, environment=visitor.environment)
    assert (done.code, done.out) == (code, "")
    assert said in done.err


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ansible_become_method", "su", "ansible_become_method is 'su'; only sudo is known to fleetmedic"),
        ("ansible_become_user", "postgres", "ansible_become_user is 'postgres'; only root is known to fleetmedic"),
        ("ansible_python_interpreter", "python3.11", "write the absolute path of a program"),
    ],
)
def test_a_way_that_is_not_ours_is_65_and_nobody_is_visited(
    visitor: Visitor, variable: str, value: str, said: str
) -> None:
    fleet = visitor.inventory({}, ansible_user="deploy", ansible_become="yes", **{variable: value})
    done = visitor.check(inventory=fleet)
    assert (done.code, done.out) == (65, "")
    assert said in done.err


@pytest.mark.covers("exp:X16")
def test_a_check_of_hosts_that_are_silent_says_what_else_can_be_asked(visitor: Visitor) -> None:
    desk = agents.desk(visitor.desk.folder / "responder")
    fleet = visitor.inventory({"db01": f"ansible_host: 127.0.1.1, fleetmedic_port: {free_port()}"})
    done = desk.check("-i", fleet, *MEMORY)
    assert done.code == 4
    assert done.out.startswith("UNREACH db01 "), done.out
    (line,) = [line.strip() for line in done.out.splitlines() if "next:" in line]
    doctor, _, look = line.partition(", or a look without the agents: ")
    assert doctor == f"next: fleetmedic agent doctor db01 --inventory {fleet}"
    assert look == f"fleetmedic check db01 --via ssh --inventory {fleet}"
    done = desk.run(*shlex.split(look)[1:], *MEMORY, environment=visitor.environment)
    assert done.code == 0, done.out
