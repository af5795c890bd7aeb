"""A real worker's audit log, freeze and denylist: what is recorded, what is refused, and that no look waits for it."""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleetmedic.v1.agent_pb2 import AuditRequest, CheckRequest, DescribeRequest, SetDenylistRequest, SetFreezeRequest
from fleetmedic.v1.local_pb2 import (
    REFUSAL_KIND_BUSY,
    REFUSAL_KIND_FAILED_PRECONDITION,
    REFUSAL_KIND_INVALID,
    REFUSAL_KIND_NOT_PERMITTED,
    Caller,
    LocalRequest,
    LocalResponse,
    Noted,
)
from tests.agent.front import operator, organisation
from tests.lab import child, fixtures, hung_mount
from tests.lab.agents import BIN, Desk
from tests.lab.authority import pem
from tests.lab.waiting import until
from tests.lab.worker_calls import ask, freeze, records, standing

DISK = "64k"


@contextlib.contextmanager
def working(folder: Path, more: str = "") -> Iterator[Path]:
    """Run a worker alone; give its run folder."""
    file = folder / "agent.toml"
    file.write_text(f'name = "db01"\nstate = "{folder}/state"\nrun = "{folder}/run"\ndiscover = false\n{more}')
    with child.run(
        [BIN / "fleetmedic-agent", "work", "--config", file],
        log=folder / "worker.log",
        ready=lambda _: (folder / "run/worker.sock").exists(),
        name="worker",
    ):
        yield folder / "run"


def told(run: Path, after: int = 0) -> list[dict[str, Any]]:
    """Give the audit log's records; those of what was looked at come when the answer is out."""
    return [json.loads(record) for record in records(run, after)]


def until_recorded(run: Path, method: str, outcome: str = "done") -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = [item for item in told(run) if (item["method"], item["outcome"]) == (method, outcome)]
        return bool(found)

    until(f"{method} {outcome} is recorded", there, seconds=5.0)
    return found[-1]


@pytest.fixture(scope="module")
def run(lab: Path) -> Iterator[Path]:
    """Run a worker for the tests that leave it whole."""
    folder = lab / "recording"
    folder.mkdir()
    with working(folder) as made:
        yield made


@pytest.mark.covers("sec:audit")
def test_a_look_is_recorded_with_who_asked_and_what(run: Path) -> None:
    caller = Caller(role="observer", user="bob", serial="2A", break_glass="the bastion is down")
    ask(run, LocalRequest(check=CheckRequest(request_id="r-1", include=["HOST-MEM"], services=["host"])), caller)
    made = until_recorded(run, "Check")
    assert made["detail"] == "include HOST-MEM; services host"
    assert {key: made[key] for key in ("user", "role", "serial", "break_glass", "request_id")} == {
        "user": "bob",
        "role": "observer",
        "serial": "2A",
        "break_glass": "the bastion is down",
        "request_id": "r-1",
    }
    ask(run, LocalRequest(describe=DescribeRequest()), caller)
    assert until_recorded(run, "Describe")["user"] == "bob"
    ask(run, LocalRequest(check=CheckRequest(include=["NO-SUCH"])), caller)
    assert "NO-SUCH" in until_recorded(run, "Check", "refused")["detail"]


@pytest.mark.covers("sec:audit")
def test_who_calls_over_a_command_is_recorded_by_the_user_s_name(run: Path, desk: Desk) -> None:
    request = LocalRequest(check=CheckRequest(include=["HOST-MEM"]), caller=Caller(role="observer"))
    body = request.SerializeToString()
    subprocess.run(
        [BIN / "fleetmedic-agent", "check", "--stdio", "--config", run.parent / "agent.toml"],
        input=len(body).to_bytes(4, "big") + body,
        check=True,
        capture_output=True,
    )
    until("root is recorded", lambda: any((item["user"], item["method"]) == ("root", "Check") for item in told(run)))


@pytest.mark.covers("sec:audit")
def test_without_a_worker_a_look_is_recorded_too(folder: Path) -> None:
    (folder / "agent.toml").write_text(f'state = "{folder}/state"\nrun = "{folder}/run"\ndiscover = false\n')
    body = LocalRequest(check=CheckRequest(include=["HOST-MEM"]), caller=Caller(role="observer")).SerializeToString()
    began = time.monotonic()
    done = subprocess.run(
        [BIN / "fleetmedic-agent", "check", "--stdio", "--config", folder / "agent.toml"],
        input=len(body).to_bytes(4, "big") + body,
        check=True,
        capture_output=True,
    )
    assert time.monotonic() - began < 5.0
    assert done.stdout
    log = folder / "audit/000000000001.log"
    until("the look is recorded", lambda: log.exists() and b'"user":"root","role":"observer"' in log.read_bytes())


@pytest.mark.covers("sec:freeze", "sec:standing")
def test_a_freeze_stands_in_every_reply_until_it_is_thawed(run: Path) -> None:
    made = freeze(run, "deploy until 9").set_freeze.standing
    assert (made.freeze.reason, made.freeze.user) == ("deploy until 9", "alice")
    assert abs(made.freeze.since_time.ToSeconds() - time.time()) < 60
    assert standing(run).freeze == made.freeze
    (described,) = ask(run, LocalRequest(describe=DescribeRequest()))
    assert described.describe.standing.freeze == made.freeze
    file = run.parent / "trust/freeze.json"
    assert (oct(file.stat().st_mode), oct(file.parent.stat().st_mode)) == ("0o100644", "0o40755")
    assert not freeze(run, "deployed", frozen=False).set_freeze.standing.HasField("freeze")
    assert not standing(run).HasField("freeze")
    assert not file.exists()
    changes = [item for item in told(run) if item["method"] == "SetFreeze"][-4:]
    assert [(item["outcome"], item["detail"]) for item in changes] == [
        ("begun", "freeze: deploy until 9"),
        ("done", "freeze: deploy until 9"),
        ("begun", "thaw: deployed"),
        ("done", "thaw: deployed"),
    ]


@pytest.mark.covers("sec:freeze")
@pytest.mark.parametrize("reason", ["", "  ", "a\nb", "x" * 201, "\u202egnihton"])
def test_a_reason_that_is_none_is_refused(run: Path, reason: str) -> None:
    made = freeze(run, reason)
    assert made.refusal.kind == REFUSAL_KIND_INVALID
    assert not standing(run).HasField("freeze")


@pytest.mark.covers("sec:freeze")
@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"reason": 1}', b"\xff", b'{"reason":"a","user":"b","since":1e400}']
)
def test_a_freeze_that_can_t_be_read_holds(run: Path, text: bytes) -> None:
    file = run.parent / "trust/freeze.json"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(text)
    assert standing(run).freeze.reason.endswith("is no freeze, and no thaw")
    freeze(run, "mended", frozen=False)
    assert not standing(run).HasField("freeze")


@pytest.mark.covers("sec:standing")
@pytest.mark.parametrize("role", ["observer", "", "root", "ROLE_ADMIN", "unspecified"])
def test_the_worker_does_not_take_the_front_s_word_for_what_a_role_may_do(run: Path, role: str) -> None:
    caller = Caller(role=role, user="eve")
    for request in (
        LocalRequest(set_freeze=SetFreezeRequest(frozen=True, reason="x")),
        LocalRequest(set_denylist=SetDenylistRequest(signed_list=b"x")),
        LocalRequest(audit=AuditRequest()),
    ):
        (made,) = ask(run, request, caller)
        assert made.refusal.kind == REFUSAL_KIND_NOT_PERMITTED
    assert "needs responder" in until_recorded(run, "SetFreeze", "refused")["detail"]


@pytest.mark.covers("sec:freeze")
@pytest.mark.parametrize(
    "request_",
    [
        LocalRequest(set_freeze=SetFreezeRequest(frozen=True, reason="x")),
        LocalRequest(set_denylist=SetDenylistRequest(signed_list=b"x")),
        LocalRequest(audit=AuditRequest()),
        LocalRequest(noted=Noted(method="Renew", outcome="begun")),
    ],
)
def test_over_standard_input_nothing_can_be_changed_nor_the_log_be_read(run: Path, request_: LocalRequest) -> None:
    request_.caller.CopyFrom(Caller(role="admin", user="eve"))
    body = request_.SerializeToString()
    done = subprocess.run(
        [BIN / "fleetmedic-agent", "check", "--stdio", "--config", run.parent / "agent.toml"],
        input=len(body).to_bytes(4, "big") + body,
        check=True,
        capture_output=True,
    )
    assert LocalResponse.FromString(done.stdout[4:]).refusal.kind == REFUSAL_KIND_NOT_PERMITTED
    assert not standing(run).HasField("freeze")


@pytest.mark.covers("sec:audit")
def test_what_the_front_does_itself_is_recorded_before_it_is_answered(run: Path) -> None:
    (made,) = ask(run, LocalRequest(noted=Noted(method="Renew", outcome="begun", detail="a new key")))
    last = [item for item in told(run) if item["method"] == "Renew"][-1]
    assert (last["outcome"], last["detail"]) == ("begun", "a new key")
    assert made.noted.standing.audit_sequence == last["sequence"]
    ask(run, LocalRequest(noted=Noted(method="Check", outcome="refused", detail="no certificate")), Caller())
    (unknown,) = [item for item in told(run) if item["detail"] == "no certificate"]
    assert (unknown["user"], unknown["outcome"]) == ("", "refused")
    assert {last["by"], unknown["by"]} == {"front"}


@pytest.mark.covers("sec:noted")
@pytest.mark.parametrize(
    ("method", "outcome"),
    [("Renew", "perhaps"), ("SetFreeze", "done"), ("SetDenylist", "begun"), ("Apply", "done"), ("Check", "done")],
)
def test_the_front_notes_nothing_but_refusals_and_what_it_does_itself(run: Path, method: str, outcome: str) -> None:
    before = [item for item in told(run) if item["by"] == "front"]
    bob = Caller(role="admin", user="bob")
    (made,) = ask(run, LocalRequest(noted=Noted(method=method, outcome=outcome, detail="so it was")), bob)
    assert made.refusal.kind == REFUSAL_KIND_INVALID
    assert [item for item in told(run) if item["detail"] == "so it was"] == []
    assert [item for item in told(run) if item["by"] == "front"] == before


@pytest.mark.covers("sec:spared")
def test_who_may_only_look_pushes_no_change_out_of_the_log(folder: Path) -> None:
    with working(folder) as run:
        freeze(run)
        eve = Caller(role="observer", user="eve")
        odd = LocalRequest(check=CheckRequest(request_id="\u202e" * 10_000))
        for _ in range(80):
            (made,) = ask(run, odd, eve)
            assert made.refusal.kind == REFUSAL_KIND_INVALID
            ask(run, LocalRequest(set_freeze=SetFreezeRequest(reason="x")), eve)
            ask(run, LocalRequest(noted=Noted(method="Audit", outcome="refused", detail="x" * 999)), eve)
        until_recorded(run, "Audit", "refused")
        hers = [record for record in records(run) if b'"eve"' in record]
        assert 0 < len(hers) <= 3 * 60 + 2
        assert max(map(len, hers)) < 800
        assert b"u202e" not in b"".join(hers)


@pytest.mark.covers("sec:spared")
def test_a_front_that_was_taken_over_pushes_no_change_out_of_the_log(folder: Path) -> None:
    """Neither by renewals that it notes, nor by changes of a user it makes up; each is refused, not made in silence."""
    with working(folder) as run:
        renewing = LocalRequest(noted=Noted(method="Renew", outcome="begun", detail="x" * 999))
        freezing = LocalRequest(set_freeze=SetFreezeRequest(frozen=True, reason="x"))
        for request, most in ((renewing, 60), (freezing, 30)):
            answers = [ask(run, request, Caller(role="admin", user="eve"))[0] for _ in range(most + 5)]
            assert [answer.HasField("refusal") for answer in answers] == [False] * most + [True] * 5
            assert answers[-1].refusal.kind == REFUSAL_KIND_BUSY
            assert "eve changes too much" in answers[-1].refusal.reason
        assert len([record for record in records(run) if b'"eve"' in record]) <= 120 + 60
        assert freeze(run, "not of eve's").HasField("set_freeze")


# The denylist.


NOW = datetime(2026, 1, 1, tzinfo=UTC)


def revocations(key: ec.EllipticCurvePrivateKey, issuer: x509.Name, number: int, *serials: int) -> bytes:
    made = x509.CertificateRevocationListBuilder().issuer_name(issuer)
    made = made.last_update(NOW).next_update(NOW + timedelta(days=30))
    made = made.add_extension(x509.CRLNumber(number), critical=False)
    for serial in serials:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW).build()
        made = made.add_revoked_certificate(revoked)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.covers("sec:A10", "sec:audit")
def test_a_denylist_is_kept_when_it_is_signed_and_no_older_and_only_then(desk: Desk, folder: Path) -> None:
    authority = x509.load_pem_x509_certificate((desk.pki / "operator-ca.crt").read_bytes())
    key = serialization.load_pem_private_key((desk.pki / "operator-ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    strange = ec.generate_private_key(ec.SECP256R1())
    second = revocations(key, authority.subject, 2, 0x1F)
    tls = f'[tls]\ncertificate = "/c"\nkey = "/k"\nclient_ca = "{desk.pki / "operator-ca.crt"}"\n'
    with working(folder, tls) as run:

        def push(text: bytes) -> LocalResponse:
            return ask(run, LocalRequest(set_denylist=SetDenylistRequest(signed_list=text)))[0]

        kept = folder / "trust/denylist.pem"
        assert push(revocations(strange, authority.subject, 1)).refusal.kind == REFUSAL_KIND_INVALID
        assert push(b"junk").refusal.kind == REFUSAL_KIND_INVALID
        assert not kept.exists()
        assert push(second).set_denylist.standing.audit_sequence
        assert (kept.read_bytes(), oct(kept.stat().st_mode)) == (second, "0o100644")
        older = push(revocations(key, authority.subject, 1))
        assert older.refusal.kind == REFUSAL_KIND_FAILED_PRECONDITION
        assert "2 is here already" in older.refusal.reason
        assert push(second).HasField("set_denylist")
        assert kept.read_bytes() == second
        third = revocations(key, authority.subject, 3, 0x1F, 0x2A)
        assert push(third).HasField("set_denylist")
        assert kept.read_bytes() == third
        done = [item["detail"] for item in told(run) if (item["method"], item["outcome"]) == ("SetDenylist", "done")]
        assert done == ["denylist 2: 1 certificates", "denylist 2: 1 certificates", "denylist 3: 2 certificates"]


@pytest.mark.covers("sec:A10")
def test_the_list_of_a_new_authority_takes_nothing_from_the_old_one_s(folder: Path) -> None:
    old, new = organisation(NOW), organisation(NOW)
    client_ca = folder / "both.crt"
    client_ca.write_bytes(pem(old.own.certificate) + pem(new.own.certificate))
    tls = f'[tls]\ncertificate = "/c"\nkey = "/k"\nclient_ca = "{client_ca}"\n'
    with working(folder, tls) as run:

        def push(text: bytes) -> LocalResponse:
            return ask(run, LocalRequest(set_denylist=SetDenylistRequest(signed_list=text)))[0]

        kept = folder / "trust/denylist.pem"
        olds = old.denylist(7, operator(old, "admin"))
        for offered in (olds, new.denylist(2), new.denylist(1)):
            answer = push(offered)
        assert "has the number 1, and 2 is here already" in answer.refusal.reason
        assert kept.read_bytes().count(b"BEGIN X509 CRL") == 2
        assert olds in kept.read_bytes()
        client_ca.write_bytes(pem(new.own.certificate))
        third = new.denylist(3)
        assert push(third).HasField("set_denylist")
        assert kept.read_bytes() == third


# No audit, no change; and no look that waits.


def seconds(run: Path) -> float:
    """Give the best time of three small checks, and hold that they are whole."""
    took = []
    for _ in range(3):
        began = time.monotonic()
        answers = ask(run, LocalRequest(check=CheckRequest(include=["HOST-MEM"])))
        took.append(time.monotonic() - began)
        assert answers[-1].check.last
    return min(took)


@contextlib.contextmanager
def small_disk(place: Path, *options: str) -> Iterator[None]:
    fixtures.need(root=True)
    place.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "small", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.covers("sec:R6", "sec:audit", "sec:standing")
@pytest.mark.parametrize("state", ["full", "read-only", "open to others"])
def test_where_no_record_can_be_written_checks_work_and_changes_are_refused(folder: Path, state: str) -> None:
    with small_disk(folder / "audit"), working(folder) as run:
        usual = seconds(run)
        if state == "full":
            with contextlib.suppress(OSError):
                (folder / "audit/ballast").write_bytes(b"x" * 10**6)
            # What is left of the log's last page.
            while not (folder / "run/audit-unwritten").exists():
                seconds(run)
                time.sleep(0.05)
        elif state == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", folder / "audit"], check=True)
        else:
            (folder / "audit").chmod(0o755)
        assert seconds(run) < usual + 0.5
        made = freeze(run)
        assert made.refusal.kind == REFUSAL_KIND_FAILED_PRECONDITION
        assert made.refusal.reason.startswith("the audit log can't be written: ")
        (noted,) = ask(run, LocalRequest(noted=Noted(method="Renew", outcome="begun")))
        assert noted.refusal.kind == REFUSAL_KIND_FAILED_PRECONDITION
        stands = standing(run)
        assert not stands.HasField("freeze")
        assert stands.alarms[0].startswith("the audit log can't be written, and nothing will be changed: ")
        assert stands.audit_sequence > 0


@pytest.mark.covers("sec:R6", "sec:R11", "sec:standing")
def test_after_a_restart_on_a_disk_that_takes_nothing_the_last_record_is_told(folder: Path) -> None:
    with small_disk(folder / "audit"):
        with working(folder) as run:
            freeze(run)
            before = standing(run)
            until("the look is recorded", lambda: standing(run).audit_sequence > before.audit_sequence)
        subprocess.run(["mount", "-o", "remount,ro", folder / "audit"], check=True)
        last = (run / "audit-head").read_text()
        for note in run.glob("audit-*"):
            note.unlink()
        with working(folder) as run:
            stands = standing(run)
            assert f"{stands.audit_sequence} {stands.audit_head.hex()}" == last
            assert "Read-only file system" in stands.alarms[0]


@pytest.mark.covers("sec:R6", "sec:audit", "sec:standing")
def test_on_a_disk_that_hangs_checks_answer_as_fast_and_say_so(folder: Path) -> None:
    fixtures.need(root=True)
    (folder / "usual").mkdir()
    with working(folder / "usual") as run:
        usual = seconds(run)
    (folder / "hung").mkdir()
    with hung_mount.run(folder / "hung/audit"), working(folder / "hung") as run:
        until("the hang is told", lambda: bool(standing(run).alarms), seconds=10.0)
        for _ in range(40):
            ask(run, LocalRequest(check=CheckRequest(include=["HOST-MEM"])))
        assert seconds(run) < usual + 0.5
        assert "can't be written" in standing(run).alarms[0]
        assert freeze(run).refusal.kind == REFUSAL_KIND_FAILED_PRECONDITION
        # The first one hangs in the kernel; of the others the next that is written will tell.
        until("the looks are counted", lambda: missed(run) >= 40, seconds=10.0)


def missed(run: Path) -> int:
    return sum(share["missed"] for share in json.loads((run / "audit-spared").read_bytes())["each"].values())


@pytest.mark.covers("sec:R6", "sec:R11")
def test_a_log_that_was_changed_is_told_at_the_next_start_and_changes_go_on_being_recorded(folder: Path) -> None:
    with working(folder) as run:
        freeze(run, "one")
        freeze(run, "two")
    log = folder / "audit/000000000001.log"
    log.write_bytes(log.read_bytes().replace(b"freeze: one", b"freeze: own"))
    with working(folder) as run:
        until("the edit is told", lambda: bool(standing(run).alarms))
        assert (
            standing(run).alarms[0].startswith("the audit log does not hold together: record 2 is not what was written")
        )
        assert freeze(run, "three").HasField("set_freeze")


@pytest.mark.covers("sec:audit")
def test_a_worker_s_start_is_in_the_log_and_the_chain_goes_on_over_it(folder: Path) -> None:
    with working(folder) as run:
        first = standing(run).audit_sequence
    with working(folder) as run:
        begun = [item for item in told(run) if item["method"] == "work"]
        assert standing(run).audit_sequence > first
    assert [item["user"] for item in begun] == ["fleetmedic", "fleetmedic"]
    assert "boot " in begun[0]["detail"]


@pytest.mark.covers("sec:standing")
def test_how_the_agent_stands_costs_a_check_nothing_that_can_be_measured(folder: Path) -> None:
    from agent.config import Config
    from agent.standing import standing as made

    with working(folder) as run:
        freeze(run)
        config = Config(None, "db01", folder / "state", run, folder / "trust", folder / "audit")
        began = time.process_time()
        for _ in range(200):
            assert made(config).freeze.reason == "deploy"
        assert (time.process_time() - began) / 200 < 0.001
