"""Certificates that count no more although they have not ended: a revocation list of the operators' authority."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from agent import operators

# As the answers carry it.
HIGHEST_NUMBER = 2**63 - 1


class DenylistError(Exception):
    """Not a list to go by, as the end of a sentence that begins with where it is from."""


class OlderList(DenylistError):
    """A list that another one has replaced."""


@dataclass(frozen=True, slots=True)
class Denylist:
    """`number` rises with each list; `serials` are of certificates; past `renew_by` a newer one was to be there.

    `fingerprint` is of the whole, signature and all.
    """

    number: int
    serials: frozenset[int]
    renew_by: datetime.datetime | None
    fingerprint: bytes


def read(pem: bytes, authorities: Sequence[x509.Certificate]) -> Denylist:
    """The list that a PEM revocation list is. DenylistError where none of the authorities signed it, or it is odd."""
    try:
        return _read(x509.load_pem_x509_crl(pem), authorities)
    except operators.UNREAD as error:
        # A parser's message would quote what it read.
        raise DenylistError("is no PEM revocation list") from error


def _read(found: x509.CertificateRevocationList, authorities: Sequence[x509.Certificate]) -> Denylist:
    if not any(_signed(found, authority) for authority in authorities):
        raise DenylistError("is not signed by the operators' authority")
    # A list of changes alone, or of some certificates, would be taken for the whole.
    if any(extension.critical for extension in found.extensions):
        raise DenylistError("is a list of a kind that this agent does not know")
    try:
        number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound as error:
        raise DenylistError("has no number") from error
    if not 0 < number <= HIGHEST_NUMBER:
        raise DenylistError("has a number that is out of range")
    serials = frozenset(revoked.serial_number for revoked in found)
    return Denylist(number, serials, found.next_update_utc, found.fingerprint(hashes.SHA256()))


def _signed(found: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    # Any key a certificate can hold; is_signature_valid() refuses those that sign no list.
    return found.issuer == authority.subject and found.is_signature_valid(authority.public_key())  # type: ignore[arg-type]


def newer(offered: Denylist, held: Denylist | None) -> Denylist:
    """The list to go by from now on. OlderList where `offered` was replaced, or names others under the same number.

    The same list again is no fault, signed anew or not: a push may be repeated.
    """
    if held is None or offered.number > held.number:
        return offered
    if offered.number == held.number:
        if offered.serials == held.serials:
            return offered
        raise OlderList(f"has the number {held.number} of another list")
    raise OlderList(f"has the number {offered.number}, and {held.number} is here already")
