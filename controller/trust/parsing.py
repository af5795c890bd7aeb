"""Certificates that hosts, bastions and files give: what a parser raises for those that it can't read ends here."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

# Of certificates, requests and lists, at once or when a part of one is asked for.
UNREAD = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
Kind = TypeVar("Kind", bound=x509.ExtensionType)


class Unread(Exception):
    """No certificate, or one that can't be read; says nothing of it."""


def pem(content: bytes) -> x509.Certificate:
    """The first of a PEM text. Unread."""
    return _whole(x509.load_pem_x509_certificate, content)


def der(content: bytes) -> x509.Certificate:
    """Unread."""
    return _whole(x509.load_der_x509_certificate, content)


def _whole(load: Callable[[bytes], x509.Certificate], content: bytes) -> x509.Certificate:
    try:
        made = load(content)
        # Parsed only when it is asked for: what is wrong with it is to show here.
        _ = made.subject.rfc4514_string(), made.issuer.rfc4514_string(), made.public_key()
        _ = made.not_valid_before_utc, made.not_valid_after_utc
    except UNREAD as error:
        raise Unread from error
    return made


def extension(certificate: x509.Certificate, kind: type[Kind]) -> Kind | None:
    """None where it has none, or its extensions can't be read."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (*UNREAD, x509.ExtensionNotFound):
        return None


def names(certificate: x509.Certificate) -> Sequence[x509.GeneralName]:
    """Whom a certificate is for; none where it does not say, or can't be read."""
    return list(extension(certificate, x509.SubjectAlternativeName) or ())


def signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether the authority signed it itself."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (*UNREAD, InvalidSignature):
        return False
    return True
