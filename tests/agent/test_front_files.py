"""What a front goes by while it runs: files that are replaced under it, well or badly, and lists that are pushed."""

import datetime
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from agent.front.worker import WorkerAway
from fleetmedic.v1.agent_pb2 import DescribeRequest, DescribeResponse, SetDenylistRequest
from fleetmedic.v1.agent_pb2_grpc import AgentServiceStub
from fleetmedic.v1.local_pb2 import (
    REFUSAL_KIND_BUSY,
    REFUSAL_KIND_FAILED_PRECONDITION,
    LocalRequest,
    LocalResponse,
    Refusal,
)
from tests.agent import front
from tests.agent.front import Front, operator, organisation
from tests.agent.test_live_denial import Calling, Clock, push
from tests.lab import h2_client
from tests.lab.authority import DAY, MINUTE, Issued, pem
from tests.lab.waiting import until

SECONDS = 5.0


@pytest.fixture
def clock() -> Clock:
    """Give the front's clock, which starts now."""
    return Clock()


@pytest.fixture
def running(tmp_path: Path, clock: Clock) -> Iterator[Front]:
    """Run a front of the test's own."""
    with front.run(tmp_path, clock.now, utc=clock) as started:
        yield started


def described(channel: grpc.Channel) -> DescribeResponse:
    return AgentServiceStub(channel).Describe(DescribeRequest(), timeout=SECONDS)


def replace_pair(running: Front, issued: Issued) -> None:
    """As an administrator's own tool does it: two files, one after the other."""
    files = issued.write(running.folder / "replacing", "new")
    shutil.copy(files.key, running.tls.key)
    shutil.copy(files.certificate, running.tls.certificate)


def served_serial(running: Front) -> int:
    """The serial number of the certificate that a new connection sees."""
    settings = h2_client.context(running.files(operator(running.operators, "observer")), running.agent)
    with h2_client.connected(running.port, settings, front.NAME) as client:
        raw = client.tls.getpeercert(binary_form=True)
    assert raw is not None
    return x509.load_der_x509_certificate(raw).serial_number


def alarms(running: Front) -> list[str]:
    running.held.look()
    return running.alarms.all()


@pytest.mark.covers("sec:R9")
def test_a_new_certificate_is_served_to_new_connections_and_no_call_fails(running: Front) -> None:
    new = running.agents.issue(front.NAME, dns=[front.NAME], ends=20 * DAY)
    with running.channel(operator(running.operators, "observer")) as warm, Calling(warm) as going_on:
        replace_pair(running, new)
        running.held.look()
        assert served_serial(running) == new.certificate.serial_number
        with running.channel(operator(running.operators, "observer", "bob")) as fresh:
            answer = described(fresh)
        assert described(warm).agent.name == front.NAME
    assert going_on.failures == []
    assert answer.standing.certificate_expire_time.ToDatetime(datetime.UTC) == running.now + 20 * DAY
    assert alarms(running) == []


@pytest.mark.covers("sec:R9")
def test_operators_authorities_take_over_from_one_another_and_no_call_fails(running: Front) -> None:
    new = organisation(running.now)
    old_root, new_root = pem(running.operators.own.certificate), pem(new.own.certificate)
    old_channel = running.channel(operator(running.operators, "observer"))
    with old_channel, Calling(old_channel) as old_one:
        running.tls.client_ca.write_bytes(old_root + new_root)
        running.held.look()
        with running.channel(operator(new, "observer", "bob")) as channel, Calling(channel) as new_one:
            described(channel)
            with running.channel(operator(running.operators, "admin")) as still:
                described(still)
    assert (old_one.failures, new_one.failures) == ([], [])
    with running.channel(operator(running.operators, "observer")) as warm:
        described(warm)
        running.tls.client_ca.write_bytes(new_root)
        running.held.look()
        with pytest.raises(grpc.RpcError, match="not issued by the operators' authority itself"):
            described(warm)
    with running.channel(operator(new, "observer", "bob")) as channel:
        described(channel)


JUNK: dict[str, tuple[str, Callable[[Front], bytes], str]] = {
    "no certificate": ("certificate", lambda running: b"junk", "is no PEM certificate"),
    "an empty file": ("certificate", lambda running: b"", "is no PEM certificate"),
    "no key": ("key", lambda running: b"junk", "is no PEM private key"),
    "another key": ("key", lambda running: other(running).read_bytes(), "does not belong to the certificate"),
    "no authority": ("client_ca", lambda running: b"junk", "tls.client_ca is no PEM certificate"),
    "two organisations": (
        "client_ca",
        lambda running: running.tls.client_ca.read_bytes() + pem(organisation(running.now, "evil").own.certificate),
        "names several organisations",
    ),
}


def other(running: Front) -> Path:
    return running.agents.issue(front.NAME, dns=[front.NAME]).write(running.folder, "other").key


@pytest.mark.covers("sec:R9")
@pytest.mark.parametrize("kind", JUNK)
def test_junk_keeps_the_last_good_files_and_is_an_alarm_until_it_is_mended(running: Front, kind: str) -> None:
    field, content, why = JUNK[kind]
    file: Path = getattr(running.tls, field)
    good = file.read_bytes()
    before = served_serial(running)
    file.write_bytes(content(running))
    for _ in range(3):
        running.held.look()
    assert served_serial(running) == before
    with running.channel(operator(running.operators, "observer")) as channel:
        (said,) = described(channel).standing.alarms
    assert why in said
    assert str(file.parent) in said
    assert said.endswith("; the ones before go on to be used")
    assert running.said == [f"alarm: {said}"]
    file.write_bytes(good)
    assert alarms(running) == []
    assert running.said[1:] == [f"no alarm any more: {said}"]


@pytest.mark.covers("sec:R9")
def test_a_certificate_of_another_name_or_out_of_time_takes_no_one_s_place(running: Front) -> None:
    before = served_serial(running)
    for issued, why in (
        (running.agents.issue("db02", dns=["db02"]), "is for db02, and this agent is db01"),
        (running.agents.issue("x", dns=[front.NAME], begins=-2 * DAY, ends=-DAY), "is not valid at this host's time"),
        (running.agents.issue("x", dns=[front.NAME], begins=DAY, ends=2 * DAY), "is not valid at this host's time"),
        (running.agents.issue("x"), "has no DNS name"),
    ):
        replace_pair(running, issued)
        (said,) = alarms(running)
        assert why in said
        assert served_serial(running) == before


@pytest.mark.covers("sec:R9")
def test_a_certificate_that_becomes_valid_later_is_taken_then(running: Front, clock: Clock) -> None:
    replace_pair(running, running.agents.issue("x", dns=[front.NAME], begins=MINUTE, ends=2 * DAY))
    assert len(alarms(running)) == 1
    clock.now += MINUTE
    assert alarms(running) == []


def test_the_end_of_its_own_certificate_and_of_the_denylist_are_alarms(running: Front, clock: Clock) -> None:
    clock.now += 10 * DAY + MINUTE
    ended, stale = alarms(running)
    assert ended.endswith("the agent's certificate has ended")
    assert stale == "the denylist is out of date: fleetmedic pki push brings a new one"
    assert len(running.held.trusted().denylists) == 1


def place(running: Front, raw: bytes) -> None:
    """As the worker does it: a file beside, and a rename."""
    fresh = running.trust / "new"
    fresh.write_bytes(raw)
    fresh.replace(running.trust / "denylist.pem")


def number(running: Front) -> int:
    return sum(denylist.number for denylist in running.held.trusted().denylists.values())


@pytest.mark.covers("sec:A10")
def test_a_bad_denylist_keeps_the_old_one_and_is_an_alarm(running: Front) -> None:
    own, mallory = running.operators, operator(running.operators, "admin")
    place(running, own.denylist(5, mallory))
    assert (alarms(running), number(running)) == ([], 5)
    held = running.held.trusted().denylists
    for raw, why in (
        (own.denylist(4), "has the number 4, and 5 is here already"),
        (own.denylist(5), "has the number 5 of another list"),
        (own.denylist(6), "would let in one certificate that 5 denies: log in, then deny and push again"),
        (organisation(running.now).denylist(9), "is not signed by the operators' authority"),
        (b"junk", "is no PEM revocation list"),
    ):
        place(running, raw)
        (said,) = alarms(running)
        assert why in said
        assert said.endswith("; number 5 goes on to be used")
        assert running.held.trusted().denylists is held
    (running.trust / "denylist.pem").unlink()
    assert "there is no denylist at" in alarms(running)[0]
    assert running.held.trusted().denylists is held
    place(running, own.denylist(6, mallory))
    assert (alarms(running), number(running)) == ([], 6)


@pytest.mark.parametrize(("raw", "why"), [(b"junk", "is no PEM revocation list"), (b"", "is no PEM revocation list")])
def test_a_front_starts_with_a_bad_denylist_and_says_so(tmp_path: Path, raw: bytes, why: str) -> None:
    with front.run(tmp_path, Clock().now, denied=raw) as running:
        with running.channel(operator(running.operators, "observer")) as channel:
            standing = described(channel).standing
        assert standing.denylist_sequence == 0
        assert why in standing.alarms[0]
        push(running, 3)
        place(running, running.operators.denylist(3))
        assert (alarms(running), number(running)) == ([], 3)


def refused(running: Front, raw: bytes) -> tuple[grpc.StatusCode, str]:
    carol = operator(running.operators, "responder", "carol")
    with running.channel(carol) as channel, pytest.raises(grpc.RpcError) as caught:
        AgentServiceStub(channel).SetDenylist(SetDenylistRequest(signed_list=raw), timeout=SECONDS)
    return caught.value.code(), str(caught.value.details())


@pytest.mark.covers("sec:A10")
def test_a_pushed_list_that_is_older_or_not_signed_by_the_authority_reaches_no_worker(running: Front) -> None:
    own = running.operators
    push(running, 5)
    before = len(running.asked())
    assert refused(running, own.denylist(4)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "the denylist has the number 4, and 5 is here already",
    )
    assert refused(running, own.denylist(5, operator(own, "admin")))[0] == grpc.StatusCode.FAILED_PRECONDITION
    for bad in (organisation(running.now).denylist(9), b"junk", b""):
        assert refused(running, bad)[0] == grpc.StatusCode.INVALID_ARGUMENT
    assert (len(running.asked()), number(running)) == (before, 5)


def test_the_same_list_may_be_pushed_again(running: Front) -> None:
    again = SetDenylistRequest(signed_list=running.operators.denylist(5))
    with running.channel(operator(running.operators, "responder")) as channel:
        stub = AgentServiceStub(channel)
        answers = [stub.SetDenylist(again, timeout=SECONDS) for _ in range(2)]
    assert [answer.standing.denylist_sequence for answer in answers] == [5, 5]


@pytest.mark.covers("sec:A10")
def test_a_new_authority_s_list_denies_its_own_and_takes_nothing_from_the_old_one_s(running: Front) -> None:
    old, new = running.operators, organisation(running.now)
    mallory = operator(old, "admin", "mallory")
    push(running, 7, mallory)
    place(running, old.denylist(7, mallory))
    running.tls.client_ca.write_bytes(pem(old.own.certificate) + pem(new.own.certificate))
    assert alarms(running) == []
    mary = operator(new, "admin", "mary")
    with running.channel(operator(new, "responder", "carol")) as channel:
        request = SetDenylistRequest(signed_list=new.denylist(2, mary))
        answer = AgentServiceStub(channel).SetDenylist(request, timeout=SECONDS)
    assert answer.standing.denylist_sequence == 2
    for denied in (mallory, mary):
        with running.channel(denied) as channel, pytest.raises(grpc.RpcError, match="is on the denylist"):
            described(channel)
    # What the worker then keeps.
    place(running, old.denylist(7, mallory) + new.denylist(2, mary))
    assert alarms(running) == []
    # The same number on a certificate of the other authority is somebody else.
    other = operator(new, "observer", "bob", serial=mallory.certificate.serial_number)
    with running.channel(other) as channel:
        described(channel)
    running.tls.client_ca.write_bytes(pem(new.own.certificate))
    assert (alarms(running), number(running)) == ([], 2)


@pytest.mark.covers("sec:live-denial")
@pytest.mark.parametrize("busy", [True, False])
def test_a_list_counts_though_the_worker_is_kept_away_and_that_is_told(tmp_path: Path, busy: bool) -> None:  # noqa: FBT001
    """Whoever it denies may be the one who keeps the worker away."""
    away = [True]

    def answers(request: LocalRequest, patience: float, wanted: Callable[[], bool]) -> Iterator[LocalResponse]:
        if away and request.HasField("set_denylist"):
            if not busy:
                raise WorkerAway("the agent's worker is away: Connection refused")
            yield LocalResponse(refusal=Refusal(kind=REFUSAL_KIND_BUSY, reason="32 calls are under way"))
            return
        yield from front.well(request, patience, wanted)

    with front.run(tmp_path, Clock().now, answers=answers) as running:
        mallory = operator(running.operators, "admin", "mallory")
        raw = running.operators.denylist(5, mallory)
        code, said = refused(running, raw)
        assert code == grpc.StatusCode.UNAVAILABLE
        assert said.endswith("; the denylist counts, and is not kept: push it again")
        with running.channel(mallory) as channel, pytest.raises(grpc.RpcError, match="is on the denylist"):
            described(channel)
        unrecorded, alarm = sorted(alarms(running), key=len)
        assert unrecorded == "the denylist 5 that carol brought counts, and is not recorded yet"
        assert alarm.endswith("has the number 1, and 5 is here already; number 5 goes on to be used")
        away.clear()
        until("the worker has it", lambda: unrecorded not in running.alarms.all())
        (told,) = {(item.caller.user, item.set_denylist.signed_list) for item in running.asked() if keeps(item)}
        assert told == ("carol", raw)
        push(running, 5, mallory)
        place(running, raw)
        assert alarms(running) == []


def keeps(request: LocalRequest) -> bool:
    return request.HasField("set_denylist")


def test_a_list_counts_only_once_the_worker_has_kept_it(tmp_path: Path) -> None:
    def full(request: object, patience: float, wanted: object) -> Iterator[LocalResponse]:
        reason = "the audit log can't be written: No space left on device"
        yield LocalResponse(refusal=Refusal(kind=REFUSAL_KIND_FAILED_PRECONDITION, reason=reason))

    with front.run(tmp_path, Clock().now, answers=full) as running:
        code, said = refused(running, running.operators.denylist(5))
        assert (code, number(running)) == (grpc.StatusCode.FAILED_PRECONDITION, 1)
        assert "No space left" in said


def test_a_look_at_files_that_have_not_changed_reads_none(running: Front) -> None:
    running.held.look()
    for file in (running.tls.key, running.tls.certificate, running.tls.client_ca, running.trust / "denylist.pem"):
        about = file.stat()
        file.write_bytes(bytes(about.st_size))
        os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert alarms(running) == []
    running.held.look(anew=True)
    assert len(running.alarms.all()) == 2
