"""The engine's client against a real HTTP server on a UNIX socket: GET alone, and every bad answer an error."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent import probes
from agent.config import Config
from agent.engine import Engine, EngineError
from agent.jobs import Crew, Work
from agent.probes import docker
from fleetmedic.v1.snapshot_pb2 import FAILURE_KIND_TIMEOUT, DockerSnapshot, Snapshot, Target
from tests.agent.rules.judged import one, statuses

JSON = "application/json"
Reply = Callable[[socket.socket], None]


@dataclass
class Stub:
    """A server: the first line of each request it was sent, and where it listens."""

    path: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def stub(folder: Path, *replies: Reply) -> Iterator[Stub]:
    """Serve connections one after another, each with its reply, the last one for all that follow."""
    listener = socket.socket(socket.AF_UNIX)
    made = Stub(str(folder / "s"))
    listener.bind(made.path)
    listener.listen()

    def serve() -> None:
        number = 0
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            with connection:
                made.asked.append(connection.recv(65536).decode().partition("\r\n")[0])
                with suppress(OSError):
                    replies[min(number, len(replies) - 1)](connection)
            number += 1

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield made
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def says(body: str, status: str = "200 OK", kind: str = JSON) -> Reply:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return lambda connection: connection.sendall((head + body).encode())


def raw(data: bytes) -> Reply:
    return lambda connection: connection.sendall(data)


def test_every_call_is_a_get_of_a_path_that_a_hostile_id_cannot_leave(tmp_path: Path) -> None:
    with stub(tmp_path, says("OK", kind="text/plain"), says("{}"), says("{}"), says("[]"), says("{}")) as served:
        engine = Engine(served.path, 2.0)
        engine.ping()
        assert engine.version() == engine.info() == {}
        assert engine.containers() == []
        engine.inspect("../../containers/x/kill?a=b\r\nPOST /y")
        engine.log("x/../y", 1700000000, 10, 100)
    assert served.asked == [
        "GET /_ping HTTP/1.1",
        "GET /version HTTP/1.1",
        "GET /info HTTP/1.1",
        "GET /containers/json?all=1 HTTP/1.1",
        "GET /containers/..%2F..%2Fcontainers%2Fx%2Fkill%3Fa%3Db%0D%0APOST%20%2Fy/json HTTP/1.1",
        "GET /containers/x%2F..%2Fy/logs?stdout=1&stderr=1&since=1700000000&tail=10&timestamps=0 HTTP/1.1",
    ]


def test_the_client_has_no_way_to_send_anything_else() -> None:
    public = [name for name in vars(Engine) if not name.startswith("_")]
    assert sorted(public) == [
        "containers",
        "get",
        "info",
        "inspect",
        "log",
        "ping",
        "socket_path",
        "timeout",
        "version",
    ]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (says("no such container", "404 Not Found"), "404 Not Found"),
        (says("{}", "500 Internal Server Error"), "500 Internal Server Error"),
        (says("{}", "301 Moved"), "301 Moved"),
        (says("not json"), "the answer is no JSON"),
        (says("[1, 2]"), "the answer is not an object"),
        (says("null"), "the answer is not an object"),
        (says("text", kind="text/plain"), "the answer is not an object"),
        (raw(b"garbage\r\n\r\n"), "no HTTP answer: BadStatusLine"),
        (raw(b""), "no HTTP answer|Remote end closed"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), "no HTTP answer: IncompleteRead"),
    ],
)
def test_a_bad_answer_is_an_engine_error(tmp_path: Path, reply: Reply, said: str) -> None:
    with stub(tmp_path, reply) as served, pytest.raises((EngineError, ConnectionError), match=said):
        Engine(served.path, 2.0).version()


def test_rows_that_are_no_objects_are_an_engine_error(tmp_path: Path) -> None:
    for number, body in enumerate(('{"a": 1}', '["x"]')):
        folder = tmp_path / str(number)
        folder.mkdir()
        with stub(folder, says(body)) as served, pytest.raises(EngineError, match="the answer is not a"):
            Engine(served.path, 2.0).containers()


def test_silence_is_a_timeout_and_no_server_a_refusal(tmp_path: Path) -> None:
    with stub(tmp_path, lambda connection: time.sleep(0.5)) as served, pytest.raises(TimeoutError):
        Engine(served.path, 0.1).ping()
    with pytest.raises(FileNotFoundError):
        Engine(str(tmp_path / "none"), 0.1).ping()


def trickle(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(200):
        connection.sendall(b" ")
        time.sleep(0.02)


def test_an_answer_that_trickles_is_bounded_by_the_job_s_budget(tmp_path: Path) -> None:
    config = Config(None, "h", tmp_path, tmp_path)
    with stub(tmp_path, trickle) as served:
        target = Target(probe="docker", name="engine", socket=served.path)
        work = probes.work(target, config)
        crew = Crew(tmp_path)
        crew.add([Work(work.target, work.run, 0.5)])
        began = time.monotonic()
        (made,) = crew.finished(began + 10)
        assert time.monotonic() - began < 1.5
    assert made.failure.kind == FAILURE_KIND_TIMEOUT


def test_a_container_that_the_engine_can_not_inspect_is_broken_and_one_that_is_removed_is_not(tmp_path: Path) -> None:
    rows = [{"Id": "a", "Names": ["/orders"], "State": "dead"}, {"Id": "b", "Names": ["/gone"], "State": "running"}]
    with stub(
        tmp_path,
        says(json.dumps(rows)),
        says("{}", status="500 RWLayer of container a is unexpectedly nil"),
        says("{}", status="404 No such container"),
    ) as served:
        made = DockerSnapshot()
        docker.read_containers(Engine(served.path, 5.0), made)

    assert [item.name for item in made.containers] == ["orders"]
    target = Target(probe="docker", service="docker", name="engine")
    found = one("DOCKER-EXIT-CLASS", Snapshot(target=target, docker=made))
    assert statuses([found]) == ["crit"]
    assert "can't inspect it: 500" in found.summary
