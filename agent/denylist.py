"""Certificates that count no more although they have not ended: a revocation list of each operators' authority."""

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from agent import operators

# As the answers carry it.
HIGHEST_NUMBER = 2**63 - 1
# No certificate of an operator's lives longer: one that was denied so long ago has ended by itself.
LONGEST_LIFE = datetime.timedelta(hours=8)
EACH = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)
NOT_SIGNED = "is not signed by the operators' authority"


class DenylistError(Exception):
    """Not a list to go by, as the end of a sentence that begins with where it is from."""


class OlderList(DenylistError):
    """A list that another one has replaced."""


@dataclass(frozen=True, slots=True)
class Denylist:
    """`number` rises with each list; `denied` are serials of certificates, and since when; past `renew_by` a newer
    list than this one, which was `made` then, was to be there.

    Numbers and serials are the `issuer`'s, which is operators.identity(). `fingerprint` is of the whole, signature and
    all; `pem` is the list alone, whatever came with it.
    """

    issuer: bytes
    number: int
    denied: Mapping[int, datetime.datetime]
    made: datetime.datetime
    renew_by: datetime.datetime | None
    fingerprint: bytes
    pem: bytes


# The list of each authority, by its issuer.
Lists = Mapping[bytes, Denylist]


def read(pem: bytes, authorities: Sequence[x509.Certificate]) -> Denylist:
    """The list that a PEM revocation list is. DenylistError where none of the authorities signed it, or it is odd."""
    try:
        return _read(x509.load_pem_x509_crl(pem), authorities)
    except operators.UNREAD as error:
        # A parser's message would quote what it read.
        raise DenylistError("is no PEM revocation list") from error


def read_kept(pem: bytes, authorities: Sequence[x509.Certificate]) -> tuple[Lists, str]:
    """The lists of a file that holds one of each authority, and what is wrong there, as DenylistError has it.

    A list of an authority that is none any more is passed over beside others.
    """
    kept: dict[bytes, Denylist] = {}
    problem = ""
    for block in EACH.findall(pem) or [pem]:
        try:
            found = read(block, authorities)
            kept[found.issuer] = newer(found, kept.get(found.issuer))
        except DenylistError as error:
            problem = problem or str(error)
    return kept, "" if kept and problem == NOT_SIGNED else problem


def _read(found: x509.CertificateRevocationList, authorities: Sequence[x509.Certificate]) -> Denylist:
    issuer = next((operators.identity(authority) for authority in authorities if _signed(found, authority)), None)
    if issuer is None:
        raise DenylistError(NOT_SIGNED)
    # A list of changes alone, or of some certificates, would be taken for the whole.
    if any(extension.critical for extension in found.extensions):
        raise DenylistError("is a list of a kind that this agent does not know")
    try:
        number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound as error:
        raise DenylistError("has no number") from error
    if not 0 < number <= HIGHEST_NUMBER:
        raise DenylistError("has a number that is out of range")
    denied = {revoked.serial_number: revoked.revocation_date_utc for revoked in found}
    fingerprint, alone = found.fingerprint(hashes.SHA256()), found.public_bytes(Encoding.PEM)
    return Denylist(issuer, number, denied, found.last_update_utc, found.next_update_utc, fingerprint, alone)


def _signed(found: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    # Any key a certificate can hold; is_signature_valid() refuses those that sign no list.
    return found.issuer == authority.subject and found.is_signature_valid(authority.public_key())  # type: ignore[arg-type]


def newer(offered: Denylist, held: Denylist | None) -> Denylist:
    """The list to go by from now on. OlderList where `offered` was replaced, or names others under the same number.

    The same list again is no fault, signed anew or not: a push may be repeated. A newer one that lets somebody in again
    was made of a copy that does not know all: nobody is taken off a list before their certificate must have ended.
    """
    if held is None:
        return offered
    if offered.number > held.number:
        if forgotten := _lasting(held, offered.made) - offered.denied.keys():
            who = "one certificate" if len(forgotten) == 1 else f"{len(forgotten)} certificates"
            raise OlderList(f"would let in {who} that {held.number} denies: log in, then deny and push again")
        return offered
    if offered.number == held.number:
        if offered.denied.keys() == held.denied.keys():
            return offered
        raise OlderList(f"has the number {held.number} of another list")
    raise OlderList(f"has the number {offered.number}, and {held.number} is here already")


def _lasting(held: Denylist, moment: datetime.datetime) -> set[int]:
    return {serial for serial, since in held.denied.items() if since + LONGEST_LIFE >= moment}


def merged(held: Lists, offered: Denylist, authorities: Sequence[x509.Certificate]) -> Lists:
    """The lists of these authorities with a new one in the place of its issuer's, and of no other. OlderList."""
    fresh = newer(offered, held.get(offered.issuer))
    return counting({**held, offered.issuer: fresh}, authorities)


def counting(held: Lists, authorities: Sequence[x509.Certificate]) -> Lists:
    """Without the lists of authorities that are none any more."""
    current = {operators.identity(authority) for authority in authorities}
    return {issuer: found for issuer, found in held.items() if issuer in current}


def number(held: Lists, authorities: Sequence[x509.Certificate]) -> int:
    """Of the newest authority's list, which is the one that is pushed; 0 where it has none here.

    The newest is the one that begins last, and of two the later one in the file.
    """
    newest = max(reversed(authorities), key=lambda authority: authority.not_valid_before_utc)
    found = held.get(operators.identity(newest))
    return found.number if found else 0
