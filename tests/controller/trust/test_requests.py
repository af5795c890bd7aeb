"""Requests for a certificate: whatever they ask for, only their key is taken, and only from who holds it."""

import base64
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.trust import authority, requests
from controller.trust.certificates import BREAK_GLASS
from controller.trust.files import TrustError
from tests.lab.authority import new_key

ADMIN = "spiffe://lab/role/admin/user/eve"


def greedy(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Ask for all that a request can ask for."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "x")])
    )
    wanted: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(ADMIN), x509.DNSName("db02")]), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False),
        (x509.KeyUsage(True, True, True, True, True, True, True, False, False), True),
        (x509.UnrecognizedExtension(BREAK_GLASS, b"because"), False),
    ]
    for extension, critical in wanted:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.covers("sec:A6")
def test_a_request_for_an_authority_or_an_admin_gets_what_the_signer_meant(pki: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    plain, asked = requests.made(key), greedy(key)
    operators = [authority.sign_operator(pki, request, "alice", "observer", now) for request in (plain, asked)]
    agents = [authority.sign_agent(pki, request, "db01", now) for request in (plain, asked)]
    for signed in (operators, agents):
        honest, made = map(x509.load_pem_x509_certificate, signed)
        assert made.public_key() == key.public_key()
        assert made.subject == x509.Name([])
        assert list(made.extensions) == list(honest.extensions)
        assert (made.not_valid_before_utc, made.not_valid_after_utc) == (
            honest.not_valid_before_utc, honest.not_valid_after_utc,
        )  # fmt: skip
        assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
        assert ADMIN.encode() not in made.public_bytes(serialization.Encoding.DER)


@pytest.mark.covers("sec:A6")
def test_who_does_not_hold_the_key_gets_nothing(pki: Path, now: datetime) -> None:
    whole = requests.made(ec.generate_private_key(ec.SECP256R1()))
    other = requests.made(ec.generate_private_key(ec.SECP256R1()))
    ours, theirs = (x509.load_pem_x509_csr(request) for request in (whole, other))
    der = ours.public_bytes(serialization.Encoding.DER)
    # The same request under another's key: as long, for a point always is.
    swapped = der.replace(_point(ours), _point(theirs))
    assert swapped != der
    with pytest.raises(TrustError, match="is not signed with its own key"):
        authority.sign_agent(pki, _as_pem(swapped), "db01", now)


def _point(request: x509.CertificateSigningRequest) -> bytes:
    key = request.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


@pytest.mark.covers("sec:A6", "sec:3.2")
@pytest.mark.parametrize("kind", ["p384", "rsa2048", "ed25519"])
def test_a_key_of_another_kind_is_refused(pki: Path, now: datetime, kind: str) -> None:
    key = new_key(kind)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, algorithm)
    with pytest.raises(TrustError, match="not of the curve P-256"):
        authority.sign_operator(pki, request.public_bytes(serialization.Encoding.PEM), "alice", "observer", now)


@pytest.mark.parametrize(
    "request_text",
    [b"", b"junk", b"\0" * 100, b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"],
)
def test_what_is_no_request_is_refused_in_one_line(pki: Path, now: datetime, request_text: bytes) -> None:
    with pytest.raises(TrustError, match="no request for a certificate in PEM"):
        authority.sign_agent(pki, request_text, "db01", now)


def test_a_request_that_is_too_large_is_not_looked_at(pki: Path, now: datetime) -> None:
    whole = requests.made(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(TrustError, match="has more than 16384 bytes"):
        authority.sign_agent(pki, whole + b"\n" * requests.LARGEST, "db01", now)


@pytest.mark.covers("sec:A6")
@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, 2000), value=st.integers(0, 255), cut=st.integers(0, 3))
def test_a_damaged_request_is_refused_or_signed_for_its_own_key(place: int, value: int, cut: int) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    der = bytearray(x509.load_pem_x509_csr(greedy(key)).public_bytes(serialization.Encoding.DER))
    der[place % len(der)] = value
    text = _as_pem(bytes(der[: len(der) - cut]))
    try:
        taken = requests.key(text)
    except TrustError:
        return
    assert taken == key.public_key()


def _as_pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE REQUEST-----\n"


@pytest.mark.covers("sec:3.2")
def test_nobody_gets_more_than_eight_hours(pki: Path, now: datetime) -> None:
    request = requests.made(ec.generate_private_key(ec.SECP256R1()))
    made = authority.sign_operator(pki, request, "alice", "observer", now, timedelta(days=3))
    assert x509.load_pem_x509_certificate(made).not_valid_after_utc == now + timedelta(hours=8)
    with pytest.raises(TrustError, match="would be none"):
        authority.sign_operator(pki, request, "alice", "observer", now, timedelta(0))
