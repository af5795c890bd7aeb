"""The denylist: signed, numbered, rising; and who can be denied."""

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from controller.trust import authority, holders, register, revocation
from controller.trust.files import TrustError


def crl(pki: Path) -> x509.CertificateRevocationList:
    return x509.load_pem_x509_crl((pki / "denylist.pem").read_bytes())


def deny(pki: Path, word: str, now: datetime, beside: Path | None = None) -> int:
    rows = holders.denied(holders.held(register.read(pki), now), word, "laptop lost", now, "root")
    return revocation.deny(pki, rows, now, beside)


def serial(pair_certificate: Path) -> int:
    return x509.load_pem_x509_certificate(pair_certificate.read_bytes()).serial_number


@pytest.mark.covers("sec:register")
def test_the_first_denylist_denies_nobody_and_is_signed_by_the_operators_authority(pki: Path, now: datetime) -> None:
    made = crl(pki)
    assert list(made) == []
    assert revocation.number(made) == 1
    assert authority.denylist(pki, now) == (pki / "denylist.pem").read_bytes()
    issuer = x509.load_pem_x509_certificate((pki / "operator-ca.crt").read_bytes())
    key = issuer.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert made.is_signature_valid(key)
    assert made.issuer == issuer.subject
    # A higher one replaces it, and nothing else: an agent out of reach must not forget whom it denies.
    assert made.next_update_utc == issuer.not_valid_after_utc


@pytest.mark.covers("sec:register")
def test_all_valid_certificates_of_a_user_are_denied_with_a_higher_number_and_a_line_each(
    pki: Path, now: datetime, tmp_path: Path
) -> None:
    ended = authority.issue_operator(pki, tmp_path / "0", "alice", "admin", now - timedelta(days=1))
    first = authority.issue_operator(pki, tmp_path / "1", "alice", "admin", now)
    second = authority.issue_operator(pki, tmp_path / "2", "alice", "observer", now)
    bob = authority.issue_operator(pki, tmp_path / "3", "bob", "observer", now)
    number = deny(pki, "alice", now)
    assert number == now.timestamp()
    assert {row.serial_number for row in crl(pki)} == {serial(first.certificate), serial(second.certificate)}
    assert revocation.number(crl(pki)) == number
    assert deny(pki, register.serial(serial(bob.certificate)), now) == number + 1
    assert {row.serial_number for row in crl(pki)} == {serial(item.certificate) for item in (first, second, bob)}
    assert serial(ended.certificate) not in {row.serial_number for row in crl(pki)}
    noted = [row for row in register.read(pki).entries if row.what == "revoked"]
    assert [(row.name, row.reason, row.actor, row.at) for row in noted] == [
        ("alice", "laptop lost", "root", now),
        ("alice", "laptop lost", "root", now),
        ("bob", "laptop lost", "root", now),
    ]  # fmt: skip


def test_nobody_can_be_denied_twice_and_a_user_without_a_valid_one_is_told_so(
    pki: Path, now: datetime, tmp_path: Path
) -> None:
    authority.issue_operator(pki, tmp_path, "alice", "admin", now)
    authority.issue_operator(pki, tmp_path, "bob", "admin", now - timedelta(days=1))
    number = deny(pki, "alice", now)
    with pytest.raises(TrustError, match="'alice' has no certificate that is valid: the last one was denied already"):
        deny(pki, "alice", now)
    with pytest.raises(TrustError, match=r"'bob' has no certificate that is valid: the last one ended on 2026-02-28"):
        deny(pki, "bob", now)
    assert revocation.number(crl(pki)) == number


def test_an_agents_certificate_cannot_be_denied_and_the_mend_is_named(pki: Path, now: datetime, tmp_path: Path) -> None:
    authority.issue_agent(pki, tmp_path, "db01", now)
    with pytest.raises(TrustError, match=r"no caller can be told .* give the host another name .* ends on 2026-05-30"):
        deny(pki, "db01", now)
    with pytest.raises(TrustError, match="operator-ca is an authority: make others with `fleetmedic pki init`"):
        deny(pki, "operator-ca", now)
    assert revocation.number(crl(pki)) == 1


def test_what_has_ended_long_ago_leaves_the_denylist_and_its_number_still_rises(
    pki: Path, now: datetime, tmp_path: Path
) -> None:
    first = authority.issue_operator(pki, tmp_path / "1", "alice", "admin", now)
    deny(pki, "alice", now)
    soon = now + timedelta(days=2)
    second = authority.issue_operator(pki, tmp_path / "2", "bob", "admin", soon)
    deny(pki, "bob", soon)
    assert {row.serial_number for row in crl(pki)} == {serial(item.certificate) for item in (first, second)}
    late = now + timedelta(days=8)
    third = authority.issue_operator(pki, tmp_path / "3", "carol", "admin", late)
    assert deny(pki, "carol", late) == late.timestamp()
    assert {row.serial_number for row in crl(pki)} == {serial(item.certificate) for item in (second, third)}


@pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"])
def test_a_denylist_that_is_junk_is_neither_given_out_nor_built_upon(
    pki: Path, now: datetime, tmp_path: Path, content: bytes
) -> None:
    authority.issue_operator(pki, tmp_path, "alice", "admin", now)
    (pki / "denylist.pem").write_bytes(content)
    before = (pki / "register.jsonl").read_bytes()
    for call in (lambda: authority.denylist(pki, now), lambda: deny(pki, "alice", now)):
        with pytest.raises(TrustError, match=r"denylist\.pem: is no denylist"):
            call()
    assert (pki / "denylist.pem").read_bytes() == content
    assert (pki / "register.jsonl").read_bytes() == before


def test_a_denylist_of_another_authority_is_refused(pki: Path, now: datetime, tmp_path: Path) -> None:
    authority.initialise(tmp_path / "other", "lab", now)
    (pki / "denylist.pem").write_bytes((tmp_path / "other" / "denylist.pem").read_bytes())
    with pytest.raises(TrustError, match="is not signed by the operators' authority"):
        authority.denylist(pki, now)


@pytest.mark.covers("sec:register")
def test_one_that_is_lost_is_made_of_the_register_with_a_number_that_no_agent_has(
    pki: Path, now: datetime, tmp_path: Path
) -> None:
    (pki / "denylist.pem").unlink()
    assert revocation.number(x509.load_pem_x509_crl(authority.denylist(pki, now))) == 1
    assert (pki / "denylist.pem").read_bytes() == authority.denylist(pki, now)
    made = authority.issue_operator(pki, tmp_path / "1", "alice", "admin", now)
    deny(pki, "alice", now)
    authority.issue_operator(pki, tmp_path / "2", "bob", "admin", now)
    last = deny(pki, "bob", now)
    (pki / "denylist.pem").unlink()
    found = x509.load_pem_x509_crl(authority.denylist(pki, now))
    assert revocation.number(found) > last
    assert serial(made.certificate) in {row.serial_number for row in found}
    assert len(list(found)) == 2


def test_a_denylist_too_long_for_an_agent_is_not_made(pki: Path, now: datetime, tmp_path: Path) -> None:
    authority.issue_operator(pki, tmp_path, "alice", "admin", now)
    (row,) = holders.denied(holders.held(register.read(pki), now), "alice", "why", now, "root")
    many = [
        type(row)(now, "revoked", "operator", "alice", "admin", f"{2**158 + number:X}", now, row.ends, "why", "root")
        for number in range(1, 1500)
    ]
    with pytest.raises(TrustError, match="would grow beyond what agents take"):
        revocation.deny(pki, many, now)
    assert revocation.number(crl(pki)) == 1
    assert deny(pki, "alice", now) == now.timestamp()


@dataclass(frozen=True)
class Copies:
    """A desk and a bastion with the same authorities, and alice and bob, of whom each issued one."""

    desk: Path
    bastion: Path
    alice: int
    bob: int

    @property
    def beside(self) -> Path:
        """Where a login would leave the bastion's list."""
        return self.desk.parent / "beside.pem"

    def log_in(self) -> None:
        shutil.copy(self.bastion / "denylist.pem", self.beside)


@pytest.fixture
def copies(pki: Path, now: datetime, tmp_path: Path) -> Copies:
    """Copy the folder, and issue a certificate at each place."""
    bastion = tmp_path / "bastion"
    shutil.copytree(pki, bastion)
    alice = authority.issue_operator(pki, tmp_path / "1", "alice", "admin", now)
    bob = authority.issue_operator(bastion, tmp_path / "2", "bob", "admin", now)
    return Copies(pki, bastion, serial(alice.certificate), serial(bob.certificate))


def denied(pem: bytes) -> set[int]:
    return {row.serial_number for row in x509.load_pem_x509_crl(pem)}


@pytest.mark.covers("sec:register")
def test_two_copies_of_an_authority_never_give_two_lists_one_number_and_the_later_list_denies_what_both_do(
    copies: Copies, now: datetime
) -> None:
    first = deny(copies.bastion, "bob", now)
    copies.log_in()
    second = deny(copies.desk, "alice", now + timedelta(seconds=30), copies.beside)
    assert second > first
    assert denied((copies.desk / "denylist.pem").read_bytes()) == {copies.alice, copies.bob}
    assert [row.name for row in register.read(copies.desk).entries if row.what == "revoked"] == ["alice"]


@pytest.mark.covers("sec:register")
def test_what_a_bastion_denied_before_the_desk_is_in_what_the_desk_pushes_after_a_login(
    copies: Copies, now: datetime
) -> None:
    early, late = deny(copies.bastion, "bob", now), deny(copies.desk, "alice", now + timedelta(seconds=30))
    assert early < late
    copies.log_in()
    made = authority.denylist(copies.desk, now + timedelta(minutes=1), copies.beside)
    assert denied(made) == {copies.alice, copies.bob}
    assert revocation.number(x509.load_pem_x509_crl(made)) > late
    assert (copies.desk / "denylist.pem").read_bytes() == made
    # Whoever asks again gets the same, and nothing is signed for it.
    assert authority.denylist(copies.desk, now + timedelta(minutes=2), copies.beside) == made
    # It need not be denied for ever.
    long = now + timedelta(days=9)
    (copies.desk / "denylist.pem").unlink()
    assert copies.bob not in denied(authority.denylist(copies.desk, long, copies.beside))


@pytest.mark.covers("sec:register")
def test_a_list_that_a_login_brought_and_that_denies_all_is_passed_on_without_the_key(
    copies: Copies, now: datetime
) -> None:
    deny(copies.bastion, "bob", now)
    copies.log_in()
    (copies.desk / "operator-ca.key").unlink()
    assert authority.denylist(copies.desk, now, copies.beside) == copies.beside.read_bytes()
    assert (copies.desk / "denylist.pem").read_bytes() == copies.beside.read_bytes()


@pytest.mark.parametrize("content", [b"junk", b""])
def test_a_list_beside_that_is_none_or_another_authoritys_changes_nothing(
    copies: Copies, now: datetime, tmp_path: Path, content: bytes
) -> None:
    authority.initialise(tmp_path / "other", "lab", now)
    authority.issue_operator(tmp_path / "other", tmp_path / "3", "carol", "admin", now)
    deny(tmp_path / "other", "carol", now)
    before = (copies.desk / "denylist.pem").read_bytes()
    for given in (content, (tmp_path / "other" / "denylist.pem").read_bytes()):
        copies.beside.write_bytes(given)
        assert authority.denylist(copies.desk, now, copies.beside) == before
    deny(copies.desk, "alice", now, copies.beside)
    assert denied((copies.desk / "denylist.pem").read_bytes()) == {copies.alice}


@pytest.mark.covers("sec:register")
def test_two_lists_of_one_number_make_a_third_with_a_higher_one(copies: Copies, now: datetime) -> None:
    assert deny(copies.bastion, "bob", now) == deny(copies.desk, "alice", now)
    copies.log_in()
    made = authority.denylist(copies.desk, now, copies.beside)
    assert denied(made) == {copies.alice, copies.bob}
    assert revocation.number(x509.load_pem_x509_crl(made)) == now.timestamp() + 1


def test_whom_a_bastion_signed_for_is_denied_there_and_the_desk_says_so(copies: Copies, now: datetime) -> None:
    with pytest.raises(TrustError, match="what a bastion signed is in its register alone: run this there"):
        deny(copies.desk, "bob", now)
