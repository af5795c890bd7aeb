"""check --via ssh on hosts with systemd, sshd and files of their own: it finds what is wrong, and leaves nothing."""

import contextlib
import os
import re
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
    "find / ( -path /proc -o -path /sys -o -path /usr -o -path /dev/pts -o -path /run/log -o -path /run/systemd ) -prune"
    " -o -type d -printf %p:%m\\n -o -printf %p:%m:%s:%T@\\n"
)
PROCESSES = "ps -e -o ppid=,args="
MOUNTS = "cat /proc/1/mountinfo"
PLACES = ("/dev/shm", "/tmp", "/var/tmp", "/run")
MEMORY = ("--include", "HOST-MEM")


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

    def inventory(self, variables: Mapping[str, str] = {}, **hosts: str) -> Path:
        """Write one; `hosts` are their variables as YAML, else the site's own."""
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

    def check(self, *words: str | Path, inventory: Path | None = None) -> Command:
        done = subprocess.run(
            self.words(*words, inventory=inventory),
            env=self.environment,
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
        known = visitor.site.known_hosts.read_text()
        (key,) = re.findall(rf"^{re.escape(host.address)} (.*)$", known, re.MULTILINE)
        file = visitor.desk.folder / "known_on_the_way"
        file.write_text(f"[127.0.0.1]:{way.port} {key}\n")
        fleet = visitor.inventory(**{host.name: f"ansible_host: 127.0.0.1, ansible_port: {way.port}"})
        yield way, file.rename(visitor.desk.folder / f"known-{way.port}") and fleet


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


@pytest.mark.covers("sec:via-ssh", "exp:X16")
def test_a_host_without_an_agent_is_looked_at_and_a_real_fault_is_found(visitor: Visitor) -> None:
    host = visitor.site["db01"]
    well = visitor.check("db01", "--json")
    assert (well.code, well.err) == (0, ""), well.out
    with postgres(host):
        done = visitor.check("db01", "--json")
        assert done.code == 2, done.out
        (fault,) = [item for item in findings(done) if item["id"] == "PG-CONN-SATURATION"]
        assert fault["status"] == "crit", fault
        assert "7/7 slots used" in fault["summary"]
        text = visitor.check("db01").out
        assert text.startswith("CRIT db01 PG-CONN-SATURATION"), text
        assert f"again: fleetmedic check bad@" in text
        assert " --via ssh" in text


@pytest.mark.covers("sec:via-ssh")
def test_after_a_look_every_host_is_as_it_was(visitor: Visitor) -> None:
    with contextlib.ExitStack() as held:
        for host in visitor.site.hosts:
            held.enter_context(unchanged(host))
        began = time.monotonic()
        done = visitor.check("--json")
        passed = time.monotonic() - began
    assert (done.code, done.err) == (0, "")
    assert [report["state"] for report in done.json()["reports"]] == ["ok", "ok", "ok"]
    assert passed < 30.0


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
                until("a login", lambda: way.connections() > 0)
                way.set("delay", seconds=0.02)
            until("the folder", lambda: bool(left(host)), seconds=30.0)
            if moment == "looks":
                until("the agent", lambda: "--folder" in host.run("ps", "-e", "-o", "args="), seconds=30.0)
            way.set("cut")
            out, _ = process.communicate(timeout=60)
        assert process.returncode == 2, out
        assert "broke" in out
