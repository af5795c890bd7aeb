"""What /proc tells, on this machine and of real processes."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import procfs
from agent.procfs import CONTAINER, Listener
from tests.lab import child
from tests.lab.waiting import until

SCRIPT = """
import ctypes, socket, sys, time
ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)
four, six, unix = socket.socket(), socket.socket(socket.AF_INET6), socket.socket(socket.AF_UNIX)
four.bind(("127.0.0.1", 0)); four.listen()
six.bind(("::1", 0)); six.listen()
unix.bind(sys.argv[2]); unix.listen()
idle = socket.socket(); idle.bind(("127.0.0.1", 0))
print(four.getsockname()[1], six.getsockname()[1], idle.getsockname()[1], flush=True)
time.sleep(60)
"""
NAME = "a) (b c"


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[int, list[int], str]]:
    """Run a process with an odd name that listens: its pid, its ports (IPv4, IPv6, one bound only) and its socket."""
    path = str(tmp_path / "s")
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, NAME, path],
        stdout=subprocess.PIPE,
        text=True,
        env={"MARK": "a=b c", "EMPTY": "", "PATH": "/usr/bin"},
    )
    assert process.stdout is not None
    yield process.pid, [int(word) for word in process.stdout.readline().split()], path
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_process_is_read_though_its_name_holds_brackets(listening: tuple[int, list[int], str]) -> None:
    pid = listening[0]
    seen = procfs.read_process(pid)
    assert seen is not None
    assert (seen.pid, seen.name, seen.parent) == (pid, NAME, os.getpid())
    started = seen.start_ticks / os.sysconf("SC_CLK_TCK")
    assert abs(started - time.clock_gettime(time.CLOCK_BOOTTIME)) < 30
    assert seen in list(procfs.processes())


def test_what_a_process_listens_on_is_found_and_nothing_else(listening: tuple[int, list[int], str]) -> None:
    pid, (four, six, idle), path = listening
    found = procfs.listeners(pid, procfs.socket_inodes(pid))
    assert sorted(found, key=str) == sorted(
        [Listener("127.0.0.1", four), Listener("::1", six), Listener(path=path)], key=str
    )
    assert idle not in {item.port for item in procfs.listeners(pid)}


def test_title_owner_environment_and_size_of_a_process(listening: tuple[int, list[int], str]) -> None:
    pid, _, path = listening
    assert procfs.title(pid).endswith(f"{NAME} {path}")
    assert procfs.owner(pid) == (os.getuid(), os.getgid())
    assert procfs.environment_value(pid, "MARK") == "a=b c"
    assert procfs.environment_value(pid, "EMPTY") == procfs.environment_value(pid, "MAR") == ""
    assert 1 << 20 < procfs.resident_bytes(pid) < 1 << 30
    assert procfs.namespace(pid, "net") == procfs.namespace("self", "net") != ""


def test_a_process_that_has_gone_gives_nothing_and_no_error() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    pid = process.pid
    until("gone", lambda: not Path(f"/proc/{pid}").exists())
    assert procfs.read_process(pid) is None
    assert procfs.title(pid) == procfs.environment_value(pid, "X") == procfs.namespace(pid, "net") == ""
    assert procfs.container_id(pid) == ""
    assert procfs.resident_bytes(pid) == 0
    assert procfs.listeners(pid) == []


def test_a_zombie_has_no_title_and_no_size() -> None:
    process = subprocess.Popen(["true"])
    until("a zombie", lambda: child.state(process.pid) == "Z")
    seen = procfs.read_process(process.pid)
    title, size = procfs.title(process.pid), procfs.resident_bytes(process.pid)
    process.wait()
    assert seen is not None
    assert (seen.name, title, size) == ("true", "", 0)


def test_descriptors_of_another_user_s_process_are_a_permission_error() -> None:
    if os.geteuid():
        pytest.skip("needs root")
    pid = os.fork()
    if pid == 0:
        os.setgid(65534)
        os.setuid(65534)
        try:
            procfs.socket_inodes(os.getppid())
        except PermissionError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


IDENTITY = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "line",
    [
        f"12:memory:/docker/{IDENTITY}",
        f"0::/system.slice/docker-{IDENTITY}.scope",
        f"0::/../docker-{IDENTITY}.scope/init",
        f"1:name=systemd:/kubepods/pod1/{IDENTITY}",
        f"0::/docker/{IDENTITY}/system.slice",
    ],
)
def test_a_container_is_known_by_its_control_group(line: str) -> None:
    found = CONTAINER.search(f"3:cpu:/\n{line}\n")
    assert found is not None
    assert found[1] == IDENTITY


@pytest.mark.parametrize("line", ["0::/user.slice", f"0::/{IDENTITY[:-1]}", f"0::/x{IDENTITY}"])
def test_other_control_groups_are_no_container(line: str) -> None:
    assert CONTAINER.search(line) is None


def test_a_wildcard_is_dialled_on_loopback() -> None:
    assert [procfs.reachable(host) for host in ("0.0.0.0", "::", "10.0.0.1")] == ["127.0.0.1", "127.0.0.1", "10.0.0.1"]
    assert procfs.account(0) == "root"
    assert procfs.account(4_000_000) == ""


def test_ports_above_255_and_addresses_are_decoded_in_network_order() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.3", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert Listener("127.0.0.3", port) in procfs.listeners("self")
