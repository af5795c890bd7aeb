"""Asking many agents at once: one report for each host, each kind of trouble named, no host delays another."""

import asyncio
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import grpc
import pytest

from benchmarks import credentials, farm
from benchmarks.dead_hosts import DeadHost, dead_hosts
from controller import calling, describing, fleet
from controller.calling import Bounds
from controller.endings import State
from controller.host_report import HostReport
from controller.inventory.connection import Endpoint
from controller.transport.mtls import Identity
from fleetmedic.v1.agent_pb2 import CheckRequest, CheckResponse
from tests.controller import odd_agents, reports
from tests.controller.odd_agents import Call, Crowd
from tests.lab import authority as certificates
from tests.lab import dns_server
from tests.lab.agents import BIN
from tests.lab.authority import Authority

ROOT = Path(__file__).parents[2]
HEALTHY = 100
OF_EACH = 3
USUAL = Bounds(32, 1.5, 10.0)
REQUEST = CheckRequest().SerializeToString()
WHOLE = CheckResponse(last=True, findings=[reports.finding()]).SerializeToString()


def ask(endpoints: list[Endpoint], identity: Identity, bounds: Bounds = USUAL) -> list[HostReport]:
    """Give the reports in the order of their completion."""

    async def collect() -> list[HostReport]:
        asked = {endpoint: REQUEST for endpoint in endpoints}
        return [report async for report in fleet.check(asked, identity, bounds)]

    return asyncio.run(collect())


def one(endpoint: Endpoint, identity: Identity, bounds: Bounds = USUAL) -> HostReport:
    (report,) = ask([endpoint], identity, bounds)
    return report


@pytest.fixture(scope="module")
def files(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> credentials.CredentialFiles:
    """Make the authorities and the operator of the emulated agents."""
    folder = lab / tmp_path_factory.mktemp("farm").name
    folder.mkdir()
    return credentials.write_credentials(folder, datetime.fromtimestamp(time.time(), UTC))


@pytest.fixture(scope="module")
def operator(files: credentials.CredentialFiles) -> Identity:
    """Read what the operator of the emulated agents calls with."""
    return Identity(files.operator.read_bytes(), files.operator_key.read_bytes(), files.agent_ca.read_bytes())


@pytest.fixture(scope="module")
def healthy(files: credentials.CredentialFiles) -> Iterator[list[Endpoint]]:
    """Run a hundred emulated agents."""
    with farm.running_farm(HEALTHY, files, ROOT) as running:
        yield [Endpoint(agent.name, agent.address, agent.port) for agent in running.agents]


@pytest.fixture(scope="module")
def dead() -> Iterator[list[DeadHost]]:
    """Hold hosts that refuse, say nothing, or drop packets."""
    with dead_hosts("127.0.11.1", OF_EACH) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def mixed(
    healthy: list[Endpoint], dead: list[DeadHost], operator: Identity
) -> tuple[list[HostReport], float, Mapping[str, str]]:
    """Ask healthy and dead ones together, the dead first; give the reports, how long it took, and each dead's kind."""
    endpoints = [Endpoint(host.name, host.address, host.port) for host in dead] + healthy
    began = time.monotonic()
    made = ask(endpoints, operator, Bounds(2, 1.5, 10.0))
    return made, time.monotonic() - began, {host.name: host.kind for host in dead}


Mixed = tuple[list[HostReport], float, Mapping[str, str]]


@pytest.mark.covers("inv:F2", "perf:B7.1")
def test_every_host_has_exactly_one_report(mixed: Mixed) -> None:
    made, _, kinds = mixed
    names = [report.host for report in made]
    assert len(names) == len(set(names)) == HEALTHY + 3 * OF_EACH
    assert {report.host for report in made if report.state == State.OK} == set(names) - kinds.keys()
    assert all(len(report.answer.findings) == 30 for report in made if report.state == State.OK)


@pytest.mark.covers("perf:E5", "inv:F11")
def test_the_healthy_are_not_delayed_by_the_dead(mixed: Mixed) -> None:
    made, whole, _ = mixed
    # Six dead ones hold the two slots for three rounds of SLOT_HOLD, 1.5 s; were they not given back, for 4.5 s.
    last = max(report.seconds for report in made if report.state == State.OK)
    assert last < 3.0
    assert whole < 5.0


@pytest.mark.covers("perf:E5")
@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("refused", r"TCP \d+ refused: no agent listens there"),
        ("silent", r"TCP \d+ accepts, but no TLS answer in 1\.5s: agent stopped, or host overloaded \(try -T\)"),
        ("blackhole", r"no TCP answer from 127\.0\.11\.1 port \d+ in 1\.5s: host down, or packets dropped"),
    ],
)
def test_each_kind_of_dead_host_is_named(mixed: Mixed, kind: str, cause: str) -> None:
    made, _, kinds = mixed
    these = [report for report in made if kinds.get(report.host) == kind]
    assert len(these) == OF_EACH
    assert {report.state for report in these} == {State.UNREACHABLE}
    assert all(re.fullmatch(cause, report.cause) for report in these), these[0].cause


@pytest.mark.covers("perf:E5")
def test_a_refused_port_does_not_wait_for_the_deadline(mixed: Mixed) -> None:
    made, _, kinds = mixed
    assert all(report.seconds < 3.0 for report in made if kinds.get(report.host) == "refused")


@pytest.mark.covers("inv:F11")
def test_no_more_connections_are_set_up_at_once_than_forks(authority: Authority) -> None:
    crowd = Crowd()

    def slow_to_accept(_: bytes, call: Call) -> Iterator[bytes]:
        with crowd.entered():
            time.sleep(0.1)
            call.send_initial_metadata(())
        # The slot is free by now: the rest may take its time.
        time.sleep(0.3)
        yield WHOLE

    names = [f"h{number:02d}" for number in range(18)]
    with odd_agents.serving(authority, names, slow_to_accept) as endpoints:
        made = ask(endpoints, odd_agents.identity(authority), Bounds(3, 1.5, 10.0))
    assert {report.state for report in made} == {State.OK}
    assert (crowd.seen, crowd.most) == (18, 3)


@pytest.mark.covers("sec:3.3")
def test_another_host_at_the_address_is_not_believed(authority: Authority) -> None:
    with odd_agents.serving(authority, ["db01"], _whole) as (db01,):
        identity = odd_agents.identity(authority)
        assert one(db01, identity).state == State.OK
        report = one(Endpoint("db02", db01.address, db01.port), identity)
    assert report.state == State.UNREACHABLE
    assert report.cause == "another host answers there: its certificate is not for db02"


def _whole(_: bytes, call: Call) -> Iterator[bytes]:
    call.send_initial_metadata(())
    yield WHOLE


@pytest.mark.covers("sec:A2")
def test_an_agent_of_another_authority_is_not_believed(authority: Authority) -> None:
    stranger = certificates.root(datetime.fromtimestamp(time.time(), UTC), "stranger")
    ours = odd_agents.identity(authority)
    with odd_agents.serving(stranger, ["db01"], _whole) as (db01,):
        report = one(db01, ours)
    assert report.state == State.UNREACHABLE
    assert report.cause == "the agent's certificate is out of date, or not from the authority given with --ca"


@pytest.mark.covers("sec:A2", "sec:F9")
def test_an_agent_that_does_not_trust_us_says_so(authority: Authority) -> None:
    stranger = odd_agents.identity(certificates.root(datetime.fromtimestamp(time.time(), UTC), "stranger"))
    ours = odd_agents.identity(authority)
    mixed = Identity(stranger.certificate, stranger.key, ours.agent_authority)
    with odd_agents.serving(authority, ["db01"], _whole) as (db01,):
        report = one(db01, mixed)
    assert report.state == State.UNREACHABLE
    assert report.cause == "TLS was refused: is our certificate from the authority that this agent trusts?"


@pytest.mark.covers("perf:B7.2")
def test_a_name_that_does_not_resolve_is_named_and_many_do_not_wait_for_each_other(
    folder: Path, authority: Authority
) -> None:
    names = [Endpoint(f"h{number}", f"h{number}.invalid", 7443) for number in range(60)]
    with dns_server.run(mode="nxdomain"), dns_server.resolver(folder / "resolv.conf", ["127.0.0.53"]):
        began = time.monotonic()
        made = ask(names, odd_agents.identity(authority))
        assert time.monotonic() - began < 3.0
    assert {report.state for report in made} == {State.UNREACHABLE}
    causes = {report.host: report.cause for report in made}
    assert causes["h7"].startswith("the name h7.invalid does not resolve: ")


@pytest.mark.covers("perf:B7.2")
def test_a_name_server_that_is_silent_costs_no_more_than_the_deadline(folder: Path, authority: Authority) -> None:
    names = [Endpoint(f"h{number}", f"h{number}.invalid", 7443) for number in range(calling.LOOKUPS_AT_ONCE * 3)]
    silent = dns_server.run(mode="silent")
    with silent, dns_server.resolver(folder / "resolv.conf", ["127.0.0.53"], options="timeout:3 attempts:1"):
        began = time.monotonic()
        made = ask(names, odd_agents.identity(authority), Bounds(32, 0.6, 1.0))
        assert time.monotonic() - began < 1.25
    assert len(made) == len(names)
    assert {report.state for report in made} == {State.UNREACHABLE, State.NOT_ATTEMPTED}
    assert {report.cause for report in made if report.state == State.NOT_ATTEMPTED} == {
        "not begun within the deadline of 1s"
    }


@pytest.mark.covers("perf:B7.2", "inv:F11")
def test_names_that_nobody_answers_for_do_not_keep_a_healthy_host_waiting(
    folder: Path, healthy: list[Endpoint], operator: Identity
) -> None:
    # A name to us, for whose look-up no server is asked.
    start, _, rest = healthy[0].address.partition(".0.")
    named = Endpoint(healthy[0].name, f"{start}.0.{int(IPv4Address(f'0.0.{rest}'))}", healthy[0].port)
    names = [Endpoint(f"h{number}", f"h{number}.invalid", 7443) for number in range(200)]
    silent = dns_server.run(mode="silent")
    with silent, dns_server.resolver(folder / "resolv.conf", ["127.0.0.53"], options="timeout:5 attempts:1"):
        made = {report.host: report for report in ask([*names, named], operator, Bounds(32, 1.5, 5.0))}
    assert made[named.name].state == State.OK, made[named.name].cause
    assert made[named.name].seconds < 2.0


@pytest.mark.covers("inv:F7")
def test_an_agent_that_does_not_finish_by_the_deadline_timed_out(authority: Authority) -> None:
    def late(_: bytes, call: Call) -> Iterator[bytes]:
        call.send_initial_metadata(())
        yield CheckResponse(findings=[reports.finding()]).SerializeToString()
        while call.is_active():
            time.sleep(0.01)

    with odd_agents.serving(authority, ["db01"], late) as (db01,):
        began = time.monotonic()
        report = one(db01, odd_agents.identity(authority), Bounds(32, 0.5, 0.8))
        assert time.monotonic() - began < 0.8 + 0.25
    assert (report.state, report.cause) == (
        State.TIMEOUT, "connected, but no whole answer within the deadline of 0.8s",
    )  # fmt: skip
    assert len(report.answer.findings) == 1


def test_a_deadline_shorter_than_the_limit_for_connecting_does_not_claim_a_connection(
    dead: list[DeadHost], authority: Authority
) -> None:
    for host in {host.kind: host for host in dead}.values():
        if host.kind != "refused":
            report = one(
                Endpoint(host.name, host.address, host.port), odd_agents.identity(authority), Bounds(32, 5.0, 0.8)
            )
            assert report.state == State.UNREACHABLE
            assert report.cause == "no connection within the deadline of 0.8s: host down, or overloaded"


def test_an_agent_that_breaks_off_failed(authority: Authority) -> None:
    def broken(_: bytes, call: Call) -> Iterator[bytes]:
        call.send_initial_metadata(())
        yield CheckResponse(findings=[reports.finding()]).SerializeToString()

    with odd_agents.serving(authority, ["db01"], broken) as (db01,):
        report = one(db01, odd_agents.identity(authority))
    assert (report.state, report.cause) == (State.FAILED, "the agent broke its answer off")


@pytest.mark.parametrize(
    ("code", "state", "cause", "refused"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, State.FAILED, "said why", True),
        (grpc.StatusCode.NOT_FOUND, State.SKIPPED, "said why", False),
        (grpc.StatusCode.PERMISSION_DENIED, State.FAILED, "permission denied: said why", False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, State.FAILED, "resource exhausted: said why", False),
        (grpc.StatusCode.INTERNAL, State.FAILED, "internal: said why", False),
    ],
)
def test_what_an_agent_refuses_with_is_told(
    authority: Authority, code: grpc.StatusCode, state: State, cause: str, refused: bool
) -> None:
    def refusing(_: bytes, call: Call) -> Iterator[bytes]:
        call.abort(code, "said why")
        yield b""

    with odd_agents.serving(authority, ["db01"], refusing) as (db01,):
        report = one(db01, odd_agents.identity(authority))
    assert (report.state, report.cause, report.refused) == (state, cause, refused)


@pytest.mark.covers("perf:B7.1")
@pytest.mark.parametrize("limit", [60, 24])
def test_a_lack_of_descriptors_is_this_machines_trouble_and_not_the_hosts(
    limit: int, folder: Path, files: credentials.CredentialFiles, healthy: list[Endpoint]
) -> None:
    inventory = folder / "farm.yml"
    inventory.write_text("all:\n  hosts:\n" + "".join(
        f"    {host.name}: {{fleetmedic_address: {host.address}, fleetmedic_port: {host.port}}}\n" for host in healthy
    ))  # fmt: skip
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": str(folder), "XDG_STATE_HOME": str(folder), "LANG": "C.UTF-8",
        "FLEETMEDIC_CERTIFICATE": str(files.operator), "FLEETMEDIC_KEY": str(files.operator_key),
        "FLEETMEDIC_CA": str(files.agent_ca),
    }  # fmt: skip
    words: list[str | Path] = [BIN / "fleetmedic", "check", "-i", inventory, "--json"]
    done = subprocess.run(
        ["prlimit", f"--nofile={limit}:{limit}", *words],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    whole = json.loads(done.stdout)
    assert whole["states"].keys() == {"ok", "not_attempted"}
    assert sum(whole["states"].values()) == HEALTHY
    causes = {report["cause"] for report in whole["reports"] if report["state"] == "not_attempted"}
    assert causes == {"this machine ran out of open files: raise ulimit -n"}
    assert (done.returncode, done.stderr) == (2, "")


def test_the_descriptor_limit_is_raised_for_many_hosts() -> None:
    code = (
        "import resource\nfrom controller import calling\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))\n"
        "assert calling.raise_descriptor_limit(300) == 300\n"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 300 + calling.DESCRIPTORS_KEPT\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))\n"
        "assert calling.raise_descriptor_limit(300) == 200 - calling.DESCRIPTORS_KEPT\n"
    )
    subprocess.run([BIN / "python", "-c", code], cwd=ROOT, check=True)


def test_the_clock_of_a_host_is_measured_with_its_answer(authority: Authority) -> None:
    def ahead(_: bytes, call: Call) -> Iterator[bytes]:
        call.send_initial_metadata(())
        made = CheckResponse(last=True)
        made.clock.received_time.FromNanoseconds(time.time_ns() + 7_000_000_000)
        yield made.SerializeToString()

    with odd_agents.serving(authority, ["db01"], ahead) as (db01,):
        report = one(db01, odd_agents.identity(authority))
    assert report.clock_offset == pytest.approx(7.0, abs=0.1)


@pytest.mark.covers("inv:F2")
def test_describe_answers_for_each_host_in_the_order_given(
    healthy: list[Endpoint], dead: list[DeadHost], operator: Identity
) -> None:
    endpoints = [Endpoint(host.name, host.address, host.port) for host in dead] + healthy[:20]
    made = asyncio.run(describing.describe(endpoints, operator, Bounds(32, 0.7, 10.0)))
    assert [item.host for item in made] == [endpoint.name for endpoint in endpoints]
    assert [item.answer is not None for item in made] == [False] * len(dead) + [True] * 20
    assert all(item.cause for item in made if item.answer is None)


def test_an_ipv6_address_is_dialled(authority: Authority) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    report = one(Endpoint("db01", "::1", 9), odd_agents.identity(authority))
    assert report.cause in ("TCP 9 refused: no agent listens there", "no route to the host")
