"""Visits over a real sshd, of hosts that are not what they seem: each has one report, in time, and says why."""

import asyncio
import io
import json
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller import visiting
from controller.calling import Bounds, LocalTrouble
from controller.endings import State
from controller.host_report import HostReport
from controller.inventory.connection import Endpoint
from controller.ssh import Destination, Trust
from controller.transport.ssh_stdio import MARK, Parcel, There
from controller.visiting import Visits, Way
from fleetmedic.v1.agent_pb2 import CheckRequest, CheckResponse
from fleetmedic.v1.finding_pb2 import STATUS_CRIT
from fleetmedic.v1.local_pb2 import REFUSAL_KIND_INVALID, REFUSAL_KIND_NOT_FOUND, LocalResponse, Refusal
from tests.controller import reports
from tests.lab import sshd
from tests.lab.fixtures import need
from tests.lab.sshd import Sshd
from tests.lab.waiting import free_port

PYTHON = "/usr/bin/python3"
PATIENCE = Bounds(forks=8, connect=1.0, deadline=20.0)
HEAD = "import json, os, struct, sys, time\nsay, out = sys.stderr.write, sys.stdout.buffer\n"
FRAME = """\
def frame(body):
    out.write(struct.pack('>I', len(body)) + body)
    out.flush()

def met(mark, facts):
    taken = sys.stdin.buffer
    taken.read(int(taken.readline()))
    out.write(mark)
    frame(facts)
    for _ in range(3):
        taken.read(*struct.unpack('>I', taken.read(4)))

"""
FACTS = {"python": "3.11.2", "machine": "x86_64", "libc": "glibc 2.36", "uid": 0, "time": 0.0}
REQUEST = CheckRequest()
REQUEST.budget.FromSeconds(5)


def answer(*, last: bool = True) -> bytes:
    return LocalResponse(check=CheckResponse(last=last, findings=[reports.finding()])).SerializeToString()


WHOLE = answer()


def met(facts: Mapping[str, object] = FACTS) -> str:
    """What a program does that says so, and reads what it is sent then."""
    return f"met({MARK!r}, {json.dumps(facts).encode()!r})\n"


@dataclass(frozen=True)
class Host:
    """An sshd whose host does as a test says, whatever it is told to run."""

    server: Sshd
    folder: Path

    def does(self, code: str) -> None:
        program = self.folder / "host.py"
        program.write_text(HEAD + FRAME + code)
        self.runs(f"{PYTHON} {program}")

    def runs(self, command: str | None) -> None:
        public = (self.folder / "login.pub").read_text()
        self.server.authorize(public if command is None else f'command="{command}" {public}')

    def known(self) -> Path:
        file = self.folder / "known_hosts"
        file.write_text(self.server.known_hosts)
        return file


@pytest.fixture(scope="module")
def host(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    need("sshd", root=True)
    folder = lab / tmp_path_factory.mktemp("visiting").name
    folder.mkdir()
    sshd.key(folder / "login")
    with sshd.run(folder / "sshd", port=free_port()) as server:
        yield Host(server, folder)


def packed(there: There) -> Parcel:
    """Pack an agent that says nothing."""
    del there
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in ("agent/__init__.py", "agent/__main__.py"):
            archive.addfile(tarfile.TarInfo(name))
    return Parcel(buffer.getvalue(), 1 << 20)


def visit(
    host: Host,
    bounds: Bounds = PATIENCE,
    *,
    known: Path | None = None,
    pack: visiting.Pack = packed,
    python: str = PYTHON,
    names: tuple[str, ...] = ("web01",),
) -> list[HostReport]:
    to = Destination("web01", host.server.address, host.server.port, "root", host.folder / "login")
    trust = Trust((known or host.known(),), patience=5.0, own_keys=False)
    visits = Visits({name: Way(to, python=python) for name in names}, trust, pack)
    asked = {Endpoint(name, host.server.address, 0): REQUEST.SerializeToString() for name in names}

    async def collect() -> list[HostReport]:
        return [report async for report in visiting.check(asked, visits, bounds)]

    return asyncio.run(collect())


def test_what_the_visitor_relays_is_the_report(host: Host) -> None:
    host.does(f"{met()}frame({answer(last=False)!r})\nframe({WHOLE!r})")
    (report,) = visit(host)
    assert (report.state, report.cause, report.messages) == (State.OK, "", 2)
    assert len(report.answer.findings) == 2


def test_what_a_login_shell_prints_before_it_is_no_matter(host: Host) -> None:
    host.does(f"out.write(b'Welcome to web01!\\n' * 100)\n{met()}frame({WHOLE!r})")
    (report,) = visit(host)
    assert (report.state, report.cause) == (State.OK, "")


def test_a_clock_that_is_off_is_told(host: Host) -> None:
    host.does(f"{met({**FACTS, 'time': time.time() - 3600})}frame({WHOLE!r})")
    (report,) = visit(host)
    assert report.clock_offset is not None
    assert -3620 < report.clock_offset < -3590


def test_a_crit_is_a_failure_and_so_is_a_whole_answer_with_trouble_beside_it(host: Host) -> None:
    bad = LocalResponse(check=CheckResponse(last=True, findings=[reports.finding(status=STATUS_CRIT)]))
    host.does(f"{met()}frame({bad.SerializeToString()!r})")
    (report,) = visit(host)
    assert (report.state, report.cause) == (State.FAILED, "")
    host.does(f"{met()}frame({WHOLE!r})\nsay('noise\\nagent.toml:3: it is wrong\\n')\nsys.exit(65)")
    (report,) = visit(host)
    assert (report.state, report.cause) == (State.FAILED, "agent.toml:3: it is wrong")
    assert len(report.answer.findings) == 1, "what it saw is shown all the same"


def test_a_refused_question_is_told_apart_from_one_for_what_is_not_there(host: Host) -> None:
    for kind, state in ((REFUSAL_KIND_INVALID, State.FAILED), (REFUSAL_KIND_NOT_FOUND, State.SKIPPED)):
        refusal = LocalResponse(refusal=Refusal(kind=kind, reason="no check 'X'"))
        host.does(f"{met()}frame({refusal.SerializeToString()!r})")
        (report,) = visit(host)
        assert (report.state, report.cause, report.refused) == (state, "no check 'X'", state == State.FAILED)


@pytest.mark.covers("sec:B7", "sec:via-ssh")
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("", "the visitor could not begin: exit code 0"),
        ("say('a' * 100_000 + '\\nno way\\n')\nsys.exit(3)", "the visitor could not begin: no way"),
        ("os.kill(os.getpid(), 9)", "the visitor could not begin: the connection ended"),
        ("out.write(os.urandom(3_000_000))", "its login shell prints without end"),
        (f"out.write({MARK!r} + b'\\xff' * 100_000)", "sent a frame of 4294967295 bytes"),
        (f"out.write({MARK!r})\nframe(b'no JSON')", "sent what is no answer"),
        (f"out.write({MARK!r})\nframe(b'[' * 4000)", "sent what is no answer"),
        (f"out.write({MARK!r})\nframe(b'[1, 2]')", "sent what is no answer"),
        (met({**FACTS, "python": "3.11.x"}), "sent what is no answer"),
        (met({**FACTS, "time": "soon"}), "sent what is no answer"),
        (met({**FACTS, "uid": 1e999}), "sent what is no answer"),
        (met(), "broke off without a whole answer: exit code 0"),
        (f"{met()}say('it is the disk\\n')\nsys.exit(71)", "it is the disk"),
        (f"{met()}out.write(b'\\0\\0')", "broke off in the middle"),
        (f"{met()}out.write(struct.pack('>I', 1 << 31))", "sent a frame of 2147483648 bytes"),
        (f"{met()}frame(b'\\xff\\xff')", "sent what is no answer"),
        (f"{met()}frame(b'\\x0a\\0')", "sent what is no answer"),
        (f"{met()}frame({answer(last=False)!r})", "broke off without a whole answer"),
        (f"{met()}frame(b'\\x12' + b'\\xe0\\xa7\\x12' + b'\\x32\\x00' * 150_000)", "values, which no answer has"),
        (
            f"{met()}while True:\n    frame(b'\\x12\\x80\\x89\\x7a' + b'\\xa2\\x06\\xfb\\x88\\x7a' + b'x' * 1_999_995)",
            "more than 4 MiB",
        ),
        (f"{met()}while True:\n    frame({answer(last=False)!r})", "which no answer has"),
    ],
)
def test_a_host_that_answers_otherwise_has_failed_and_says_how(host: Host, code: str, said: str) -> None:
    host.does(code)
    began = time.monotonic()
    (report,) = visit(host)
    assert report.state == State.FAILED
    assert said in report.cause
    assert time.monotonic() - began < 15.0


@pytest.mark.covers("sec:via-ssh")
@pytest.mark.parametrize(
    "code",
    ["time.sleep(60)", f"{met()}time.sleep(60)", f"{met()}while True:\n    say('x' * 10_000)", "while True: say('xx')"],
)
def test_a_host_that_never_answers_is_a_timeout_at_the_deadline(host: Host, code: str) -> None:
    host.does(code)
    began = time.monotonic()
    (report,) = visit(host, Bounds(8, 1.0, 2.0))
    assert report.state == State.TIMEOUT
    assert report.cause == "reached by SSH, but no whole answer within the deadline of 2s"
    assert time.monotonic() - began < 6.0


def test_a_host_that_takes_nothing_of_what_it_is_sent_is_a_timeout_too(host: Host) -> None:
    host.does(f"out.write({MARK!r})\nframe({json.dumps(FACTS).encode()!r})\ntime.sleep(60)")
    (report,) = visit(host, Bounds(8, 1.0, 3.0), pack=lambda _: Parcel(bytes(30_000_000), 1 << 20))
    assert report.state == State.TIMEOUT


def test_a_hosts_own_deadline_ends_it_while_others_are_awaited(host: Host) -> None:
    host.does("time.sleep(60)")
    began = time.monotonic()
    (report,) = visit(host, Bounds(8, 1.0, 20.0, host_deadline=1.5))
    assert (report.state, report.late) == (State.TIMEOUT, None)
    assert "the host's deadline of 1.5s" in report.cause
    assert time.monotonic() - began < 19.0


def test_no_more_hosts_are_visited_at_once_than_forks(host: Host) -> None:
    host.does("time.sleep(1)")
    names = ("a", "b", "c")
    began = time.monotonic()
    assert len(visit(host, Bounds(1, 1.0, 20.0), names=names)) == 3
    assert time.monotonic() - began > 3.0


def test_hosts_whose_turn_does_not_come_in_time_were_not_attempted(host: Host) -> None:
    host.does("time.sleep(60)")
    made = visit(host, Bounds(1, 1.0, 2.0), names=("a", "b", "c"))
    assert sorted(report.state for report in made) == [State.NOT_ATTEMPTED, State.NOT_ATTEMPTED, State.TIMEOUT]


@pytest.mark.covers("sec:A11", "sec:via-ssh")
def test_a_host_whose_key_is_not_known_is_never_spoken_to(host: Host) -> None:
    host.does(f"open({str(host.folder / 'spoken')!r}, 'w')")
    (host.folder / "nobody").write_text("")
    before = host.server.log.read_text().count("Accepted publickey")
    (report,) = visit(host, known=host.folder / "nobody")
    assert report.state == State.UNREACHABLE
    assert report.cause.startswith(f"the key of [127.0.0.1]:{host.server.port} is in no ")
    assert host.server.log.read_text().count("Accepted publickey") == before, "no login was tried"
    assert not (host.folder / "spoken").exists()


def test_a_host_where_nothing_listens_is_unreachable_with_sshs_cause(host: Host) -> None:
    port = free_port()
    gone = Host(Sshd("127.0.0.1", port, host.server.host_keys, host.folder, 0, host.folder), host.folder)
    (report,) = visit(gone)
    assert (report.state, report.cause) == (State.UNREACHABLE, f"nothing listens at 127.0.0.1 port {port}")


def test_a_host_without_python_says_so(host: Host) -> None:
    host.runs(None)
    (report,) = visit(host, python="python3.0")
    assert report.state == State.FAILED
    assert "python3.0" in report.cause
    assert report.cause.endswith("the agent needs Python 3.11 or newer (ansible_python_interpreter)")


def test_a_host_with_an_old_python_is_told_which_and_sent_nothing(host: Host) -> None:
    host.does(met({**FACTS, "python": "3.9.2"}))
    (report,) = visit(host, pack=lambda _: pytest.fail("was packed for"))
    assert report.cause == "Python 3.9.2 is there: the agent needs 3.11 or newer (ansible_python_interpreter)"


def test_a_host_for_which_this_desk_has_no_bundle_was_not_attempted(host: Host) -> None:
    def pack(there: There) -> Parcel:
        raise LocalTrouble(f"no bundle for Python {there.python}")

    host.does(met())
    (report,) = visit(host, pack=pack)
    assert (report.state, report.cause) == (State.NOT_ATTEMPTED, "no bundle for Python 3.11.2")
