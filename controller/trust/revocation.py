"""The denylist: a numbered X.509 CRL, signed by the operators' authority, of certificates that have not ended yet."""

import datetime
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controller.trust import pairs, register
from controller.trust.files import TrustError
from controller.trust.parsing import UNREAD
from controller.trust.register import Entry

NAME = "denylist.pem"
MEND = "`fleetmedic pki init` makes it"
# An agent takes 64 KiB in one message.
LARGEST = 60_000
# What ended longer ago than any clock is wrong need not be denied.
KEPT = datetime.timedelta(days=7)


def first(
    issuer: x509.Certificate, signing: ec.EllipticCurvePrivateKey, now: datetime.datetime
) -> x509.CertificateRevocationList:
    """The one that denies nobody."""
    return _signed(issuer, signing, 1, (), now)


def pem(denied: x509.CertificateRevocationList) -> bytes:
    return denied.public_bytes(serialization.Encoding.PEM)


def number(denied: x509.CertificateRevocationList) -> int:
    """Rises with each; 0 where it has none."""
    try:
        return denied.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (*UNREAD, x509.ExtensionNotFound):
        return 0


def held(folder: Path) -> int | None:
    """The number of the folder's denylist; None where there is none. TrustError where it can't be read."""
    place = folder / NAME
    if not place.exists():
        return None
    try:
        return number(x509.load_pem_x509_crl(pairs.read(place, MEND)))
    except UNREAD as error:
        raise TrustError(f"{place}: is no denylist (an X.509 CRL in PEM)") from error


def read(content: bytes, place: str, issuer: x509.Certificate) -> x509.CertificateRevocationList:
    """TrustError where it is none, or not signed by this authority."""
    try:
        found = x509.load_pem_x509_crl(content)
        ours = issuer.public_key()
        signed = isinstance(ours, ec.EllipticCurvePublicKey) and found.is_signature_valid(ours)
        # Parsed only when they are asked for.
        _ = [(row.serial_number, row.revocation_date_utc) for row in found]
    except UNREAD as error:
        raise TrustError(f"{place}: is no denylist (an X.509 CRL in PEM)") from error
    if not signed:
        raise TrustError(f"{place}: is not signed by the operators' authority: take it from a copy")
    return found


def deny(folder: Path, entries: Sequence[Entry], now: datetime.datetime) -> int:
    """Denies certificates of operators, which `entries` of REVOKED name; gives the new denylist's number.

    TrustError where it can't be signed or written; then nothing is denied, and nothing noted.
    """
    issuer, signing = pairs.signer(pairs.pair(folder, "operator-ca"))
    place = folder / NAME
    with register.held(folder) as book:
        old = current(folder, issuer, signing, now)
        known = {row.serial_number: row for row in old}
        ended = {
            int(row.serial, 16)
            for row in register.read(folder).entries
            if row.kind == "operator" and row.ends + KEPT < now
        }
        fresh = {int(row.serial, 16) for row in entries}
        rows = [row for serial, row in known.items() if serial not in ended | fresh]
        rows += [_row(serial, now) for serial in sorted(fresh)]
        made = pem(_signed(issuer, signing, number(old) + 1, rows, now))
        if len(made) > LARGEST:
            raise TrustError(f"{place}: would grow beyond what agents take: make the operators' authority anew")
        with pairs.placed([pairs.File(place, made, 0o644)]):
            book.append(*entries)
    return number(old) + 1


def current(
    folder: Path,
    issuer: x509.Certificate,
    signing: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
) -> x509.CertificateRevocationList:
    """The one in the folder; where it is lost, one made of the register, and written. The caller holds that."""
    place = folder / NAME
    if place.exists():
        return read(pairs.read(place, MEND), str(place), issuer)
    denials = [row for row in register.read(folder).entries if row.what == register.REVOKED]
    # Each denial raised the number by one and has a line or more: this is higher than any that an agent may have.
    sequence = len(denials) + 2 if denials else 1
    serials = sorted({int(row.serial, 16) for row in denials if row.ends + KEPT >= now})
    made = _signed(issuer, signing, sequence, [_row(serial, now) for serial in serials], now)
    with pairs.placed([pairs.File(place, pem(made), 0o644)]):
        return made


def _row(serial: int, now: datetime.datetime) -> x509.RevokedCertificate:
    return x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()


def _signed(
    issuer: x509.Certificate,
    signing: ec.EllipticCurvePrivateKey,
    sequence: int,
    rows: Sequence[x509.RevokedCertificate],
    now: datetime.datetime,
) -> x509.CertificateRevocationList:
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.subject).last_update(now)
    # It holds until a higher one comes: an agent that nobody reaches for a while must not forget whom it denies.
    builder = builder.next_update(issuer.not_valid_after_utc)
    builder = builder.add_extension(x509.CRLNumber(sequence), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())
    builder = builder.add_extension(identifier, critical=False)
    for row in rows:
        builder = builder.add_revoked_certificate(row)
    return builder.sign(signing, hashes.SHA384())
