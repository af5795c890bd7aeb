"""The operators' authorities: whose certificates and lists count on this host."""

from collections.abc import Iterable
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

# What a parser of certificates and lists raises for what it can't read.
UNREAD = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class AuthorityError(Exception):
    """A file of authorities that can't be used, as the end of a line that begins with the file's name."""


def authorities(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a client_ca file: one, or several while one takes over from another. AuthorityError."""
    try:
        found = tuple(x509.load_pem_x509_certificates(pem))
    except UNREAD as error:
        raise AuthorityError("is no PEM certificate") from error
    organisation(found)
    return found


def organisation(among: Iterable[x509.Certificate]) -> str:
    """The one organisation that all of them name. AuthorityError where there is none, or more than one."""
    named = {_organisation(authority) for authority in among}
    if "" in named:
        raise AuthorityError("names no organisation: make it with fleetmedic pki init")
    if len(named) != 1:
        raise AuthorityError(f"names several organisations: {', '.join(sorted(named))}")
    return named.pop()


def _organisation(authority: x509.Certificate) -> str:
    try:
        found = authority.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    except UNREAD as error:
        raise AuthorityError("holds a name that can't be read") from error
    return str(found[0].value) if found else ""


@lru_cache(maxsize=16)
def identity(authority: x509.Certificate) -> bytes:
    """By its name and its key: the same for an authority whose certificate was renewed, for its serials go on."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(authority.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    digest.update(authority.subject.public_bytes())
    return digest.finalize()


def issuer(certificate: x509.Certificate, among: Iterable[x509.Certificate]) -> bytes | None:
    """The identity of the authority that signed the certificate itself, with no other one between; None: none did."""
    return next((identity(authority) for authority in among if _issued(certificate, authority)), None)


# A signature of P-384 takes a millisecond to verify, and every call asks.
@lru_cache(maxsize=512)
def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (*UNREAD, InvalidSignature):
        return False
    return True
