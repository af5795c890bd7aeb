"""Hosts where no agent can be: each is refused by the name of what it lacks, and nothing is begun there."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from controller.bootstrap.probing import ROOM, Unsuitable, judged
from tests.controller.bootstrap.installing import CONFIG, Crew, ending, files, untouched
from tests.lab import agents, sshd
from tests.lab.agents import Command, Desk
from tests.lab.hosts import LabHost
from tests.lab.sshd import Sshd
from tests.lab.waiting import free_port

WELL: Mapping[str, object] = {
    "python": "3.11.2",
    "implementation": "CPython",
    "executable": "/usr/bin/python3",
    "reachable": True,
    "venv": True,
    "machine": "x86_64",
    "libc": "glibc 2.36",
    "systemd": True,
    "useradd": True,
    "root": True,
    "sudo": False,
    "free": ROOM,
    "installed": "",
    "by_hand": False,
}


@pytest.mark.covers("sec:install")
@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        ({"python": "3.9.18"}, "Python 3.9.18 is too old: the agent needs 3.11 or newer"),
        ({"python": "2.7.18"}, "Python 2.7.18 is too old"),
        ({"implementation": "PyPy"}, "its Python is PyPy: the agent's libraries need CPython"),
        ({"libc": "musl"}, "its libc is musl: the agent's libraries need glibc"),
        ({"libc": "another libc"}, "its libc is another libc"),
        ({"machine": "riscv64"}, "its machine is riscv64: the agent runs on x86_64 and aarch64"),
        ({"systemd": False}, "no systemd runs there, which starts the agent"),
        ({"venv": False}, "no module venv: apt-get install python3-venv"),
        ({"useradd": False}, "useradd is missing there"),
        ({"executable": "/root/bin/python3", "reachable": False}, "other users can't run its Python /root/bin/python3"),
        ({"root": False}, "who logs in is not root, and sudo wants a password"),
        ({"free": ROOM - 1}, "too little room in /opt: 199 MB are free of 200 MB"),
        ({"by_hand": True}, "/etc/fleetmedic/agent.toml was written by hand, and would be lost"),
        # What a hostile host may say instead.
        ({"python": "3.11.2; rm -rf /"}, "is too old"),
        ({"libc": "glibc 2.36\nx"}, "the agent's libraries need glibc"),
        ({"machine": ["x86_64"]}, "its machine is"),
        ({"free": "much"}, "too little room"),
        ({"systemd": 1}, "no systemd"),
    ],
)
def test_what_a_host_lacks_is_named(lacking: Mapping[str, object], said: str) -> None:
    assert judged(WELL, "python3").installed == ""
    with pytest.raises(Unsuitable) as caught:
        judged({**WELL, **lacking}, "python3")
    assert said in str(caught.value)


@pytest.mark.covers("sec:uninstall")
def test_an_agent_that_leaves_needs_no_more_than_root() -> None:
    bare = {**WELL, "free": 0, "by_hand": True, "useradd": False, "venv": False, "reachable": False, "systemd": False}
    assert judged(bare, "python3", leaving=True).sudo == ()
    with pytest.raises(Unsuitable, match="not root"):
        judged({**bare, "root": False}, "python3", leaving=True)


def refused(crew: Crew, host: LabHost, said: str) -> None:
    before = files(host)
    done = crew.agent("install", host.name)
    assert done.code == 2, done.out
    line = ending(done, host.name)
    assert line.startswith(f"✗ refused      {host.name}  ")
    assert said in line
    untouched(host, before)


@pytest.mark.covers("sec:install")
def test_a_real_host_is_refused_for_each_thing_that_can_be_taken_from_it(fresh: Crew) -> None:
    host = fresh.site.only
    python = host.run("readlink", "-f", "/usr/bin/python3").strip()
    host.run("mount", "--bind", "/dev/null", python)
    refused(fresh, host, "no Python: the agent needs Python 3.11 or newer")
    host.run("umount", python)

    host.run("mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", "/opt")
    refused(fresh, host, "too little room in /opt: 20 MB are free of 200 MB that are needed")
    host.run("umount", "/opt")

    host.put({CONFIG: 'name = "by hand"\n'})
    refused(fresh, host, f"{CONFIG} was written by hand, and would be lost")
    host.run("rm", CONFIG)
    host.run("rmdir", "/etc/fleetmedic")

    host.run("mkdir", "-p", "/root/only")
    host.run("cp", python, "/root/only/python3")
    fresh.write(ansible_python_interpreter="/root/only/python3")
    refused(fresh, host, "other users can't run its Python /root/only/python3")
    fresh.write(ansible_python_interpreter="/nowhere/python3")
    refused(fresh, host, "no Python")
    fresh.write(ansible_connection="docker", fleetmedic_address=host.address)
    refused(fresh, host, "by the inventory SSH does not lead there")

    fresh.write(ansible_user="deploy")
    sudoers = host.run("cat", "/etc/sudoers")
    host.put({"/etc/sudoers": "root ALL=(ALL:ALL) ALL\n"}, 0o440)
    refused(fresh, host, "who logs in is not root, and sudo wants a password")
    host.put({"/etc/sudoers": sudoers}, 0o440)
    done = fresh.agent("install", host.name)
    assert " installed " in ending(done, host.name), done.out
    assert fresh.agent("uninstall", host.name, "--yes").code == 0


class Impostor:
    """A desk, and an sshd of the sandbox's own, of which systemd is not process 1."""

    def __init__(self, desk: Desk, server: Sshd, key: Path, login: str, bundles: Path) -> None:
        self.server = server
        self.desk, self._key, self._login, self._bundles = desk, key, login, bundles
        (desk.folder / "known_hosts").write_text(server.known_hosts)

    def says(self, command: str) -> None:
        """From now on whoever logs in gets this, whatever they wanted to run."""
        self.server.authorize(f'command="{command}" {self._login}')

    def plain(self) -> None:
        self.server.authorize(self._login)

    def install(self) -> Command:
        inventory = self.desk.folder / "fleet.ini"
        place = f"ansible_host={self.server.address} ansible_port={self.server.port}"
        inventory.write_text(f"db01 {place} ansible_ssh_private_key_file={self._key}\n")
        own = {
            "FLEETMEDIC_PKI": str(self.desk.pki),
            "FLEETMEDIC_BUNDLES": str(self._bundles),
            "FLEETMEDIC_KNOWN_HOSTS": str(self.desk.folder / "known_hosts"),
        }
        return self.desk.run("agent", "install", "all", "-i", inventory, environment=own, seconds=120)


@pytest.fixture(scope="module")
def impostor(lab: Path, bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Impostor]:
    folder = lab / tmp_path_factory.mktemp("impostor").name
    desk = agents.desk(folder)
    login = sshd.key(folder / "login")
    with sshd.run(folder / "sshd", port=free_port(), authorized=[login]) as server:
        yield Impostor(desk, server, folder / "login", login, bundles)


@pytest.mark.covers("sec:install")
def test_a_host_without_systemd_is_refused(impostor: Impostor) -> None:
    impostor.plain()
    done = impostor.install()
    assert (done.code, "no systemd runs there" in done.out) == (2, True), done.out


HOSTILE = """\
#!/usr/bin/python3
import os, sys, time
FACTS = {facts!r}
if "fleetmedic facts" in os.environ["SSH_ORIGINAL_COMMAND"]:
    os.write(1, b"Welcome!\\n" + FACTS)
else:
    {then}
"""
GOOD = b"fleetmedic facts " + json.dumps({**WELL, "free": 1 << 40, "installed": "\x1b[31m"}).encode() + b"\n"


@pytest.mark.covers("sec:install")
@pytest.mark.parametrize(
    ("facts", "then", "said"),
    [
        (b"", "", "its Python said something else than it was asked"),
        (bytes(5 << 20), "", "the command wrote more than it may"),
        (b"fleetmedic facts [1]", "", "its Python said something else"),
        (b"fleetmedic facts {\n", "", "its Python said something else"),
        (b"fleetmedic facts \xff\n", "", "its Python said something else"),
        (b"fleetmedic facts {}", "", "Python None is too old"),
        (GOOD, "sys.exit('\x1b[2Jno')", "the program there ended before its work: \\x1b[2Jno"),
        (GOOD, "os.write(1, bytes(2 << 20))", "it said more than there is to say"),
        (GOOD, "[os.write(1, b'{}\\n') for _ in range(300)]", "it said more than there is to say"),
        (GOOD, """print('{"done": "\\\\u001b[2Jinstalled"}')""", "it said something else than how it ended"),
        (GOOD, """print('{"done": ["installed"], "why": 7}')""", "it said something else than how it ended"),
        (GOOD, """print('{"done": "failed", "why": "\\\\u001b[2J"}')""", "\\x1b[2J; undoing it failed too"),
        (GOOD, """print('{"ask": "signature", "request": "x"}', flush=True); time.sleep(9)""", "is no request"),
    ],
)
def test_whatever_a_hostile_host_says_is_one_line_and_no_certificate(
    impostor: Impostor, facts: bytes, then: str, said: str
) -> None:
    program = impostor.desk.folder / "hostile"
    program.write_text(HOSTILE.format(facts=facts, then=then or "pass"))
    program.chmod(0o755)
    impostor.says(str(program))
    register = (impostor.desk.pki / "register.jsonl").read_text()
    done = impostor.install()
    assert done.code in (2, 4), done.out + done.err
    assert said in done.out, done.out
    assert "\x1b" not in done.out + done.err
    assert "bug of ours" not in done.err
    assert '"agent"' not in (impostor.desk.pki / "register.jsonl").read_text().removeprefix(register)


@pytest.mark.covers("sec:install")
def test_one_host_that_is_not_reached_keeps_no_other_from_its_agent(crew: Crew) -> None:
    name, *_ = (host.name for host in crew.site.hosts)
    crew.write({name: {"ansible_port": free_port()}})
    done = crew.agent("install", "all", "--limit", f"{name},web01")
    assert done.code == 4
    assert f"unreachable  {name}" in ending(done, name)
    assert "nothing listens at" in ending(done, name)
    assert " installed " in ending(done, "web01")
    assert "2 hosts: 1 installed  1 unreachable" in done.out
    unknown = crew.desk.folder / "nobody-known"
    unknown.touch()
    crew.write()
    done = crew.agent("install", "all", "--known-hosts", unknown)
    assert done.code == 4
    assert done.out.count("add it there, once you know from the host itself that it is right") == 3


@pytest.mark.covers("sec:install")
def test_what_is_wrong_at_the_desk_is_told_before_any_host_is_asked(crew: Crew) -> None:
    nowhere = crew.desk.folder / "nowhere"
    for words, code, said in (
        (["all", "--pki", nowhere], 77, "`fleetmedic pki init` makes it"),
        (["no-such-host"], 65, "no-such-host"),
        (["all", "--expect", "7"], 65, "--expect 7: 3 selected; nobody was asked"),
    ):
        done = crew.agent("install", *words)
        assert (done.code, said in done.err) == (code, True), done.err
        assert done.out == ""
    crew.write(ansible_ssh_common_args="-o ProxyCommand=x")
    done = crew.agent("install", "all")
    crew.write()
    assert (done.code, "ProxyCommand, which fleetmedic does not run" in done.err) == (65, True)
    assert crew.agent("install", "all", "--list-hosts").out.split() == ["db01", "app01", "web01"]
