"""Authorities and certificates: what is in them, who may read them, and that none is half made or lost."""

import re
import ssl
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from controller.trust import authority
from controller.trust.files import TrustError
from controller.trust.pairs import Pair
from tests.lab.agents import Desk
from tests.lab.fixtures import need

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AUTHORITIES = ("root-ca", "agent-ca", "operator-ca")
FILES = sorted(
    [f"{name}.{kind}" for name in AUTHORITIES for kind in ("crt", "key")] + ["denylist.pem", "register.jsonl"]
)


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.covers("sec:3.1")
def test_the_folder_and_the_keys_are_for_their_user_alone(pki: Path) -> None:
    assert names(pki) == FILES
    assert mode(pki) == 0o700
    made = authority.issue_operator(pki, pki.parent / "alice", "alice", "observer", NOW)
    assert mode(made.key.parent) == 0o700
    for key in (*(pki / f"{name}.key" for name in AUTHORITIES), pki / "register.jsonl", made.key):
        assert mode(key) == 0o600
    assert mode(made.certificate) == 0o644


@pytest.mark.covers("sec:3.1", "sec:3.2")
def test_the_root_signs_the_authorities_for_twenty_years_and_binds_all_below_to_the_organisation(pki: Path) -> None:
    root = read(pki / "root-ca.crt")
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.value.ca, basic.value.path_length, basic.critical) == (True, 1, True)
    constraint = root.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraint.critical
    assert list(constraint.value.permitted_subtrees or []) == [x509.UniformResourceIdentifier("lab")]
    key = root.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP384R1)
    assert timedelta(days=7300) < root.not_valid_after_utc - NOW < timedelta(days=7310)
    root.verify_directly_issued_by(root)
    for name in ("agent-ca", "operator-ca"):
        read(pki / f"{name}.crt").verify_directly_issued_by(root)


@pytest.mark.covers("sec:3.1")
@pytest.mark.parametrize(
    ("name", "usage"),
    [("agent-ca", ExtendedKeyUsageOID.SERVER_AUTH), ("operator-ca", ExtendedKeyUsageOID.CLIENT_AUTH)],
)
def test_each_authority_signs_for_one_usage_alone(pki: Path, name: str, usage: x509.ObjectIdentifier) -> None:
    made = read(pki / f"{name}.crt").extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(made) == [usage]


@pytest.mark.covers("sec:3.2")
def test_no_leaf_outlives_its_authority_and_none_is_signed_by_one_that_has_ended(pki: Path, tmp_path: Path) -> None:
    late = NOW + timedelta(days=3650 - 30)
    made = read(authority.issue_agent(pki, tmp_path / "out", "db01", late).certificate)
    assert made.not_valid_after_utc == read(pki / "agent-ca.crt").not_valid_after_utc
    with pytest.raises(TrustError, match=r"agent-ca\.crt: ended on 2036-.*: `fleetmedic pki renew agent-ca`"):
        authority.issue_agent(pki, tmp_path / "out", "db01", NOW + timedelta(days=3651))


def test_the_key_of_another_authority_signs_nothing(pki: Path, tmp_path: Path) -> None:
    (pki / "agent-ca.key").write_bytes((pki / "operator-ca.key").read_bytes())
    with pytest.raises(TrustError, match=r"agent-ca\.key: is not the key of .*agent-ca\.crt"):
        authority.issue_agent(pki, tmp_path / "out", "db01", NOW)


@pytest.mark.covers("sec:3.2")
def test_an_identity_for_looking_is_an_observers_for_ten_minutes_and_on_no_disk(pki: Path) -> None:
    before = content(pki)
    made = authority.passing_identity(pki, NOW)
    certificate = x509.load_pem_x509_certificate(made.certificate)
    alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(alternative) == [x509.UniformResourceIdentifier("spiffe://lab/role/observer/user/passing")]
    assert certificate.not_valid_after_utc == NOW + timedelta(minutes=10)
    assert made.agent_authority == before["agent-ca.crt"]
    after = content(pki)
    assert {name for name in after if after[name] != before.get(name)} == {"register.jsonl"}


@pytest.mark.covers("sec:3.1")
def test_an_authority_can_sign_leaves_and_no_authority(pki: Path) -> None:
    for name in ("agent-ca", "operator-ca"):
        made = read(pki / f"{name}.crt")
        basic = made.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = made.extensions.get_extension_for_class(x509.KeyUsage)
        assert basic.critical
        assert (basic.value.ca, basic.value.path_length) == (True, 0)
        assert usage.critical
        assert (usage.value.key_cert_sign, usage.value.crl_sign, usage.value.digital_signature) == (True, True, False)
        key = made.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert isinstance(key.curve, ec.SECP384R1)
        assert made.not_valid_after_utc - NOW == timedelta(days=3650)


@pytest.mark.covers("sec:3.1")
def test_the_two_authorities_share_no_key_and_the_operators_is_bound_to_its_organisation(pki: Path) -> None:
    agents, operators = read(pki / "agent-ca.crt"), read(pki / "operator-ca.crt")
    assert agents.public_key() != operators.public_key()
    assert agents.subject != operators.subject
    constraint = operators.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraint.critical
    assert constraint.value.permitted_subtrees == [x509.UniformResourceIdentifier("lab")]
    with pytest.raises(x509.ExtensionNotFound):
        agents.extensions.get_extension_for_class(x509.NameConstraints)


@pytest.mark.covers("sec:3.2", "sec:3.3")
def test_an_agents_certificate_is_a_servers_under_its_inventory_name_for_90_days(pki: Path) -> None:
    made = read(authority.issue_agent(pki, pki.parent / "out", "db01.eu", NOW).certificate)
    assert made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value == x509.ExtendedKeyUsage(
        [ExtendedKeyUsageOID.SERVER_AUTH]
    )
    alternative = made.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert list(alternative.value) == [x509.DNSName("db01.eu")]
    assert alternative.critical
    assert made.subject == x509.Name([])
    assert (made.not_valid_before_utc, made.not_valid_after_utc) == (
        NOW - timedelta(seconds=60), NOW + timedelta(days=90),
    )  # fmt: skip
    made.verify_directly_issued_by(read(pki / "agent-ca.crt"))
    with pytest.raises(ValueError, match="does not match certificate issuer"):
        made.verify_directly_issued_by(read(pki / "operator-ca.crt"))


@pytest.mark.covers("sec:3.2", "sec:3.3")
@pytest.mark.parametrize("role", ["observer", "responder", "admin"])
def test_an_operators_certificate_is_a_clients_with_role_and_user_for_8_hours(pki: Path, role: str) -> None:
    made = read(authority.issue_operator(pki, pki.parent / "out", "alice.b", role, NOW).certificate)
    assert made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value == x509.ExtendedKeyUsage(
        [ExtendedKeyUsageOID.CLIENT_AUTH]
    )
    alternative = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(alternative) == [x509.UniformResourceIdentifier(f"spiffe://lab/role/{role}/user/alice.b")]
    assert made.not_valid_after_utc == NOW + timedelta(hours=8)
    made.verify_directly_issued_by(read(pki / "operator-ca.crt"))


@pytest.mark.covers("sec:3.2")
def test_a_leaf_is_no_authority_has_a_p256_key_of_its_own_and_a_serial_of_its_own(pki: Path) -> None:
    pairs = [authority.issue_agent(pki, pki.parent / "out", f"db0{number}", NOW) for number in range(3)]
    made = [read(pair.certificate) for pair in pairs]
    assert len({item.serial_number for item in made}) == 3
    for pair, item in zip(pairs, made, strict=True):
        assert item.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
        usage = item.extensions.get_extension_for_class(x509.KeyUsage).value
        assert (usage.digital_signature, usage.key_cert_sign) == (True, False)
        key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert isinstance(key.curve, ec.SECP256R1)
        assert key.public_key() == item.public_key()


def test_an_authority_is_made_once(pki: Path) -> None:
    before = content(pki)
    with pytest.raises(TrustError, match=r"root-ca\.crt: is there already; an authority is made once"):
        authority.initialise(pki, "other", NOW)
    for gone in before.keys() - {"operator-ca.key"}:
        (pki / gone).unlink()
    with pytest.raises(TrustError, match=r"operator-ca\.crt: is there already"):
        authority.initialise(pki, "other", NOW)
    assert content(pki) == {"operator-ca.key": before["operator-ca.key"]}


@pytest.mark.parametrize("name", ["agent-ca", "operator-ca"])
def test_no_certificate_can_take_an_authoritys_place(pki: Path, name: str) -> None:
    before = content(pki)
    with pytest.raises(TrustError, match=f"'{name}' is the name of an authority's files: choose another name"):
        authority.issue_agent(pki, pki, name, NOW)
    with pytest.raises(TrustError, match=f"'{name}' is the name of an authority's files: choose another name"):
        authority.issue_operator(pki, pki, name, "admin", NOW)
    assert content(pki) == before


BAD = ["", "../a", "a/b", "a b", "-a", ".a", "a\n", "a\0", "*", "$(a)", "a;b", "ä", "\u202ea", "a" * 300]


@pytest.mark.covers("sec:B4")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_name_makes_no_file(pki: Path, name: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(TrustError, match="is no host name"):
        authority.issue_agent(pki, out, name, NOW)
    with pytest.raises(TrustError, match="is no user name"):
        authority.issue_operator(pki, out, name, "observer", NOW)
    with pytest.raises(TrustError, match="small letters, digits, dots and hyphens"):
        authority.initialise(tmp_path / "new", name, NOW)
    assert names(tmp_path) == ["pki"]


@pytest.mark.parametrize("role", ["", "root", "Admin", "admin/user/eve", "observer\n"])
def test_a_role_that_is_none_is_refused(pki: Path, role: str) -> None:
    with pytest.raises(TrustError, match="one of observer, responder, admin"):
        authority.issue_operator(pki, pki, "alice", role, NOW)


def test_without_an_authority_the_mend_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match=r"agent-ca\.crt: can't be read: .*; `fleetmedic pki init` makes it"):
        authority.issue_agent(tmp_path, tmp_path, "db01", NOW)


@pytest.mark.parametrize(
    ("file", "said"), [("agent-ca.crt", "is no PEM certificate"), ("agent-ca.key", "is no PEM private key")]
)
def test_an_authority_that_is_junk_is_refused_by_name(pki: Path, file: str, said: str) -> None:
    (pki / file).write_text("junk")
    with pytest.raises(TrustError, match=rf"{re.escape(file)}: {said}"):
        authority.issue_agent(pki, pki, "db01", NOW)
    assert not (pki / "db01.key").exists()


def test_a_certificate_made_again_replaces_both_files(pki: Path) -> None:
    first = content(authority.issue_agent(pki, pki.parent / "out", "db01", NOW).key.parent)
    second = content(authority.issue_agent(pki, pki.parent / "out", "db01", NOW).key.parent)
    assert first.keys() == second.keys() == {"db01.crt", "db01.key"}
    assert all(first[name] != second[name] for name in first)


@pytest.fixture
def crowded(folder: Path) -> Iterator[Path]:
    """Mount a file system with room for two small files."""
    need("mount")
    place = folder / "crowded"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_leaves_no_half_authority(crowded: Path) -> None:
    with pytest.raises(TrustError, match=r"agent-ca\.key: can't be written: No space left on device"):
        authority.initialise(crowded, "lab", NOW)
    assert names(crowded) == []


def test_a_full_disk_leaves_the_old_certificate_with_its_key(crowded: Path, pki: Path) -> None:
    authority.issue_agent(pki, crowded, "db01", NOW)
    before = content(crowded)
    with pytest.raises(TrustError, match=r"db01\.key: can't be written: No space left on device"):
        authority.issue_agent(pki, crowded, "db01", NOW)
    assert content(crowded) == before


def test_a_folder_that_cannot_be_made_is_named(pki: Path) -> None:
    (pki / "file").touch()
    with pytest.raises(TrustError, match=r"file/out: can't be made: Not a directory"):
        authority.issue_agent(pki, pki / "file" / "out", "db01", NOW)


def test_the_command_says_what_it_made_and_refuses_with_one_line(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    made = desk.run("pki", "init", "--dir", "pki", "--org", "lab")
    assert (made.code, made.err) == (0, "")
    assert f"made {tmp_path}/pki/agent-ca.crt and agent-ca.key (keep it secret)\n" in made.out
    again = desk.run("pki", "init", "--dir", "pki", "--org", "lab")
    assert (again.code, again.out) == (77, "")
    assert again.err == "fleetmedic: pki/root-ca.crt: is there already; an authority is made once\n"
    issued = desk.run("pki", "issue", "operator", "alice", "--dir", "pki", "--out", "me")
    assert issued.out == f"made {tmp_path}/me/alice.crt and alice.key\n"
    assert desk.run("pki", "issue", "operator", "../x", "--dir", "pki", "--out", "me").code == 77
    assert names(tmp_path / "me") == ["alice.crt", "alice.key"]


@pytest.mark.covers("sec:A2")
def test_the_certificates_work_in_mutual_tls_and_an_agents_is_no_operators(tmp_path: Path) -> None:
    now = datetime.fromtimestamp(tmp_path.stat().st_mtime, UTC)
    authority.initialise(tmp_path, "lab", now)
    agent = authority.issue_agent(tmp_path, tmp_path, "db01", now)
    operator = authority.issue_operator(tmp_path, tmp_path, "alice", "observer", now)
    assert _handshake(tmp_path, agent, operator)
    with pytest.raises(ssl.SSLError):
        _handshake(tmp_path, agent, agent)
    with pytest.raises(ssl.SSLError):
        _handshake(tmp_path, operator, operator)


def _handshake(folder: Path, server: Pair, client: Pair) -> bool:
    """Shake hands in memory, each side trusting the other's authority; db01 is expected."""
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ours.load_verify_locations(folder / "agent-ca.crt")
    # What is trusted is no root: Python's ssl has to be told, gRPC does not.
    ours.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    ours.load_cert_chain(client.certificate, client.key)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.verify_mode = ssl.CERT_REQUIRED
    theirs.load_verify_locations(folder / "operator-ca.crt")
    theirs.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    theirs.load_cert_chain(server.certificate, server.key)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [ours.wrap_bio(down, up, server_hostname="db01"), theirs.wrap_bio(up, down, server_side=True)]
    for _ in range(10):
        waiting = []
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                waiting.append(side)
        if not waiting:
            return True
    return False
