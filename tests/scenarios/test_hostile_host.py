"""A host with hostile users on it, and an agent whose own parts are killed: it harms nobody, and goes on."""

import contextlib
import os
import pwd
import shlex
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from agent import procfs
from agent.recorder import Recorder
from fleetmedic.v1.agent_pb2 import CheckRequest, DescribeRequest
from fleetmedic.v1.finding_pb2 import STATUS_OK
from fleetmedic.v1.local_pb2 import LocalRequest, LocalResponse
from fleetmedic.v1.snapshot_pb2 import Target
from tests.lab import agents, child, fixtures, postgres
from tests.lab import redis as servers
from tests.lab.agents import BIN, Desk, Fleet
from tests.lab.waiting import until
from tests.lab.worker_calls import ask

NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
IMPOSTOR = """
import ctypes, sys, time
ctypes.CDLL(None).prctl(15, sys.argv[1].encode())
exec(sys.argv[2])
time.sleep(60)
"""


@contextlib.contextmanager
def impostor(name: str, code: str, *more: str) -> Iterator[None]:
    """A process of nobody's that calls itself by a server's name."""
    command = [*AS_NOBODY, sys.executable, "-c", IMPOSTOR, name, code, *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
        process.kill()


@pytest.mark.covers("sec:hostile-host")
def test_a_process_that_calls_itself_dockerd_does_not_say_where_the_engine_is(desk: Desk, folder: Path) -> None:
    fixtures.need(root=True)
    folder.chmod(0o777)
    code = f"import socket; s = socket.socket(socket.AF_UNIX); s.bind('{folder}/evil'); s.listen()"
    code += "; print('ready', flush=True)"
    with impostor("dockerd", code, f"-H unix://{folder}/evil"):
        done = desk.check("--show", "all")

    assert "evil" not in done.out


@pytest.mark.covers("sec:hostile-host")
def test_a_process_that_calls_itself_redis_and_answers_without_end_costs_no_memory(desk: Desk) -> None:
    fixtures.need(root=True)
    code = """
import socket, threading
s = socket.create_server(("127.0.0.1", 6411))
print("ready", flush=True)
def feed(c):
    c.sendall(b"$8000000000\\r\\n")
    while True:
        c.sendall(b"x" * 1048576)
while True:
    threading.Thread(target=feed, args=(s.accept()[0],), daemon=True).start()
"""
    largest = [0]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            sizes = [
                procfs.resident_bytes(process.pid)
                for process in procfs.processes()
                if process.name.startswith("python")
            ]
            largest[0] = max([*largest, *sizes])

    watcher = threading.Thread(target=watch, daemon=True)
    with impostor("redis-server", code):
        watcher.start()
        done = desk.check("--include", "REDIS-UP", "--format", "json")
        stop.set()
        watcher.join()

    found = [item for item in done.json()["reports"][0]["findings"] if item["name"] == "127.0.0.1:6411"]
    assert [item["status"] for item in found] in (["crit"], ["error"])
    assert largest[0] < 700 * 2**20


@pytest.mark.covers("sec:hostile-host")
def test_a_link_in_a_process_s_root_is_followed_inside_that_root(folder: Path) -> None:
    (folder / "link").symlink_to("/etc/hostname")
    (folder / "up").symlink_to("../../../../../../etc")

    own = f"/proc/{os.getpid()}/root"
    assert procfs.inside(os.getpid(), str(folder / "link")) == f"{own}/etc/hostname"
    assert procfs.inside(os.getpid(), str(folder / "up" / "hostname")) == f"{own}/etc/hostname"
    (folder / "circle").symlink_to(folder / "circle")
    with pytest.raises(FileNotFoundError):
        procfs.inside(os.getpid(), str(folder / "circle"))


class Redirecting(BaseHTTPRequestHandler):
    """Answers with a redirect to the port it is told."""

    seen: list[str] = []  # noqa: RUF012 - of the class on purpose
    to = 0

    def do_GET(self) -> None:
        type(self).seen.append(self.path)
        self.send_response(302 if self.to else 200)
        if self.to:
            self.send_header("Location", f"http://127.0.0.1:{self.to}/secret")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.covers("sec:probe_allow")
def test_a_redirect_does_not_lead_past_probe_allow(site: Fleet) -> None:
    class Inner(Redirecting):
        seen: list[str] = []

    inner = HTTPServer(("127.0.0.1", 0), Inner)

    class Outer(Redirecting):
        seen: list[str] = []
        to = inner.server_port

    outer = HTTPServer(("127.0.0.1", 0), Outer)
    for server in (inner, outer):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    asked = agents.asking(site, fleetmedic_http={"x": f"http://127.0.0.1:{outer.server_port}/"})

    found = asked.findings("--include", "HTTP-HEALTH")

    for server in (inner, outer):
        server.shutdown()
        server.server_close()
    assert Outer.seen == ["/"]
    assert Inner.seen == []
    assert "redirects to" in found[0]["summary"]


@pytest.mark.covers("sec:two-users")
def test_worker_and_front_of_different_users_find_each_other_by_the_same_configuration(
    desk: Desk, folder: Path
) -> None:
    fixtures.need(root=True)
    issued = desk.run("pki", "issue", "agent", "prod01", "--dir", desk.pki, "--out", folder / "tls")
    assert issued.code == 0, issued.err
    for file in (folder / "tls").iterdir():
        os.chown(file, NOBODY, NOBODY)
    os.chown(folder / "tls", NOBODY, NOBODY)
    file = folder / "agent.toml"
    operators = folder / "operator-ca.crt"
    operators.write_bytes((desk.pki / "operator-ca.crt").read_bytes())
    file.write_text(
        f'name = "prod01"\nfront_user = "nobody"\nlisten = "127.0.0.1:7490"\n[tls]\n'
        f'certificate = "{folder}/tls/prod01.crt"\n'
        f'key = "{folder}/tls/prod01.key"\nclient_ca = "{operators}"\n'
    )
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/var/lib"], check=True)
    try:
        with (
            child.run(
                [BIN / "fleetmedic-agent", "work", "--config", file],
                log=folder / "work.log",
                ready=lambda _: Path("/run/fleetmedic/worker.sock").exists(),
            ),
            child.run(
                [*AS_NOBODY, BIN / "fleetmedic-agent", "serve", "--config", file],
                log=folder / "serve.log",
                ready=lambda front: "serving" in front.said(),
                environment={"PATH": os.defpath, "HOME": "/nonexistent"},
            ),
        ):
            inventory = folder / "i.yml"
            inventory.write_text("all: {hosts: {prod01: {fleetmedic_address: 127.0.0.1, fleetmedic_port: 7490}}}\n")
            done = desk.check("-i", inventory, "--include", "HOST-MEM", "--show", "all")
    finally:
        subprocess.run(["umount", "/var/lib"], check=True)

    assert done.code == 0, done.out + done.err
    assert "OK prod01 HOST-MEM" in done.out


@pytest.mark.covers("sec:killed")
def test_a_worker_that_is_killed_takes_its_residents_with_it(desk: Desk, folder: Path) -> None:
    fixtures.need(root=True)
    with postgres.run(folder / "p", port=5461), agents.run(desk, "killed", port=7491) as agent:
        run = agent.folder / "run"
        until("a resident that answers", lambda: list(run.glob("postgres-*.sock")))
        with agents.fleet(desk, [agent]) as fleet:
            # Logged in as the server's own user, by which the kernel forgets whose child it is.
            found = [item for item in fleet.findings("--include", "PG-UP") if item["name"] == str(folder / "p")]
        forked = child.descendants(agent.worker)
        os.kill(agent.worker, signal.SIGKILL)
        until("all are gone", lambda: [pid for pid in forked if child.state(pid) not in ("", "Z")] == [])

    assert [item["status"] for item in found] == ["ok"]
    assert forked


@pytest.mark.covers("sec:killed")
def test_a_second_worker_on_one_run_folder_is_refused_and_the_first_goes_on(desk: Desk) -> None:
    with agents.run(desk, "first", port=7492) as agent, agents.fleet(desk, [agent]) as fleet:
        second = subprocess.run(
            [BIN / "fleetmedic-agent", "work", "--config", agent.folder / "agent.toml"],
            env=desk.environment,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        after = fleet.check("--include", "HOST-MEM")

    assert second.returncode == 71
    assert "another worker has this run folder" in second.stderr
    assert after.code == 0


@pytest.mark.covers("chk:gone")
def test_a_server_that_was_at_home_here_and_is_gone_is_critical(desk: Desk) -> None:
    with agents.run(desk, "gone01", port=7493) as agent, agents.fleet(desk, [agent]) as fleet:
        now = time.time()
        server = Target(probe="postgres", service="ledger", name="/run/ledger")
        recorder = Recorder(agent.folder / "state")
        recorder.remember([server], now - 7200)
        recorder.remember([server], now - 60)
        recorder.remember([Target(probe="redis", service="brief", name="127.0.0.1:1")], now - 60)
        found = fleet.findings("--include", "PG-*", "--include", "REDIS-*")

    gone = {item["id"]: item for item in found if item["service"] == "ledger"}
    assert gone["PG-UP"]["status"] == "crit"
    assert "was here until" in gone["PG-UP"]["summary"]
    assert gone["PG-LOCK-ROOT"]["status"] == "skipped"
    assert [item for item in found if item["service"] == "brief"] == []


@pytest.mark.covers("sec:R6")
def test_an_agent_whose_run_folder_is_full_still_looks(desk: Desk) -> None:
    fixtures.need(root=True)
    with agents.run(desk, "tight", port=7494) as agent, agents.fleet(desk, [agent]) as fleet:
        jobs = agent.folder / "run" / "jobs"
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1", "tight", jobs], check=True)
        try:
            found = fleet.findings("--include", "HOST-MEM", "--include", "HOST-DISK-SPACE")
        finally:
            subprocess.run(["umount", jobs], check=True)

    assert {item["status"] for item in found} == {"ok"}


@pytest.mark.covers("sec:out-of-time")
def test_a_check_with_too_little_time_calls_nothing_critical(desk: Desk, folder: Path) -> None:
    with postgres.run(folder / "p", port=5462), contextlib.closing(socket.create_server(("127.0.0.1", 6412))):
        done = desk.check("--deadline", "250ms", "--include", "*-UP", "--format", "json")

    report = done.json()["reports"][0]
    assert [item["summary"] for item in report["findings"] if item["status"] == "crit"] == []


@pytest.mark.covers("sec:cancelled")
def test_checks_whose_callers_hang_up_give_their_slots_back(desk: Desk, folder: Path) -> None:
    """Each would take 3 s at a server that says nothing; twenty are cut off, and the next one is served."""
    config = '\n[[redis]]\nhost = "127.0.0.1"\nport = 6413\n'
    with (
        contextlib.closing(socket.create_server(("127.0.0.1", 6413))),
        agents.run(desk, "busy", port=7495, top="discover = false", config=config) as agent,
        agents.fleet(desk, [agent]) as fleet,
    ):
        words = [str(BIN / "fleetmedic"), "check", "-i", str(fleet.inventory)]
        for _ in range(12):
            asking = subprocess.Popen(words, env=desk.environment, stdout=subprocess.DEVNULL, cwd=folder)
            time.sleep(0.5)
            asking.kill()
            asking.wait()
        done = fleet.check("--include", "HOST-MEM")

    assert done.code == 0, done.out


FAKE_REDIS = """
import ctypes, socket, sys
ctypes.CDLL(None).prctl(15, b"redis-server")
s = socket.create_server(("0.0.0.0", 6412))
print("ready", flush=True)
while True:
    c = s.accept()[0]
    c.settimeout(1)
    try:
        while data := c.recv(4096):
            sys.stdout.write(repr(data) + "\\n")
            sys.stdout.flush()
            c.sendall(b"+OK\\r\\n")
    except OSError:
        pass
"""


@pytest.mark.covers("sec:hostile-host")
def test_a_server_in_a_network_of_its_own_gets_no_password_of_one_at_the_same_address(desk: Desk, folder: Path) -> None:
    fixtures.need(root=True)
    password = folder / "password"
    password.write_text("hunter2Canary\n")
    password.chmod(0o600)
    config = f'\n[[redis]]\nhost = "127.0.0.1"\nport = 6412\npassword_file = "{password}"\n'
    shell = "ip link set lo up; exec " + shlex.join([sys.executable, "-c", FAKE_REDIS])
    command = [*AS_NOBODY, "unshare", "-rn", "sh", "-c", shell]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as fake:
        assert fake.stdout is not None
        assert fake.stdout.readline() == b"ready\n"
        with agents.run(desk, "guarded", port=7467, config=config) as agent, agents.fleet(desk, [agent]) as fleet:
            found = fleet.findings("--include", "REDIS-UP")
        fake.kill()
        heard = fake.stdout.read()

    assert b"PING" in heard, "it was asked"
    assert b"hunter2Canary" not in heard
    named = next(item for item in found if item["name"] == "127.0.0.1:6412" and item["status"] == "crit")
    assert "refused" in named["summary"], "the real one is down, and says so"


@pytest.mark.covers("sec:hostile-host", "chk:discovery")
def test_a_process_with_an_impossible_root_hides_nothing_else(desk: Desk, folder: Path) -> None:
    fixtures.need(root=True)
    folder.chmod(0o777)
    code = f"""
import os, socket
s = socket.socket(socket.AF_UNIX); s.bind("{folder}/circle"); s.listen()
os.unlink("{folder}/circle"); os.symlink("{folder}/circle", "{folder}/circle")
print("ready", flush=True)
"""
    shell = shlex.join([sys.executable, "-c", IMPOSTOR, "redis-server", code])
    command = [*AS_NOBODY, "unshare", "-rm", "sh", "-c", f"exec {shell}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        found = desk.check("--format", "json").json()["reports"][0]["findings"]
        process.kill()

    said = {(item["id"], item["status"]) for item in found}
    assert {("HOST-MEM", "ok"), ("HOST-DISK-SPACE", "ok")} <= said
    blind = [item for item in found if item["id"] == "REDIS-UP" and str(process.pid) in item["name"]]
    assert ["can't be looked into" in item["summary"] for item in blind] == [True]


@pytest.mark.covers("chk:needs-root", "exp:local")
def test_whoever_is_not_the_agents_user_can_check_with_folders_of_their_own(folder: Path) -> None:
    fixtures.need(root=True)
    for name, mode in (("home", 0o755), ("agent", 0o700)):
        (folder / name).mkdir(mode=mode)
    os.chown(folder / "home", NOBODY, NOBODY)
    password = folder / "password"
    password.write_text("hunter2Canary\n")
    password.chmod(0o600)
    file = folder / "agent.toml"
    redis = f'\n[[redis]]\nhost = "127.0.0.1"\nport = 6413\npassword_file = "{password}"\n'
    file.write_text(f'state = "{folder}/agent/state"\nrun = "{folder}/agent"\nfront_user = "nobody"\n{redis}')
    file.chmod(0o644)
    request = LocalRequest(check=CheckRequest())
    body = request.SerializeToString()
    with servers.run(folder / "r", port=6413, settings={"requirepass": "hunter2Canary"}):
        done = subprocess.run(
            [*AS_NOBODY, BIN / "fleetmedic-agent", "check", "--stdio", "--config", file],
            env={"PATH": os.defpath, "HOME": str(folder / "home"), "LANG": "C.UTF-8"},
            input=struct.pack(">I", len(body)) + body,
            capture_output=True,
            check=False,
        )

    assert (done.returncode, done.stderr) == (0, b"")
    answer = LocalResponse.FromString(done.stdout[4:]).check
    found = {item.id: item for item in answer.findings if item.subject.name in ("memory", "127.0.0.1:6413")}
    assert found["HOST-MEM"].status == STATUS_OK
    assert found["REDIS-UP"].reason == "needs root"


CROWD = """
import socket, sys
while True:
    try:
        socket.socket(socket.AF_UNIX).connect(sys.argv[1])
    except OSError:
        pass
"""
CALL = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


@pytest.mark.covers("sec:hanging")
def test_nobody_but_the_front_s_group_can_knock_at_the_worker_and_so_nobody_keeps_it_full(folder: Path) -> None:
    fixtures.need(root=True)
    file, run = folder / "agent.toml", folder / "run"
    (folder / "home").mkdir()
    os.chown(folder / "home", NOBODY, NOBODY)
    file.write_text(f'state = "{folder}/state"\nrun = "{run}"\nfront_user = "daemon"\n')
    file.chmod(0o644)
    as_daemon = ["setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups"]
    body = LocalRequest(check=CheckRequest(include=["HOST-MEM"])).SerializeToString()
    with (
        child.run(
            [BIN / "fleetmedic-agent", "work", "--config", file],
            log=folder / "work.log",
            ready=lambda _: (run / "worker.sock").exists(),
        ),
        contextlib.ExitStack() as crowd,
    ):
        about = (run / "worker.sock").stat()
        assert (about.st_uid, about.st_gid, oct(about.st_mode & 0o777)) == (0, pwd.getpwnam("daemon").pw_gid, "0o660")
        for _ in range(2):
            knocking = subprocess.Popen([*AS_NOBODY, sys.executable, "-c", CROWD, run / "worker.sock"])
            crowd.callback(knocking.wait)
            crowd.callback(knocking.kill)
        assert [len(ask(run, LocalRequest(describe=DescribeRequest()))) for _ in range(30)] == [1] * 30
        knock = [sys.executable, "-c", CALL, str(run / "worker.sock")]
        ended = [subprocess.run([*who, *knock], capture_output=True, check=False) for who in (as_daemon, AS_NOBODY)]
        assert [done.returncode for done in ended] == [0, 1]
        assert b"PermissionError" in ended[1].stderr
        # Who may not ask it looks for himself.
        own = subprocess.run(
            [*AS_NOBODY, BIN / "fleetmedic-agent", "check", "--stdio", "--config", file],
            env={"PATH": os.defpath, "HOME": str(folder / "home"), "LANG": "C.UTF-8"},
            input=struct.pack(">I", len(body)) + body,
            capture_output=True,
            check=False,
        )
    assert LocalResponse.FromString(own.stdout[4:]).check.findings[0].id == "HOST-MEM"
