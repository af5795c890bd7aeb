"""Commands that call every agent: how they stand, new certificates for them, and the denylist; with real agents."""

import contextlib
import os
import signal
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from controller.transport import mtls
from controller.transport.mtls import CHECK, DESCRIBE
from controller.trust import revocation
from fleetmedic.v1.agent_pb2 import CheckRequest, DescribeRequest, DescribeResponse, SetFreezeRequest
from tests.controller.cli.test_agent_doctor import above, answering, operator, served_by
from tests.lab import agents, h2_client
from tests.lab.agents import Agent, Command, Desk
from tests.lab.authority import DAY, Files
from tests.lab.waiting import free_port, until

PUSH = 5.0


@dataclass(frozen=True)
class Trio:
    """Three agents of a desk, a fourth host that refuses, and what an admin calls with."""

    desk: Desk
    running: Sequence[Agent]
    inventory: Path
    admin: Mapping[str, str]

    def run(self, *words: str | Path, who: Mapping[str, str] | None = None) -> Command:
        return self.desk.run(*words, "-i", self.inventory, environment=self.admin if who is None else who)

    def reports(self, *words: str) -> dict[str, dict[str, Any]]:
        done = self.run("agent", "status", *words, "--pki", self.desk.pki, "--format", "json")
        return {report["host"]: report for report in done.json()["reports"]}


@pytest.fixture
def trio(folder: Path) -> Iterator[Trio]:
    """Run three agents; dark01 is in the inventory and refuses."""
    with three(folder) as made:
        yield made


@pytest.fixture(scope="module")
def shared(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """Run three agents for tests that leave them as they are, or as well."""
    folder = lab / tmp_path_factory.mktemp("shared").name
    folder.mkdir()
    with three(folder) as made:
        yield made


@contextlib.contextmanager
def three(folder: Path) -> Iterator[Trio]:
    desk = agents.desk(folder / "desk")
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(agents.run(desk, f"web0{number}", port=free_port())) for number in (1, 2, 3)]
        inventory = desk.folder / "trio.yml"
        hosts = "".join(
            f"    {agent.name}: {{fleetmedic_address: {agent.address}, fleetmedic_port: {agent.port}}}\n"
            for agent in running
        )
        dark = f"    dark01: {{fleetmedic_address: 127.0.0.1, fleetmedic_port: {free_port()}}}\n"
        inventory.write_text(f"all:\n  hosts:\n{hosts}{dark}")
        yield Trio(desk, running, inventory, operator(desk, folder, "carol", "admin"))


def ends(port: int) -> datetime:
    """When the certificate ends that a new connection is served."""
    pem = ssl.get_server_certificate(("127.0.0.1", port))
    return x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc


def aged(trio: Trio, agent: Agent, left: timedelta) -> None:
    """Put a certificate with so much of its life left in the place of an agent's own."""
    issued = above(trio.desk, "agent-ca").issue(agent.name, dns=[agent.name], begins=left - 90 * DAY, ends=left)
    issued.write(agent.folder, agent.name, chain=False)
    os.kill(agent.front, signal.SIGHUP)
    until("it is served", lambda: ends(agent.port) == issued.certificate.not_valid_after_utc)


@contextlib.contextmanager
def channel(trio: Trio, agent: Agent, who: Mapping[str, str]) -> Iterator[grpc.Channel]:
    credentials = grpc.ssl_channel_credentials(
        (trio.desk.pki / "agent-ca.crt").read_bytes(),
        Path(who["FLEETMEDIC_KEY"]).read_bytes(),
        Path(who["FLEETMEDIC_CERTIFICATE"]).read_bytes(),
    )
    named = [("grpc.ssl_target_name_override", agent.name)]
    with grpc.secure_channel(f"127.0.0.1:{agent.port}", credentials, named) as made:
        yield made


def describe(line: grpc.Channel) -> DescribeResponse:
    method = line.unary_unary(DESCRIBE, DescribeRequest.SerializeToString, DescribeResponse.FromString)
    return method(DescribeRequest(), timeout=5.0)


def freeze(trio: Trio, agent: Agent, reason: str) -> None:
    with channel(trio, agent, trio.admin) as line:
        method = line.unary_unary(mtls.SET_FREEZE, SetFreezeRequest.SerializeToString, bytes)
        method(SetFreezeRequest(frozen=True, reason=reason), timeout=5.0)


@pytest.mark.covers("sec:status")
def test_a_fleet_that_is_well_stands_in_one_table_and_ends_with_0(shared: Trio) -> None:
    done = shared.run("agent", "status", "all:!dark01", "--pki", shared.desk.pki)
    assert (done.code, done.err) == (0, "")
    head, *rows, totals = done.out.splitlines()
    assert head.split() == ["host", "version", "certificate", "ends", "denylist", "worker", "clock"]
    assert [row.split()[0] for row in rows] == ["web01", "web02", "web03"]
    assert all("(89d)" in row and row.split()[4:6] == ["1", "there"] for row in rows)
    assert totals == "3 hosts: 3 well   exit code 0"


@pytest.mark.covers("sec:status")
def test_what_should_be_mended_comes_first_and_who_does_not_answer_before_it(trio: Trio) -> None:
    web01, web02, web03 = trio.running
    aged(trio, web02, 20 * DAY)
    freeze(trio, web03, "the migration of tonight")
    os.kill(web02.worker, signal.SIGKILL)
    done = trio.run("agent", "status", "--pki", trio.desk.pki)
    assert done.code == 6
    assert [row.split()[0] for row in done.out.splitlines()[1:5]] == ["dark01", "web02", "web03", "web01"]
    assert "unreachable: TCP " in done.out
    assert f"next: fleetmedic agent doctor dark01 -i {trio.inventory}\n" in done.out
    assert "the migration of tonight" in done.out
    reports = trio.reports()
    assert reports["web01"]["troubles"] == []
    assert reports["web02"]["troubles"] == ["its certificate is past half its life", "its worker is away"]
    assert reports["web03"]["frozen"] == {"user": "carol", "reason": "the migration of tonight"}
    assert (reports["dark01"]["state"], reports["dark01"]["version"]) == ("unreachable", None)


@pytest.mark.covers("sec:status")
def test_a_denylist_that_is_behind_ours_is_told_where_we_have_one(trio: Trio) -> None:
    bob = operator(trio.desk, trio.desk.folder, "bob", "observer")
    assert bob
    assert trio.desk.run("pki", "revoke", "bob", "--reason", "gone", "--dir", trio.desk.pki).code == 0
    reports = trio.reports("all:!dark01")
    assert {report["denylist_behind"] for report in reports.values()} == {(revocation.held(trio.desk.pki) or 0) - 1}
    assert {tuple(report["troubles"]) for report in reports.values()} == {("its denylist is old",)}
    unknown = trio.run("agent", "status", "all:!dark01", "--pki", trio.desk.folder / "none", "--format", "json")
    assert {report["denylist_behind"] for report in unknown.json()["reports"]} == {None}
    assert unknown.code == 0


@pytest.mark.covers("sec:status")
def test_a_version_that_is_older_than_this_fleetmedic_is_told(desk: Desk, folder: Path) -> None:
    issued = above(desk, "agent-ca").issue("web05", dns=["web05"])
    answer = DescribeResponse(role="observer")
    answer.agent.version = "0.0.9"
    answer.standing.certificate_expire_time.FromDatetime(datetime.fromtimestamp(time.time(), UTC) + 80 * DAY)
    with served_by(desk, folder, issued, answer) as port:
        file = folder / "old.yml"
        file.write_text(f"all:\n  hosts:\n    web05: {{fleetmedic_address: 127.0.0.1, fleetmedic_port: {port}}}\n")
        done = desk.run("agent", "status", "-i", file)
    assert done.code == 2
    assert "0.0.9 (older)" in done.out
    assert "! 1 host: its version is older" in done.out


@pytest.mark.covers("sec:renew-command")
def test_agents_past_half_their_life_are_renewed_and_a_new_connection_shows_it(trio: Trio) -> None:
    web01, web02, web03 = trio.running
    aged(trio, web02, 44 * DAY)
    aged(trio, web03, 46 * DAY)
    key = (web02.folder / "web02.key").read_bytes()
    done = trio.run("agent", "renew", "all", "--pki", trio.desk.pki)
    assert (done.code, done.err) == (4, "")
    lines = {line.split()[1]: line for line in done.out.splitlines()[:-1]}
    assert lines["web02"].startswith("✓ web02  renewed: its new certificate holds until ")
    assert lines["web01"].endswith("for 89 days")
    assert lines["web03"].endswith("for 45 days")
    assert lines["dark01"].endswith("refused: no agent listens there")
    assert done.out.splitlines()[-1] == "4 hosts: 1 unreachable  1 renewed  2 not due   exit code 4"
    left = ends(web02.port) - datetime.fromtimestamp(time.time(), UTC)
    assert 89 * DAY < left < 91 * DAY
    assert (web02.folder / "web02.key").read_bytes() != key, "the key is a new one"
    assert "web02" in trio.desk.run("pki", "list", "--dir", trio.desk.pki).out
    again = trio.run("agent", "renew", "web02", "--pki", trio.desk.pki)
    assert (again.code, again.out.splitlines()[-1]) == (0, "1 host: 1 not due   exit code 0")


@pytest.mark.covers("sec:renew-command")
def test_with_force_one_is_renewed_that_is_not_due(shared: Trio) -> None:
    serial = _served(shared.running[0].port)
    done = shared.run("agent", "renew", "web01", "--force", "--pki", shared.desk.pki)
    assert (done.code, done.out.splitlines()[-1]) == (0, "1 host: 1 renewed   exit code 0")
    assert _served(shared.running[0].port) != serial


def _served(port: int) -> int:
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port)).encode()).serial_number


@pytest.mark.covers("sec:renew-command")
def test_whoever_is_no_admin_renews_nothing(shared: Trio) -> None:
    serial = _served(shared.running[0].port)
    done = shared.run("agent", "renew", "web01", "--force", "--pki", shared.desk.pki, who={})
    assert done.code == 2
    assert "failed: permission denied: alice is observer; needs admin" in done.out
    assert _served(shared.running[0].port) == serial


@pytest.mark.covers("sec:renew-command")
def test_without_the_authority_here_no_host_is_asked(shared: Trio, folder: Path) -> None:
    done = shared.run("agent", "renew", "web01", "--force", "--pki", folder / "none")
    assert (done.code, done.out) == (77, "")
    assert "agent-ca.key" in done.err


@pytest.mark.covers("sec:renew-command")
def test_a_certificate_that_has_ended_is_not_renewed(trio: Trio) -> None:
    web01 = trio.running[0]
    issued = above(trio.desk, "agent-ca").issue("web01", dns=["web01"], begins=-90 * DAY, ends=timedelta(seconds=3))
    issued.write(web01.folder, "web01", chain=False)
    os.kill(web01.front, signal.SIGHUP)
    until("it is served", lambda: ends(web01.port) == issued.certificate.not_valid_after_utc)
    time.sleep(4)
    done = trio.run("agent", "renew", "web01", "--force", "--pki", trio.desk.pki)
    assert done.code == 4
    assert "unreachable: the agent's certificate is out of date" in done.out
    assert "one that has ended can't be renewed: install the agent anew" in done.out


@dataclass
class Calling:
    """Somebody who goes on calling, on one channel, until the block ends; every failure is kept."""

    line: grpc.Channel
    well: int = 0
    failures: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Calling":
        self._thread = threading.Thread(target=self._call)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _call(self) -> None:
        while not self._over.wait(0.02):
            try:
                describe(self.line)
                self.well += 1
            except grpc.RpcError as error:
                self.failures.append(str(error))


def _wait(event: threading.Event) -> None:
    event.wait(20.0)


def hanging(line: grpc.Channel, port: int) -> Any:
    """Begin a check that waits for a server which says nothing, for as long as its probe may."""
    request = CheckRequest(include=["HTTP-HEALTH"])
    request.targets.add(probe="http", service="http", name="hanging", url=f"http://127.0.0.1:{port}/")
    return line.unary_stream(CHECK, CheckRequest.SerializeToString, None)(request, timeout=30.0)


@pytest.mark.covers("sec:push")
def test_a_revoked_operator_is_refused_everywhere_within_5_s_of_the_push_and_others_see_no_error(trio: Trio) -> None:
    web01 = trio.running[0]
    bob = operator(trio.desk, trio.desk.folder, "bob", "observer")
    files = Files(Path(bob["FLEETMEDIC_CERTIFICATE"]), Path(bob["FLEETMEDIC_KEY"]), trio.desk.pki / "agent-ca.crt")
    settings = h2_client.context(files, files)
    with h2_client.connected(web01.port, settings, "web01") as first:
        assert first.call(DESCRIBE).code == grpc.StatusCode.OK
        session = first.tls.session
    alice = {key: trio.desk.environment[key] for key in ("FLEETMEDIC_CERTIFICATE", "FLEETMEDIC_KEY")}
    silent = threading.Event()
    with (
        answering(lambda _: _wait(silent)) as port,
        channel(trio, web01, bob) as his,
        channel(trio, web01, alice) as hers,
        Calling(hers) as going_on,
    ):
        describe(his)
        stream = hanging(his, port)
        until("the check waits", lambda: going_on.well > 3)
        began = time.monotonic()
        done = trio.run(
            "pki", "revoke", "bob", "--reason", "laptop lost", "--dir", trio.desk.pki, "--push", "--deadline", "4s"
        )
        pushed = time.monotonic()
        number = revocation.held(trio.desk.pki)
        assert done.out.splitlines()[0].startswith(f"denied 1 certificate of bob: denylist {number}, ")
        with pytest.raises(grpc.RpcError, match="is on the denylist") as warm:
            describe(his)
        with pytest.raises(grpc.RpcError, match="is on the denylist") as live:
            list(stream)
        with h2_client.connected(web01.port, settings, "web01", session=session) as again:
            resumed = again.call(DESCRIBE)
        took = time.monotonic() - pushed
        silent.set()
    assert took < PUSH
    assert pushed - began < PUSH + 4.0
    assert {warm.value.code(), live.value.code(), resumed.code} == {grpc.StatusCode.UNAUTHENTICATED}
    assert going_on.failures == []
    assert done.code == 4
    assert [line for line in done.out.splitlines() if line.startswith("✓ ")] == [
        f"✓ web0{index}  pushed: it has denylist {number}" for index in (1, 2, 3)
    ]
    assert f"again: fleetmedic pki push dark01 -i {trio.inventory} --dir {trio.desk.pki}" in done.out
    assert "4 hosts: 1 unreachable  3 pushed   exit code 4" in done.out
    doctored = trio.run("agent", "doctor", "web01", "--format", "json", who=bob).json()["reports"][0]
    assert doctored["fault"] == "identity"
    assert "is on the denylist" in doctored["evidence"]


@pytest.mark.covers("sec:push")
def test_a_host_with_a_newer_denylist_than_ours_is_told_and_keeps_it(trio: Trio, folder: Path) -> None:
    old = (trio.desk.pki / "denylist.pem").read_bytes()
    operator(trio.desk, trio.desk.folder, "bob", "observer")
    assert trio.desk.run("pki", "revoke", "bob", "--reason", "gone", "--dir", trio.desk.pki).code == 0
    number = revocation.held(trio.desk.pki)
    assert number
    first = trio.run("pki", "push", "web01", "--dir", trio.desk.pki)
    assert (first.code, first.out) == (
        0,
        f"✓ web01  pushed: it has denylist {number}\n1 host: 1 pushed   exit code 0\n",
    )
    again = trio.run("pki", "push", "web01", "--dir", trio.desk.pki)
    assert again.code == 0, "the same once more is no fault"
    (trio.desk.pki / "denylist.pem").write_bytes(old)
    done = trio.run("pki", "push", "all:!dark01", "--dir", trio.desk.pki)
    assert done.code == 2
    assert "✗ web01  failed: it has a newer denylist than ours" in done.out
    assert "2 pushed" in done.out
    assert trio.reports("web01")["web01"]["denylist_behind"] == 1 - number


@pytest.mark.covers("sec:push")
def test_an_observer_pushes_nothing(shared: Trio) -> None:
    done = shared.run("pki", "push", "web01", "--dir", shared.desk.pki, who={})
    assert done.code == 2
    assert "permission denied: alice is observer; needs responder" in done.out


@pytest.mark.covers("sec:push")
def test_nobody_is_denied_where_the_push_could_not_begin(shared: Trio) -> None:
    operator(shared.desk, shared.desk.folder, "bob", "observer")
    before = (shared.desk.pki / "denylist.pem").read_bytes()
    done = shared.desk.run("pki", "revoke", "bob", "--reason", "gone", "--dir", shared.desk.pki, "--push")
    assert (done.code, done.out) == (65, "")
    assert (shared.desk.pki / "denylist.pem").read_bytes() == before
