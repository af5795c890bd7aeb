"""Certificates from hosts, bastions and files that can't be read: no parser's complaint gets further than it should."""

import base64
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.bootstrap import signing
from controller.doctor import ours
from controller.transport.mtls import Identity
from controller.trust import authority, certificates, files, pairs, parsing, renewal, requests, revocation, told
from controller.trust.files import TrustError
from tests.lab.authority import Authority, new_key, pem, root

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LAB: Authority = root(NOW)
FIXED = LAB.issue("db01", dns=["db01"]).certificate.public_bytes(Encoding.DER)
LIST = x509.load_pem_x509_crl(LAB.denylist(2, LAB.issue("alice"))).public_bytes(Encoding.DER)
REQUEST = x509.load_pem_x509_csr(requests.made(new_key())).public_bytes(Encoding.DER)  # type: ignore[arg-type]
READ = [x509.OID_CLIENT_AUTH, certificates.BREAK_GLASS, x509.SubjectAlternativeName.oid, x509.ExtendedKeyUsage.oid]
# An x400Address, an ediPartyName, a registered ID, an odd address, and a name that is no text.
ODD_NAMES = ["3002a300", "3002a500", "300388012a", "3003870101", "30038201ff"]
# What the second byte of the version's integer is, of v3.
VERSION = FIXED.index(bytes.fromhex("a003020102")) + 4


def saying(what: x509.ObjectIdentifier, value: bytes) -> bytes:
    return pem(LAB.issue("db01", usages=(), more=[x509.UnrecognizedExtension(what, value)]).certificate)


def armoured(der: bytes, kind: str) -> bytes:
    return f"-----BEGIN {kind}-----\n{base64.b64encode(der).decode()}\n-----END {kind}-----\n".encode()


def harmless(folder: Path, given: bytes) -> None:
    """Give it to all that take a certificate: TrustError and Unread are theirs to raise, and nothing else is."""
    file = folder / "given.crt"
    file.write_bytes(given)
    with suppress(parsing.Unread):
        read = parsing.pem(given)
        assert isinstance(ours.names_of(read), tuple)
        assert isinstance(certificates.glass(read), str)
        assert isinstance(certificates.organisation(read), str)
        parsing.extension(read, x509.ExtendedKeyUsage)
        parsing.signed(read, LAB.own.certificate)
        parsing.signed(LAB.own.certificate, read)
    assert signing.will_do(given, "db01", pem(LAB.own.certificate), NOW) in (True, False)
    calls: tuple[Callable[[], object], ...] = (
        lambda: told.of(file, folder, NOW),
        lambda: renewal.leaf(folder, file, NOW),
        lambda: ours.read("given.crt", "given.key", Identity(given, b"", given)),
        lambda: files.load(str(file), str(folder / "agent-ca.key"), str(file), NOW),
        lambda: revocation.read(pem_list(LIST), "denylist", pairs.certificate(file)),
    )
    for call in calls:
        with suppress(TrustError):
            call()


def pem_list(der: bytes) -> bytes:
    return armoured(der, "X509 CRL")


def changed(der: bytes, at: int, to: bytes) -> bytes:
    at %= len(der)
    return der[:at] + to + der[at + len(to) :]


mutated = st.builds(changed, st.just(FIXED), st.integers(0, len(FIXED) - 1), st.binary(min_size=1, max_size=3))
# What cryptography says of odd certificates, beside reading them.
pytestmark = pytest.mark.filterwarnings("ignore:Attribute's length", "ignore:Parsed a serial number")
often = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.covers("sec:B7")
@often
@given(mutated)
def test_no_certificate_however_odd_ends_in_anything_but_a_refusal(pki: Path, der: bytes) -> None:
    harmless(pki, armoured(der, "CERTIFICATE"))


@pytest.mark.covers("sec:B7")
@often
@given(st.sampled_from(READ), st.one_of(st.sampled_from(ODD_NAMES).map(bytes.fromhex), st.binary(max_size=12)))
def test_nothing_that_an_extension_holds_ends_in_anything_but_a_refusal(
    pki: Path, what: x509.ObjectIdentifier, value: bytes
) -> None:
    harmless(pki, saying(what, value))


@pytest.mark.covers("sec:B7")
@often
@given(st.integers(0, 4096), st.binary(min_size=1, max_size=3))
def test_no_list_and_no_request_ends_in_anything_but_a_refusal(pki: Path, at: int, to: bytes) -> None:
    (pki / "denylist.pem").write_bytes(pem_list(changed(LIST, at, to)))
    with suppress(TrustError):
        revocation.held(pki)
    for given_list in (changed(LIST, at, to), LIST):
        with suppress(TrustError):
            revocation.read(pem_list(given_list), "denylist", LAB.own.certificate)
    with suppress(TrustError):
        requests.key(armoured(changed(REQUEST, at, to), "CERTIFICATE REQUEST"))


@pytest.mark.covers("sec:B7")
@pytest.mark.parametrize("value", ODD_NAMES)
def test_a_certificate_whose_names_cannot_be_read_names_nobody(pki: Path, value: str) -> None:
    given = saying(x509.SubjectAlternativeName.oid, bytes.fromhex(value))
    assert value == "300388012a" or ours.names_of(parsing.pem(given)) == ()
    harmless(pki, given)


@pytest.mark.covers("sec:B7")
def test_a_certificate_of_a_version_that_is_none_is_refused(pki: Path) -> None:
    given = armoured(changed(FIXED, VERSION, b"\x07"), "CERTIFICATE")
    with pytest.raises(parsing.Unread):
        parsing.pem(given)
    (pki / "operator-ca.crt").write_bytes(given)
    with pytest.raises(TrustError, match="is no PEM certificate"):
        authority.denylist(pki, NOW)


@pytest.mark.covers("sec:B7")
@pytest.mark.parametrize("kind", ["rsa2048", "ed25519"])
def test_an_authority_with_another_kind_of_key_signs_no_list_of_ours(kind: str) -> None:
    other = root(NOW, key=kind)
    with pytest.raises(TrustError, match="is not signed by the operators' authority"):
        revocation.read(other.denylist(2), "the bastion's denylist", other.own.certificate)
