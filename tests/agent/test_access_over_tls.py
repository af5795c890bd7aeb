"""The front over real mutual TLS: who is let in, who may call what, and what a hostile caller gets (security.md 4)."""

import contextlib
import datetime
import gzip
import itertools
import random
import re
import resource
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError
from grpc_health.v1 import health

from agent.config import Config
from agent.front import policy, server
from agent.front.policy import HEALTH, POLICY, SERVICE, Role
from agent.toml_reader import ConfigError
from fleetmedic.v1.agent_pb2 import (
    CheckRequest,
    CheckResponse,
    DescribeRequest,
    DescribeResponse,
    WatchRequest,
    WatchResponse,
)
from fleetmedic.v1.agent_pb2_grpc import AgentServiceServicer, AgentServiceStub
from fleetmedic.v1.local_pb2 import LocalRequest, LocalResponse
from tests.agent import front
from tests.agent.front import Front, operator, organisation
from tests.lab import child, h2_client
from tests.lab.authority import CLIENT, DAY, MINUTE, SERVER, Authority, Files

DESCRIBE = f"/{SERVICE.full_name}/Describe"
HELD = DescribeRequest()
# What is well formed, and yet not what the agent can act on.
MEANT = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION}
SECONDS = 5.0
# What an empty request comes to where its caller may make it; all others are answered.
EMPTY = {f"/{SERVICE.full_name}/SetDenylist": grpc.StatusCode.INVALID_ARGUMENT}
STREAMS = {f"/{SERVICE.full_name}/{method.name}" for method in SERVICE.methods if method.server_streaming}
PATHS = [
    "/fleetmedic.v1.AgentService/describe",
    "/fleetmedic.v1.AgentService/Describe/",
    "/fleetmedic.v1.AgentService//Describe",
    "/fleetmedic.v1.AgentService/../AgentService/Describe",
    "/fleetmedic.v1.AgentService/",
    "/fleetmedic.v1.agentservice/Describe",
    "/fleetmedic.v1.AgentService/Describe%00",
    "/fleetmedic.v1.AgentService/Describe?x=1",
    "/AgentService/Describe",
    "//Describe",
    "/",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/grpc.channelz.v1.Channelz/GetServers",
    "/fleetmedic.v2.AgentService/Describe",
]


def utc() -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(time.time()), datetime.UTC)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Run one front for the module."""
    with front.run(tmp_path_factory.mktemp("front"), utc(), utc=utc) as running:
        yield running


@pytest.fixture(scope="module")
def observer(served: Front) -> Iterator[grpc.Channel]:
    """Open a channel with an observer's certificate."""
    with served.channel(operator(served.operators, "observer")) as channel:
        yield channel


def code(
    channel: grpc.Channel,
    path: str,
    body: bytes = b"",
    *,
    timeout: float | None = SECONDS,
    metadata: tuple[tuple[str, str], ...] = (),
) -> grpc.StatusCode:
    """The status of one call, sent as bytes; streams are read as far as their first message."""
    try:
        if path in STREAMS or path.endswith("Health/Watch"):
            call = _stream(channel, path)(body, timeout=timeout, metadata=metadata)
            next(call, None)
            call.cancel()
        else:
            _unary(channel, path)(body, timeout=timeout, metadata=metadata)
    except grpc.RpcError as error:
        found: grpc.StatusCode = error.code()
        return found
    return grpc.StatusCode.OK


def _unary(channel: grpc.Channel, path: str) -> "grpc.UnaryUnaryMultiCallable[bytes, bytes]":
    return channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)


def _stream(channel: grpc.Channel, path: str) -> "grpc.UnaryStreamMultiCallable[bytes, bytes]":
    return channel.unary_stream(path, request_serializer=bytes, response_deserializer=bytes)


def expected(path: str, role: Role) -> grpc.StatusCode:
    if role < POLICY[path].role:
        return grpc.StatusCode.PERMISSION_DENIED
    if path == f"/{HEALTH}/List" and "List" not in vars(health.HealthServicer):
        # Younger releases of grpcio-health-checking have it.
        return grpc.StatusCode.UNIMPLEMENTED
    if path.startswith(f"/{HEALTH}/"):
        return grpc.StatusCode.OK
    return EMPTY.get(path, grpc.StatusCode.OK)


@pytest.mark.covers("sec:A1")
@pytest.mark.parametrize("role", Role)
def test_every_method_answers_each_role_as_the_policy_says_and_no_other_path_answers(served: Front, role: Role) -> None:
    with served.channel(operator(served.operators, role.name.lower())) as channel:
        said = {path: code(channel, path) for path in POLICY}
        odd = {path: code(channel, path) for path in PATHS}
    assert said == {path: expected(path, role) for path in POLICY}
    assert set(odd.values()) <= {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN}, odd


@pytest.mark.covers("sec:A1")
def test_a_method_without_a_policy_stops_the_agent_at_its_start() -> None:
    with pytest.raises(ValueError, match="without a policy: .*/x/New"):
        policy.check_policy(policy.methods() | {"/x/New"})
    with pytest.raises(ValueError, match="policies without a method: .*Describe"):
        policy.check_policy(policy.methods() - {f"/{SERVICE.full_name}/Describe"})


def strangers(served: Front) -> dict[str, Files | None]:
    """Certificates that the handshake must not let in."""
    now, own = served.now, served.operators
    leaf = operator(own, "admin", "mallory")
    below = Authority(leaf, now)
    made = {
        "wrong authority": operator(organisation(now), "admin"),
        "expired": operator(own, "admin", begins=-2 * DAY, ends=-DAY),
        "of the future": operator(own, "admin", begins=DAY, ends=2 * DAY),
        "for servers": operator(own, "admin", usages=(SERVER,)),
        "signed by a leaf": operator(below, "admin"),
    }
    files: dict[str, Files | None] = {
        name: issued.write(served.folder, name.replace(" ", "-")) for name, issued in made.items()
    }
    return {"none": None, **files}


@pytest.mark.covers("sec:A2")
@pytest.mark.parametrize(
    "kind", ["none", "wrong authority", "expired", "of the future", "for servers", "signed by a leaf"]
)
def test_a_stranger_gets_no_connection_and_no_handler_runs(served: Front, kind: str) -> None:
    before = len(served.asked())
    with served.channel(strangers(served)[kind]) as channel:
        assert code(channel, f"/{SERVICE.full_name}/Describe", timeout=2.0) == grpc.StatusCode.UNAVAILABLE
        assert code(channel, f"/{HEALTH}/Check", timeout=2.0) == grpc.StatusCode.UNAVAILABLE
    assert len(served.asked()) == before


@pytest.mark.covers("sec:A4")
def test_a_live_connection_is_refused_from_the_moment_its_certificate_ends(tmp_path: Path) -> None:
    now = utc()
    clock = [now]
    with front.run(tmp_path, now, utc=lambda: clock[0]) as running:
        with running.channel(operator(running.operators, "observer", ends=10 * MINUTE)) as channel:
            stub = AgentServiceStub(channel)
            stub.Describe(HELD, timeout=SECONDS)
            clock[0] = now + 10 * MINUTE - datetime.timedelta(seconds=1)
            stub.Describe(HELD, timeout=SECONDS)
            asked = len(running.asked())
            clock[0] = now + 10 * MINUTE
            for path in (f"/{SERVICE.full_name}/Describe", f"/{SERVICE.full_name}/Check", f"/{HEALTH}/Check"):
                assert code(channel, path) == grpc.StatusCode.UNAUTHENTICATED
        assert len(running.asked()) == asked == 2


@pytest.mark.covers("sec:A6")
def test_a_role_in_the_metadata_changes_nothing(observer: grpc.Channel) -> None:
    claims = (("role", "admin"), ("x-role", "admin"), ("authorization", "Bearer admin"))
    path = f"/{SERVICE.full_name}/SetDenylist"
    assert code(observer, path, metadata=claims) == grpc.StatusCode.PERMISSION_DENIED
    answer = AgentServiceStub(observer).Describe(HELD, timeout=SECONDS, metadata=claims)
    assert answer.role == "observer"


@pytest.mark.covers("sec:A6")
def test_an_agent_s_certificate_is_no_client_s(served: Front) -> None:
    with served.channel(served.agent) as channel:
        assert code(channel, f"/{SERVICE.full_name}/Describe", timeout=2.0) == grpc.StatusCode.UNAVAILABLE
    both = served.operators.issue(front.NAME, dns=[front.NAME], usages=(SERVER, CLIENT))
    with served.channel(both) as channel:
        assert code(channel, f"/{SERVICE.full_name}/Describe") == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.covers("sec:A9")
def test_a_client_of_tls_1_2_is_refused(served: Front) -> None:
    files = operator(served.operators, "admin").write(served.folder, "old")
    said = {}
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        settings = h2_client.context(files, served.agent, version)
        with h2_client.connected(served.port, settings, front.NAME) as client:
            said[version] = client.call(DESCRIBE)
    old, new = said.values()
    assert (old.code, old.details) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "a client certificate over TLS 1.3 is needed",
    )
    assert not old.body
    assert new.code == grpc.StatusCode.OK
    assert new.body


@pytest.mark.covers("sec:A9")
def test_a_client_without_tls_gets_no_answer(served: Front) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=SECONDS) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        try:
            said = b"".join(iter(lambda: plain.recv(4096), b""))
        except ConnectionResetError:
            said = b""
    assert b"\0\0\0\4" not in said[:9]
    assert len(said) < 32


@pytest.mark.covers("sec:A9")
def test_a_port_that_is_taken_is_refused_in_one_line(served: Front, tmp_path: Path) -> None:
    config = Config(tmp_path / "agent.toml", "x", tmp_path, tmp_path, listen=f"127.0.0.1:{served.port}")
    pair = (served.agent.key.read_bytes(), served.agent.certificate.read_bytes())
    credentials = grpc.ssl_server_credentials([pair], served.agent.root.read_bytes(), require_client_auth=True)
    service: Any = Failing()  # type: ignore[abstract]
    with pytest.raises(ConfigError, match=rf"listen: 127.0.0.1:{served.port} can't be bound"):
        server.listening(config, service, served.guard, credentials)


@pytest.mark.covers("sec:B1")
@pytest.mark.parametrize("method", [method.name for method in SERVICE.methods])
def test_random_bytes_are_an_invalid_argument_and_the_agent_lives_on(served: Front, method: str) -> None:
    """200 for each method over the wire; test_access.py has 10,000 for each in the handler itself."""
    dice = random.Random(method)
    path = f"/{SERVICE.full_name}/{method}"
    kind = getattr(__import__("fleetmedic.v1.agent_pb2", fromlist=["x"]), f"{method}Request")
    with served.channel(operator(served.operators, "admin")) as channel:
        for _ in range(200):
            body = dice.randbytes(dice.randrange(1, 60))
            said = code(channel, path, body)
            if _parses(kind, body):
                assert said in {*EMPTY.values(), grpc.StatusCode.OK, *MEANT}
            else:
                assert said == grpc.StatusCode.INVALID_ARGUMENT
        assert code(channel, f"/{SERVICE.full_name}/Describe") == grpc.StatusCode.OK


def _parses(kind: type[DescribeRequest], body: bytes) -> bool:
    try:
        kind().ParseFromString(body)
    except DecodeError:
        return False
    return True


PROGRAM = Path(sys.executable).parent / "fleetmedic-agent"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, grpc.Channel]]:
    """Run the installed front without a worker: its pid, and an observer's channel to it."""
    folder = tmp_path_factory.mktemp("program")
    now = utc()
    operators = organisation(now)
    files = organisation(now, "agents").issue(front.NAME, dns=[front.NAME]).write(folder, front.NAME)
    client = operator(operators, "observer").write(folder, "alice")
    config = folder / "agent.toml"
    config.write_text(
        f'name = "{front.NAME}"\nlisten = "127.0.0.1:0"\nstate = "{folder}/state"\nrun = "{folder}/run"\n'
        f'[tls]\ncertificate = "{files.certificate}"\nkey = "{files.key}"\nclient_ca = "{client.root}"\n'
    )
    ready = re.compile(r"serving on port (\d+)")
    with child.run(
        [PROGRAM, "serve", "--config", config],
        log=folder / "front.log",
        ready=lambda started: bool(ready.search(started.said())),
    ) as running:
        found = ready.search(running.said())
        assert found is not None
        credentials = grpc.ssl_channel_credentials(
            files.root.read_bytes(), client.key.read_bytes(), client.certificate.read_bytes()
        )
        options = [("grpc.ssl_target_name_override", front.NAME), ("grpc.max_send_message_length", -1)]
        with grpc.secure_channel(f"127.0.0.1:{found[1]}", credentials, options) as channel:
            yield running.pid, channel
        assert running.alive(), running.tail()


TEN_MB = 10 << 20


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def test_the_installed_front_says_why_it_knows_no_rules_without_its_worker(program: tuple[int, grpc.Channel]) -> None:
    stub = AgentServiceStub(program[1])
    described = stub.Describe(HELD, timeout=SECONDS)
    assert described.worker_error == "the agent's worker is away: No such file or directory"
    assert (described.agent.name, list(described.methods), described.role) == (
        front.NAME,
        [method.name for method in SERVICE.methods],
        "observer",
    )
    with pytest.raises(grpc.RpcError, match="worker is away") as caught:
        list(stub.Check(CheckRequest(), timeout=SECONDS))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.covers("sec:B2")
def test_an_oversize_request_is_refused_without_growth(program: tuple[int, grpc.Channel]) -> None:
    pid, channel = program
    code(channel, DESCRIBE)
    before = resident_bytes(pid)
    for _ in range(5):
        assert code(channel, DESCRIBE, bytes(4 << 20)) == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert resident_bytes(pid) - before < TEN_MB
    # Just inside the limit: unknown fields are no harm.
    inside = b"\x7a" + b"\xf0\xff\x03" + bytes(65520)
    assert len(inside) <= 65536
    assert code(channel, DESCRIBE, inside) == grpc.StatusCode.OK


@pytest.mark.covers("sec:B2")
def test_a_gzip_bomb_is_refused_without_growth(program: tuple[int, grpc.Channel]) -> None:
    pid, channel = program
    bomb = bytes(32 << 20)
    assert len(gzip.compress(bomb)) < 64 << 10
    code(channel, DESCRIBE)
    before = resident_bytes(pid)
    for _ in range(3):
        with pytest.raises(grpc.RpcError) as caught:
            _unary(channel, DESCRIBE)(bomb, timeout=SECONDS, compression=grpc.Compression.Gzip)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert resident_bytes(pid) - before < TEN_MB


@pytest.mark.covers("sec:B2")
def test_metadata_over_16_kib_is_refused_without_growth(program: tuple[int, grpc.Channel]) -> None:
    pid, channel = program
    code(channel, DESCRIBE)
    before = resident_bytes(pid)
    for _ in range(5):
        said = code(channel, DESCRIBE, metadata=(("x-big", "v" * (32 << 10)),))
        assert said == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert resident_bytes(pid) - before < TEN_MB


class Failing(AgentServiceServicer):
    """Breaks with a secret in its exception: at once, after its first message and a code, and before any iterator."""

    def Describe(self, request: DescribeRequest, context: grpc.ServicerContext) -> DescribeResponse:
        raise RuntimeError("postgres://app:hunter2@db/shop")

    def Check(self, request: CheckRequest, context: grpc.ServicerContext) -> Iterator[CheckResponse]:
        yield CheckResponse(sequence=1)
        context.set_code(grpc.StatusCode.ABORTED)
        raise RuntimeError("postgres://app:hunter2@db/shop")

    def Watch(self, request: WatchRequest, context: grpc.ServicerContext) -> Iterator[WatchResponse]:
        raise RuntimeError("postgres://app:hunter2@db/shop")


@pytest.mark.covers("sec:F12")
def test_an_exception_in_a_handler_reaches_the_caller_as_type_and_place_alone(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(front.run(tmp_path, utc(), service=Failing()))  # type: ignore[abstract]
        channel = stack.enter_context(running.channel(operator(running.operators, "observer")))
        stub = AgentServiceStub(channel)
        with pytest.raises(grpc.RpcError) as unary:
            stub.Describe(HELD, timeout=SECONDS)
        with pytest.raises(grpc.RpcError) as stream:
            list(stub.Check(CheckRequest(), timeout=SECONDS))
        with pytest.raises(grpc.RpcError) as early:
            list(stub.Watch(WatchRequest(), timeout=SECONDS))
    for caught in (unary.value, stream.value, early.value):
        assert caught.code() == grpc.StatusCode.INTERNAL
        assert "hunter2" not in str(caught)
        assert "RuntimeError at test_access_over_tls.py:" in str(caught.details())


@pytest.mark.covers("sec:F14")
@pytest.mark.parametrize(("timeout", "said"), [(None, "none at all"), (700.0, "70"), (10_000_000.0, "1000")])
def test_a_call_without_a_deadline_or_with_one_too_long_is_refused(
    observer: grpc.Channel, timeout: float | None, said: str
) -> None:
    for path in (f"/{SERVICE.full_name}/Describe", f"/{SERVICE.full_name}/Check", f"/{HEALTH}/Check"):
        assert code(observer, path, timeout=timeout) == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError, match=f"is needed, and not {said}"):
        _unary(observer, f"/{SERVICE.full_name}/Describe")(b"", timeout=timeout)
    assert code(observer, f"/{SERVICE.full_name}/Describe", timeout=599.0) == grpc.StatusCode.OK


@pytest.mark.covers("sec:F14")
def test_a_deadline_that_the_wire_rounds_up_to_the_longest_is_allowed(observer: grpc.Channel) -> None:
    path = f"/{SERVICE.full_name}/Describe"
    assert {code(observer, path, timeout=599.0 + part / 50) for part in range(46)} == {grpc.StatusCode.OK}


def test_checks_that_fill_every_slot_leave_describe_and_health_free(tmp_path: Path) -> None:
    go = threading.Event()

    def slow(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
        if request.HasField("check"):
            go.wait(SECONDS)
        yield from front.well(request, patience, wanted)

    with contextlib.ExitStack() as stack:
        running = stack.enter_context(front.run(tmp_path, utc(), answers=slow))
        pool = stack.enter_context(ThreadPoolExecutor(8))
        # One user alone may not fill them.
        users = [operator(running.operators, "observer", f"user-{number}") for number in range(3)]
        stubs = [AgentServiceStub(stack.enter_context(running.channel(user))) for user in users]
        stub = stubs[2]
        held = [pool.submit(list, stubs[each % 3].Check(CheckRequest(), timeout=SECONDS)) for each in range(8)]
        end = time.monotonic() + SECONDS
        while len(running.worker.asked) < 8 and time.monotonic() < end:
            time.sleep(0.01)
        with pytest.raises(grpc.RpcError, match="8 checks are under way") as ninth:
            list(stub.Check(CheckRequest(), timeout=SECONDS))
        assert ninth.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        stub.Describe(HELD, timeout=1.0)
        go.set()
        assert [len(each.result()) for each in held] == [1] * 8
        assert len(list(stub.Check(CheckRequest(), timeout=SECONDS))) == 1


def test_health_can_not_be_watched_for_a_watcher_would_hold_a_thread(served: Front, observer: grpc.Channel) -> None:
    del served
    for _ in range(20):
        assert code(observer, f"/{HEALTH}/Watch") == grpc.StatusCode.UNIMPLEMENTED
    assert code(observer, f"/{HEALTH}/Check") == grpc.StatusCode.OK


@pytest.mark.covers("sec:A5")
def test_odd_names_in_a_certificate_are_refused_over_the_wire_too(served: Front) -> None:
    good = "spiffe://lab/role/admin/user/alice"
    odd: list[dict[str, Any]] = [
        {"uris": [good, "spiffe://lab/role/observer/user/alice"]},
        {"uris": ["spiffe://lab/role/observer\0/role/admin/user/alice"]},
        {"uris": [good + "\n"]},
        {"uris": ["spiffe://lab/role/observer/../admin/user/alice"]},
        {"uris": ["SPIFFE://lab/role/admin/user/alice"]},
        {"uris": []},
        {"uris": [f"spiffe://lab/role/admin/user/{'a' * 300}"]},
        {"dns": ["alice.lab"]},
        {"uris": ["spiffe://other/role/admin/user/alice"]},
    ]
    for more in odd:
        with served.channel(operator(served.operators, "admin", **more)) as channel:
            for path in itertools.islice(POLICY, 3):
                assert code(channel, path) == grpc.StatusCode.UNAUTHENTICATED, more
