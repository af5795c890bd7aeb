"""fleetmedic agent doctor: each fault is made for real, and it names that one and no other; a healthy agent is well."""

import contextlib
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from controller import VERSION
from controller.render.escape import HOSTILE
from controller.transport import mtls
from fleetmedic.v1.agent_pb2 import DescribeResponse, Identity
from tests.lab import agents, blackhole
from tests.lab.agents import Agent, Command, Desk
from tests.lab.authority import DAY, SERVER, Authority, Issued, root
from tests.lab.waiting import free_port, until
from tests.scenarios.test_clock import faketime

STEPS = ("name", "route", "port", "tls", "identity", "role", "version", "clock")
SLOWEST = 10.0
Where = Mapping[str, tuple[str, int]]


def examined(desk: Desk, where: Where, *words: str, form: str = "json", **environment: str) -> Command:
    """Run the doctor on hosts at these addresses and ports."""
    file = desk.folder / "doctor.yml"
    hosts = "".join(
        f"    {name}: {{fleetmedic_address: {address}, fleetmedic_port: {port}}}\n"
        for name, (address, port) in where.items()
    )
    file.write_text(f"all:\n  hosts:\n{hosts}")
    return desk.run("agent", "doctor", "all", "-i", file, "--format", form, *words, environment=environment)


def only(desk: Desk, name: str, address: str, port: int, *words: str, **environment: str) -> dict[str, Any]:
    """Give the report of one host, held to its time."""
    began = time.monotonic()
    done = examined(desk, {name: (address, port)}, *words, **environment)
    assert time.monotonic() - began < SLOWEST + 2.0
    assert done.err == ""
    (report,) = done.json()["reports"]
    fault = report["fault"]
    codes = {None: 2 if report["notes"] else 0, "role": 2, "version": 2, "clock": 2}
    assert done.code == codes.get(fault, 4)
    if fault in STEPS:
        passed = list(STEPS[: STEPS.index(fault)])
        # A clock that keeps TLS from coming about leaves role and version unknown.
        assert list(report["passed"]) in (passed, [step for step in passed if step not in ("role", "version")])
    assert bool(report["mend"]) == (fault is not None)
    made: dict[str, Any] = report
    return made


def above(desk: Desk, name: str) -> Authority:
    """One of the desk's authorities."""
    certificate = x509.load_pem_x509_certificate((desk.pki / f"{name}.crt").read_bytes())
    key = serialization.load_pem_private_key((desk.pki / f"{name}.key").read_bytes(), None)
    return Authority(Issued(certificate, key, ()), datetime.fromtimestamp(time.time(), UTC))  # type: ignore[arg-type]


@pytest.mark.covers("sec:doctor")
def test_a_healthy_agent_is_well_step_by_step(desk: Desk, agent: Agent) -> None:
    report = only(desk, "web01", agent.address, agent.port)
    assert (report["fault"], report["notes"]) == (None, [])
    assert list(report["passed"]) == list(STEPS)
    shown = examined(desk, {"web01": (agent.address, agent.port)}, form="text")
    assert shown.code == 0
    first, well, totals = shown.out.splitlines()
    assert first.startswith("you call as alice, observer, until 20")
    assert well.startswith("✓ web01  well: the inventory says 127.0.0.1; 127.0.0.1 answers; ")
    assert totals == "1 host: 1 well   exit code 0"


@pytest.mark.covers("sec:doctor")
def test_a_name_that_does_not_resolve_is_the_fault(desk: Desk, agent: Agent) -> None:
    report = only(desk, "web01", "nowhere.invalid", agent.port)
    assert report["fault"] == "name"
    assert report["evidence"].startswith("the name nowhere.invalid ")
    assert "fleetmedic_address" in report["mend"]


@pytest.mark.covers("sec:doctor")
def test_packets_that_are_dropped_are_a_fault_of_the_route(desk: Desk, agent: Agent) -> None:
    with blackhole.drop("127.0.0.1", agent.port):
        report = only(desk, "web01", agent.address, agent.port)
    assert report["fault"] == "route"
    assert report["evidence"].startswith(f"no TCP answer from 127.0.0.1 port {agent.port} in ")


@pytest.mark.covers("sec:doctor")
def test_an_unreachable_host_is_a_fault_of_the_route(desk: Desk, agent: Agent) -> None:
    with blackhole.reject("127.0.0.1", agent.port, "icmp-host-unreachable"):
        report = only(desk, "web01", agent.address, agent.port)
    assert (report["fault"], report["evidence"]) == (
        "route",
        f"no way to 127.0.0.1 port {agent.port}: no route to host",
    )


@pytest.mark.covers("sec:doctor")
def test_a_port_that_nobody_listens_on_is_the_fault(desk: Desk) -> None:
    port = free_port()
    report = only(desk, "web01", "127.0.0.1", port)
    assert (report["fault"], report["evidence"]) == ("port", f"TCP {port} refused: no agent listens there")
    assert f"`fleetmedic agent install web01 -i {desk.folder / 'doctor.yml'}`" in report["mend"]


@pytest.mark.covers("sec:doctor")
def test_an_agent_that_is_stopped_is_a_fault_of_tls(desk: Desk, agent: Agent) -> None:
    os.kill(agent.front, signal.SIGSTOP)
    try:
        report = only(desk, "web01", agent.address, agent.port)
    finally:
        os.kill(agent.front, signal.SIGCONT)
    assert report["fault"] == "tls"
    assert "accepts, but no TLS answer in" in report["evidence"]


@contextlib.contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve every connection with a function until the block ends; give the port."""
    with socket.create_server(("127.0.0.1", 0)) as line:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = line.accept()
                    with peer, contextlib.suppress(OSError):
                        answer(peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield line.getsockname()[1]
        line.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.covers("sec:doctor")
@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.2\r\n", b""])
def test_a_program_that_speaks_no_tls_is_a_fault_of_tls(desk: Desk, said: bytes) -> None:
    with answering(lambda peer: peer.sendall(said)) as port:
        report = only(desk, "web01", "127.0.0.1", port)
    assert report["fault"] == "tls"
    assert report["evidence"].startswith(f"what answers on port {port} ")


@pytest.mark.covers("sec:doctor")
def test_a_program_that_speaks_tls_and_is_no_agent_is_a_fault_of_tls(desk: Desk, folder: Path) -> None:
    files = above(desk, "agent-ca").issue("web01", dns=["web01"], usages=[SERVER]).write(folder, "web01")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)

    def web(peer: socket.socket) -> None:
        with context.wrap_socket(peer, server_side=True) as secured:
            secured.recv(100)
            secured.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with answering(web) as port:
        report = only(desk, "web01", "127.0.0.1", port)
    assert (report["fault"], report["evidence"]) == (
        "tls",
        "what answers speaks TLS and no HTTP/2: it is no agent",
    )


@pytest.mark.covers("sec:doctor", "sec:B7")
@pytest.mark.parametrize("ours", [True, False])
def test_a_certificate_whose_names_cannot_be_read_is_that_hosts_fault_alone(
    desk: Desk, agent: Agent, folder: Path, ours: bool
) -> None:
    # An x400Address, which no parser of ours knows.
    odd = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, bytes.fromhex("3002a300"))
    authority = above(desk, "agent-ca") if ours else root(datetime.fromtimestamp(time.time(), UTC))
    files = authority.issue("web02", usages=[SERVER], more=[odd]).write(folder, "odd")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["h2"])

    def serve(peer: socket.socket) -> None:
        with context.wrap_socket(peer, server_side=True) as secured:
            secured.recv(100)
            secured.sendall(b"\0\0\0\4\0\0\0\0\0")

    with answering(serve) as port:
        done = examined(desk, {"web01": (agent.address, agent.port), "web02": ("127.0.0.1", port)})
    assert (done.code, done.err) == (4, "")
    faults = {report["host"]: (report["fault"], report["evidence"]) for report in done.json()["reports"]}
    assert faults["web01"][0] is None
    if ours:
        assert faults["web02"] == ("identity", "another host answers there: its certificate is nobody's, not web02's")
    else:
        assert faults["web02"][0] == "tls"
        assert "its certificate (no name, by CN=lab root) is not of the authority in --ca" in faults["web02"][1]


@pytest.fixture(scope="module")
def strangers(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Make the authorities of the same organisation once more: their names are ours, and their keys are not."""
    return agents.desk(lab / tmp_path_factory.mktemp("strangers").name)


@pytest.mark.covers("sec:doctor")
def test_an_agent_of_another_authority_is_a_fault_of_tls(desk: Desk, strangers: Desk) -> None:
    with agents.run(strangers, "web02", port=free_port()) as theirs:
        report = only(desk, "web02", theirs.address, theirs.port)
    assert report["fault"] == "tls"
    assert "is not of the authority in --ca" in report["evidence"]


@pytest.mark.covers("sec:doctor")
def test_an_agent_that_trusts_other_operators_is_a_fault_of_tls(desk: Desk, strangers: Desk) -> None:
    with agents.run(strangers, "web02", port=free_port()) as theirs:
        report = only(desk, "web02", theirs.address, theirs.port, FLEETMEDIC_CA=str(strangers.pki / "agent-ca.crt"))
    assert report["fault"] == "tls"
    assert report["evidence"].startswith("it refuses our certificate, which is by ")


@pytest.mark.covers("sec:doctor")
@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [(-2 * DAY, -DAY, "its certificate ended on "), (DAY, 2 * DAY, "its certificate is not valid before ")],
)
def test_a_certificate_out_of_its_time_is_a_fault_of_tls(
    desk: Desk, folder: Path, begins: timedelta, ends: timedelta, said: str
) -> None:
    issued = above(desk, "agent-ca").issue("web03", dns=["web03"], begins=begins, ends=ends)
    with served_by(desk, folder, issued, DescribeResponse()) as port:
        report = only(desk, "web03", "127.0.0.1", port)
    assert report["fault"] == "tls"
    assert report["evidence"].startswith(said)


@contextlib.contextmanager
def served_by(desk: Desk, folder: Path, issued: Issued, answer: DescribeResponse) -> Iterator[int]:
    """Serve Describe, and nothing else, over gRPC's TLS with this certificate; give the port."""
    files = issued.write(folder, "served")
    pair = (files.key.read_bytes(), files.certificate.read_bytes())
    client_ca = (desk.pki / "operator-ca.crt").read_bytes()

    def describe(_: bytes, call: grpc.ServicerContext) -> bytes:
        call.send_initial_metadata(())
        made = DescribeResponse()
        made.CopyFrom(answer)
        made.clock.received_time.GetCurrentTime()
        made.clock.answered_time.GetCurrentTime()
        return made.SerializeToString()

    service, _, name = mtls.DESCRIBE[1:].partition("/")
    handler = grpc.method_handlers_generic_handler(service, {name: grpc.unary_unary_rpc_method_handler(describe)})
    server = grpc.server(ThreadPoolExecutor(4), handlers=[handler], options=(("grpc.so_reuseport", 0),))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair], client_ca, True))
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait(10)


@pytest.mark.covers("sec:doctor")
def test_another_hosts_agent_at_the_address_is_a_fault_of_identity(desk: Desk, agent: Agent) -> None:
    report = only(desk, "db07", agent.address, agent.port)
    assert (report["fault"], report["evidence"]) == (
        "identity",
        "another host answers there: its certificate is web01's, not db07's",
    )


@pytest.mark.covers("sec:doctor")
def test_a_certificate_of_ours_that_is_no_operators_is_told_before_any_host_is_asked(desk: Desk, agent: Agent) -> None:
    ours = {"FLEETMEDIC_CERTIFICATE": agent.folder / "web01.crt", "FLEETMEDIC_KEY": agent.folder / "web01.key"}
    done = examined(desk, {"web01": (agent.address, agent.port)}, **{key: str(path) for key, path in ours.items()})
    assert (done.code, done.out) == (77, "")
    assert done.err == (
        f"fleetmedic: {agent.folder / 'web01.crt'}: names web01, and is no operator's: "
        "get one with `fleetmedic login`\n"
    )


@pytest.mark.covers("sec:doctor")
def test_a_role_that_is_too_little_is_the_fault(desk: Desk, agent: Agent) -> None:
    report = only(desk, "web01", agent.address, agent.port, "--role", "admin")
    assert (report["fault"], report["evidence"]) == ("role", "you are alice, observer, there, and admin is needed")


@pytest.mark.covers("sec:doctor")
def test_a_host_that_lowers_our_role_is_a_fault_of_the_role(desk: Desk, folder: Path) -> None:
    carol = operator(desk, folder, "carol", "admin")
    with agents.run(desk, "web04", port=free_port(), config='[roles]\ncarol = "observer"\n') as lowering:
        report = only(desk, "web04", lowering.address, lowering.port, **carol)
    assert (report["fault"], report["evidence"]) == (
        "role",
        "you are carol, observer, there, and by your certificate admin",
    )
    assert "[roles]" in report["mend"]


def operator(desk: Desk, folder: Path, name: str, role: str) -> dict[str, str]:
    """Issue a certificate; give the settings that call with it."""
    done = desk.run("pki", "issue", "operator", name, "--role", role, "--dir", desk.pki, "--out", folder)
    assert done.code == 0, done.err
    return {"FLEETMEDIC_CERTIFICATE": str(folder / f"{name}.crt"), "FLEETMEDIC_KEY": str(folder / f"{name}.key")}


@pytest.mark.covers("sec:doctor")
@pytest.mark.parametrize(
    ("version", "methods", "said"),
    [
        ("0.0.9", ["Describe"], f"agent 0.0.9 is older than this fleetmedic, {VERSION}"),
        ("7.1.0", ["Describe"], f"agent 7.1.0 is newer than this fleetmedic, {VERSION}"),
        (VERSION, ["Describe", "Check"], f"agent {VERSION} does not know Renew, SetDenylist, SetFreeze, which this"),
        ("", [], f"agent without a version is other than this fleetmedic, {VERSION}"),
    ],
)
def test_an_agent_of_another_version_is_a_fault_of_the_version(
    desk: Desk, folder: Path, version: str, methods: list[str], said: str
) -> None:
    issued = above(desk, "agent-ca").issue("web05", dns=["web05"])
    answer = DescribeResponse(agent=Identity(name="web05", version=version), role="observer", methods=methods)
    with served_by(desk, folder, issued, answer) as port:
        report = only(desk, "web05", "127.0.0.1", port)
    assert report["fault"] == "version"
    assert report["evidence"].startswith(said)


@pytest.mark.covers("sec:doctor", "sec:R8")
@pytest.mark.parametrize("off", ["+60s", "-60s", "+3d", "-3d"])
def test_a_clock_that_is_off_is_the_fault_even_where_it_keeps_certificates_from_counting(desk: Desk, off: str) -> None:
    wrong = {"LD_PRELOAD": str(faketime()), "FAKETIME": off, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with agents.run(desk, "web06", port=free_port(), environment=wrong) as skewed:
        report = only(desk, "web06", skewed.address, skewed.port)
    assert report["fault"] == "clock"
    assert (
        report["evidence"].startswith((f"its clock is {off[0]}59.", f"its clock is {off[0]}60."))
        or "by its our certificate is out of date" in (report["evidence"])
    )
    assert ("role" in report["passed"]) == off.endswith("s")


@pytest.mark.covers("sec:doctor", "sec:R8")
def test_our_own_clock_that_is_off_is_a_fault_of_the_clock(desk: Desk, agent: Agent) -> None:
    # Ours says that it is too early for the agent's certificate; our own is made for that day.
    behind = {"LD_PRELOAD": str(faketime()), "FAKETIME": "-3d", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    issued = above(desk, "operator-ca").issue(
        "dave", uris=["spiffe://lab/role/observer/user/dave"], usages=[x509.OID_CLIENT_AUTH], begins=-5 * DAY
    )
    files = issued.write(desk.folder / "dave", "dave")
    own = {"FLEETMEDIC_CERTIFICATE": str(files.certificate), "FLEETMEDIC_KEY": str(files.key)}
    report = only(desk, "web01", agent.address, agent.port, **own, **behind)
    assert report["fault"] == "clock"
    assert report["evidence"].endswith("by ours its certificate is out of date")


@pytest.mark.covers("sec:doctor")
def test_a_worker_that_is_away_is_a_note_of_an_agent_that_answers(desk: Desk) -> None:
    with agents.run(desk, "web08", port=free_port()) as half:
        os.kill(half.worker, signal.SIGKILL)
        until("the worker is gone", lambda: not Path(f"/proc/{half.worker}/cmdline").read_bytes())
        report = only(desk, "web08", half.address, half.port)
        shown = examined(desk, {"web08": (half.address, half.port)}, form="text")
    assert report["fault"] is None
    assert [note for note in report["notes"] if note.startswith("its worker is away: ")]
    assert "! note      its worker is away: " in shown.out


@pytest.mark.covers("sec:doctor")
def test_many_hosts_are_examined_at_once_bad_first_and_only_the_fault_is_marked(desk: Desk, agent: Agent) -> None:
    dark = 40
    where: dict[str, tuple[str, int]] = {"web01": (agent.address, agent.port)}
    where |= {f"dark{number:02d}": (f"127.0.9.{number + 1}", 9) for number in range(dark)}
    with contextlib.ExitStack() as stack:
        for number in range(dark):
            stack.enter_context(blackhole.drop(f"127.0.9.{number + 1}", 9))
        began = time.monotonic()
        done = examined(desk, where, form="text")
        assert time.monotonic() - began < SLOWEST
    assert done.code == 4
    lines = done.out.splitlines()
    assert sum(line.startswith("✗ dark") for line in lines) == dark
    assert lines[-2].startswith("✓ web01  well")
    assert lines[-1] == "41 hosts: 40 route  1 well   exit code 4"
    assert sum(line.startswith("  ✗ ") for line in lines) == dark
    assert all(line.startswith("  ✗ route") for line in lines if line.startswith("  ✗ "))


@pytest.mark.covers("sec:doctor", "sec:B5")
def test_what_a_hostile_agent_says_of_itself_reaches_no_terminal_raw(desk: Desk, folder: Path) -> None:
    issued = above(desk, "agent-ca").issue("web09", dns=["web09"])
    answer = DescribeResponse(
        agent=Identity(version="\x1b[31m9.9"), role="observer\x1b]0;x\x07", worker_error="\x9b31m\u202eaway"
    )
    answer.standing.alarms.append("\x1b[2Jgone")
    answer.standing.freeze.reason = "\r\x1b[1A"
    with served_by(desk, folder, issued, answer) as port:
        done = examined(desk, {"web09": ("127.0.0.1", port)}, form="text")
    assert done.code == 2
    assert not HOSTILE.search(done.out.replace("\n", ""))
    assert "\\x1b[2Jgone" in done.out
