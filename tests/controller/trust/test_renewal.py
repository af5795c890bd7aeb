"""Renewal: a leaf keeps its names and gets a new key, an authority keeps its key; none is renewed after its end."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from controller.trust import authority, holders, register, renewal, revocation
from controller.trust.files import TrustError


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


@pytest.mark.covers("sec:3.2")
def test_a_leaf_gets_a_new_key_under_its_names_in_the_place_of_the_old(
    pki: Path, now: datetime, tmp_path: Path
) -> None:
    late = now + timedelta(hours=7)
    for made, life in (
        (authority.issue_agent(pki, tmp_path / "a", "10.0.0.5", now), timedelta(days=90)),
        (authority.issue_operator(pki, tmp_path / "b", "alice", "responder", now), timedelta(hours=8)),
    ):
        old = read(made.certificate)
        assert renewal.leaf(pki, made.certificate, late) == made
        new = read(made.certificate)
        assert names(new) == names(old)
        assert new.not_valid_after_utc == late + life
        assert new.public_key() != old.public_key()
        key = serialization.load_pem_private_key(made.key.read_bytes(), None)
        assert key.public_key() == new.public_key()
        assert register.read(pki).entries[-1].what == "renewed"


@pytest.mark.covers("sec:3.2")
def test_what_has_ended_was_denied_or_broke_the_glass_is_not_renewed(pki: Path, now: datetime, tmp_path: Path) -> None:
    ended = authority.issue_agent(pki, tmp_path / "a", "db01", now - timedelta(days=90))
    denied = authority.issue_operator(pki, tmp_path / "b", "alice", "responder", now)
    glass = authority.issue_operator(pki, tmp_path / "c", "bob", "admin", now, reason="all is lost")
    rows = holders.denied(holders.held(register.read(pki), now), "alice", "why", now, "root")
    revocation.deny(pki, rows, now)
    for made, said in (
        (ended, "ended on 2026-03-01: issue it anew"),
        (denied, "was denied: issue it anew"),
        (glass, "the glass was broken for it, once"),
    ):
        before = made.certificate.read_bytes(), made.key.read_bytes()
        with pytest.raises(TrustError, match=said):
            renewal.leaf(pki, made.certificate, now)
        assert (made.certificate.read_bytes(), made.key.read_bytes()) == before


def test_a_stranger_is_not_renewed(pki: Path, now: datetime, tmp_path: Path) -> None:
    authority.initialise(tmp_path / "other", "lab", now)
    made = authority.issue_operator(tmp_path / "other", tmp_path / "a", "alice", "admin", now)
    for file in (made.certificate, pki / "root-ca.crt", pki / "agent-ca.crt"):
        with pytest.raises(TrustError, match="was signed by neither authority in"):
            renewal.leaf(pki, file, now)
    with pytest.raises(TrustError, match="is no PEM certificate"):
        renewal.leaf(pki, made.key, now)
    with pytest.raises(TrustError, match="can't be read: No such file or directory; give the file of a certificate"):
        renewal.leaf(pki, tmp_path / "nothing", now)


@pytest.mark.covers("sec:3.1", "sec:3.2")
@pytest.mark.parametrize("which", renewal.BELOW)
def test_an_authority_keeps_its_key_and_what_it_signed_stays_good(
    pki: Path, now: datetime, tmp_path: Path, which: str
) -> None:
    agent = authority.issue_agent(pki, tmp_path / "a", "db01", now)
    operator = authority.issue_operator(pki, tmp_path / "b", "alice", "admin", now)
    leaf = read((agent if which == "agent-ca" else operator).certificate)
    old = read(pki / f"{which}.crt")
    offline = tmp_path / "stick" / "root-ca.key"
    offline.parent.mkdir()
    shutil.move(pki / "root-ca.key", offline)
    late = now + timedelta(days=3000)
    place, ends = renewal.renew_authority(pki, which, offline, late)
    new = read(place)
    assert new.not_valid_after_utc == ends == late + timedelta(days=3650)
    assert (new.public_key(), new.subject) == (old.public_key(), old.subject)
    assert [item.value for item in new.extensions] == [item.value for item in old.extensions]
    new.verify_directly_issued_by(read(pki / "root-ca.crt"))
    leaf.verify_directly_issued_by(new)
    revocation.read((pki / "denylist.pem").read_bytes(), "denylist", read(pki / "operator-ca.crt"))


@pytest.mark.covers("sec:3.1")
def test_without_the_roots_key_no_authority_is_renewed_and_the_mend_is_named(
    pki: Path, now: datetime, tmp_path: Path
) -> None:
    authority.initialise(tmp_path / "other", "lab", now)
    before = (pki / "agent-ca.crt").read_bytes()
    with pytest.raises(TrustError, match=r"root-ca\.key: is not the key of .*root-ca\.crt"):
        renewal.renew_authority(pki, "agent-ca", tmp_path / "other" / "root-ca.key", now)
    shutil.copy(tmp_path / "other" / "agent-ca.crt", pki / "agent-ca.crt")
    with pytest.raises(TrustError, match=r"agent-ca\.crt: was not signed by .*root-ca\.crt"):
        renewal.renew_authority(pki, "agent-ca", pki / "root-ca.key", now)
    (pki / "agent-ca.crt").write_bytes(before)
    (pki / "root-ca.key").unlink()
    with pytest.raises(TrustError, match=r"root-ca\.key: can't be read: .*it lies offline: .*--root-key"):
        renewal.renew_authority(pki, "agent-ca", pki / "root-ca.key", now)
    assert (pki / "agent-ca.crt").read_bytes() == before


@pytest.mark.covers("sec:3.2")
def test_no_authority_outlives_the_root(pki: Path, now: datetime) -> None:
    root = read(pki / "root-ca.crt")
    late = root.not_valid_after_utc - timedelta(days=1)
    assert renewal.renew_authority(pki, "agent-ca", pki / "root-ca.key", late)[1] == root.not_valid_after_utc
    with pytest.raises(TrustError, match=r"root-ca\.crt: ended on 2046-.*make all anew"):
        renewal.renew_authority(pki, "agent-ca", pki / "root-ca.key", late + timedelta(days=2))
