"""The visitor that SSH runs on a host: it brings an agent, and leaves nothing behind however it ends."""

import ast
import contextlib
import io
import json
import os
import re
import signal
import stat
import struct
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.transport import ssh_stdio
from controller.transport.ssh_stdio import MARK, VISITOR
from tests.lab import child
from tests.lab.waiting import until

LENGTH = struct.Struct(">I")
PLACES = re.compile(r"^PLACES = \(\n.*?^\)\n", re.MULTILINE | re.DOTALL)
PYTHON = "/usr/bin/python3"
# Agents, as far as the visitor knows: they note their pid in the folder that the test looks into.
ANSWERS = "import os, sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())\n"
HANGS = "import os, time\nopen({noted!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
# A child with a session of its own and a grandchild, as a probe's job may have; they do not end with their parent.
FORKS = """\
import os, time
if os.fork() == 0:
    os.setsid()
    os.fork()
open({noted!r} + str(os.getpid()), 'w').close()
time.sleep({seconds})
"""


@dataclass(frozen=True)
class Place:
    """The one folder in which visitors of a test may make theirs."""

    folder: Path

    @property
    def noted(self) -> Path:
        return self.folder / "noted"

    def text(self) -> bytes:
        said, count = PLACES.subn(f"PLACES = (Path({str(self.folder)!r}),)\n", VISITOR.read_text())
        assert count == 1
        return said.encode()

    def left(self) -> list[Path]:
        """What visitors have left."""
        return [item for item in self.folder.iterdir() if item.name.startswith("fleetmedic-visit-")]

    def pids(self) -> list[int]:
        """Of the agents that noted theirs, those that are there."""
        noted = [item for item in self.folder.glob("noted?*") if child.state(int(item.name[5:])) not in ("", "Z")]
        return [int(item.name[5:]) for item in noted]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@contextlib.contextmanager
def visitor(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """Run one as SSH does, until it has said who is there."""
    words = ssh_stdio.command(PYTHON, become=False)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdin
            text = place.text()
            process.stdin.write(b"%d\n%b" % (len(text), text))
            process.stdin.flush()
            yield process
        finally:
            process.kill()


def facts(process: subprocess.Popen[bytes]) -> dict[str, object]:
    assert process.stdout
    assert process.stdout.read(len(MARK)) == MARK
    (size,) = LENGTH.unpack(process.stdout.read(LENGTH.size))
    said: dict[str, object] = json.loads(process.stdout.read(size))
    return said


def framed(body: bytes) -> bytes:
    return LENGTH.pack(len(body)) + body


def parcel(agent: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in (("agent/__init__.py", ""), ("agent/__main__.py", agent)):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def bring(process: subprocess.Popen[bytes], agent: str, seconds: float = 30.0, room: int = 1 << 20) -> None:
    assert process.stdin
    order = json.dumps({"seconds": seconds, "room": room}).encode()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(framed(order) + framed(parcel(agent)) + framed(b"the question"))
        process.stdin.flush()


def ended(process: subprocess.Popen[bytes], seconds: float = 10.0) -> tuple[int, str]:
    """Wait for its end, with its standard input still open; give its exit code and what it said last."""
    code = process.wait(seconds)
    assert process.stderr
    return code, process.stderr.read().decode().strip().rpartition("\n")[2]


@pytest.mark.covers("sec:via-ssh")
def test_the_visitor_says_who_is_there_relays_one_answer_and_leaves_nothing(place: Place) -> None:
    with visitor(place) as process:
        said = facts(process)
        wanted = subprocess.run([PYTHON, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
        assert (said["python"], said["machine"], said["uid"]) == (wanted, os.uname().machine, os.geteuid())
        assert said["libc"] == os.confstr("CS_GNU_LIBC_VERSION")
        bring(process, ANSWERS)
        assert ended(process) == (0, "")
        assert process.stdout
        assert process.stdout.read() == framed(b"the question")
    assert place.left() == []


def test_the_agents_exit_code_and_last_words_are_the_visitors(place: Place) -> None:
    with visitor(place) as process:
        facts(process)
        bring(process, "import sys\nsys.exit('no such luck')\n")
        assert ended(process) == (1, "no such luck")
    assert place.left() == []


@pytest.mark.covers("sec:via-ssh")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, None])
def test_however_it_is_ended_agent_and_folder_go_with_it(place: Place, number: signal.Signals | None) -> None:
    with visitor(place) as process:
        facts(process)
        bring(process, FORKS.format(noted=str(place.noted), seconds=60))
        until("the agents", lambda: len(place.pids()) == 3)
        assert len(place.left()) == 1
        if number is None:
            # As when the connection is cut: standard input ends.
            assert process.stdin
            process.stdin.close()
        else:
            process.send_signal(number)
        assert process.wait(10) == 71
        assert place.left() == []
        assert place.pids() == []


@pytest.mark.covers("sec:via-ssh")
def test_what_the_agent_forked_and_left_ends_too(place: Place) -> None:
    agent = FORKS.format(noted=str(place.noted), seconds="60 if os.getppid() != {} else 0.5")
    with visitor(place) as process:
        facts(process)
        bring(process, agent.format(process.pid))
        assert ended(process) == (0, "")
        assert len(list(place.folder.glob("noted?*"))) == 3
        assert place.pids() == []
    assert place.left() == []


def test_past_the_time_it_was_given_it_ends_by_itself(place: Place) -> None:
    with visitor(place) as process:
        facts(process)
        bring(process, HANGS.format(noted=str(place.noted)), seconds=0.7)
        assert ended(process) == (71, "out of time")
    assert place.left() == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_connection_that_is_cut_while_the_agent_is_brought_leaves_nothing(place: Place, share: float) -> None:
    with visitor(place) as process:
        facts(process)
        assert process.stdin
        whole = framed(json.dumps({"seconds": 30, "room": 1 << 20}).encode()) + framed(parcel("x" * 200_000))
        process.stdin.write(whole[: int(len(whole) * share)])
        process.stdin.close()
        code, said = ended(process)
        assert (code, said) == (71, "standard input ended before the agent was here")
    assert place.left() == []


def test_where_no_place_has_room_nothing_is_begun(place: Place) -> None:
    with visitor(place) as process:
        facts(process)
        bring(process, ANSWERS, room=1 << 60)
        code, said = ended(process)
    assert (code, said[:12]) == (71, "no room for ")
    assert said.endswith(f"where libraries may be loaded from: {place.folder}")
    assert place.left() == []


@pytest.mark.covers("sec:via-ssh")
def test_what_a_killed_visitor_left_is_removed_an_hour_later_and_a_living_ones_is_not(place: Place) -> None:
    with visitor(place) as process:
        facts(process)
        bring(process, HANGS.format(noted=str(place.noted)))
        until("the agent", place.noted.exists)
        process.kill()
        process.wait()
    (dead,) = place.left()
    os.kill(int(place.noted.read_text()), signal.SIGKILL)
    place.noted.unlink()
    with visitor(place) as living:
        facts(living)
        bring(living, HANGS.format(noted=str(place.noted)))
        until("the agent", place.noted.exists)
        assert len(place.left()) == 2, "not an hour old"
        for folder in place.left():
            os.utime(folder, (0, time.time() - 3700))
        with visitor(place) as next_one:
            facts(next_one)
            bring(next_one, ANSWERS)
            assert ended(next_one) == (0, "")
        assert not dead.exists()
        assert len(place.left()) == 1
        assert living.poll() is None
        living.terminate()
        living.wait(10)
    assert place.left() == []


def test_a_link_by_the_name_of_such_a_folder_is_not_followed(
    place: Place, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "kept").touch()
    link = place.folder / "fleetmedic-visit-link"
    link.symlink_to(other)
    os.utime(link, (0, 0), follow_symlinks=False)
    with visitor(place) as process:
        facts(process)
        bring(process, ANSWERS)
        assert ended(process) == (0, "")
    assert (other / "kept").exists()
    assert link.is_symlink()


def test_what_is_unpacked_is_the_visitors_users_alone(place: Place) -> None:
    with visitor(place) as process:
        facts(process)
        bring(process, HANGS.format(noted=str(place.noted)))
        until("the agent", place.noted.exists)
        (folder,) = place.left()
        modes = {stat.S_IMODE(item.stat().st_mode) for item in (folder, folder / "lib")}
        environment = Path(f"/proc/{place.noted.read_text()}/environ").read_text()
    assert modes == {0o700}
    assert "PYTHONDONTWRITEBYTECODE=1" in environment


def test_the_command_line_is_short_and_even_an_old_python_can_say_that_it_is_one() -> None:
    assert len(" ".join(ssh_stdio.command(become=True))) < 128
    ast.parse(VISITOR.read_text(), feature_version=(3, 6))
