"""The denylist: a numbered X.509 CRL, signed by the operators' authority, of certificates that have not ended yet."""

import datetime
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controller.trust import pairs, register
from controller.trust.certificates import OPERATOR_LIFE
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


def deny(folder: Path, entries: Sequence[Entry], now: datetime.datetime, beside: Path | None = None) -> int:
    """Denies certificates of operators, which `entries` of REVOKED name; gives the new denylist's number.

    TrustError where it can't be signed or written; then nothing is denied, and nothing noted.
    """
    issuer, signing = pairs.signer(pairs.pair(folder, "operator-ca"))
    with register.held(folder) as book:
        old = current(folder, now, beside)
        ended = {
            int(row.serial, 16)
            for row in register.read(folder).entries
            if row.kind == "operator" and row.ends + KEPT < now
        }
        fresh = {int(row.serial, 16) for row in entries}
        rows = [row for row in old if row.serial_number not in ended | fresh]
        rows += [_row(serial, now) for serial in sorted(fresh)]
        made = _signed(issuer, signing, _later(now, old), rows, now)
        with pairs.placed([_file(folder, made)]):
            book.append(*entries)
    return number(made)


def current(folder: Path, now: datetime.datetime, beside: Path | None = None) -> x509.CertificateRevocationList:
    """The one in the folder, or one made of the register where it is lost, with all that the one `beside` denies.

    What is not in the folder yet is written there. The caller holds the register.
    """
    at, place = pairs.pair(folder, "operator-ca"), folder / NAME
    issuer = pairs.certificate(at.certificate)
    held = read(pairs.read(place, MEND), str(place), issuer) if place.exists() else None
    # One that denies nobody is false.
    lists = (_rebuilt(folder, at, now) if held is None else held, *copies(beside, issuer))
    found = whole(lists, now)
    made = _united(lists, at, now) if found is None else found
    if made is not held:
        with pairs.placed([_file(folder, made)]):
            pass
    return made


def copies(beside: Path | None, issuer: x509.Certificate) -> Sequence[x509.CertificateRevocationList]:
    """The one at a place, where a login left it; none where there is none, or another authority's."""
    if beside is None or not beside.exists():
        return ()
    try:
        return (read(pairs.read(beside, MEND), str(beside), issuer),)
    except TrustError:
        return ()


def whole(
    lists: Sequence[x509.CertificateRevocationList], now: datetime.datetime
) -> x509.CertificateRevocationList | None:
    """The one among lists of several copies of an authority that agents may have after any other; None if none is."""
    return next((one for one in lists if all(_covers(one, other, now) for other in lists)), None)


def _covers(one: x509.CertificateRevocationList, other: x509.CertificateRevocationList, now: datetime.datetime) -> bool:
    ours = {row.serial_number for row in one}
    if number(one) == number(other):
        return ours == {row.serial_number for row in other}
    return number(one) > number(other) and ours.issuperset(row.serial_number for row in _lasting(other, now))


def _lasting(denied: x509.CertificateRevocationList, now: datetime.datetime) -> Sequence[x509.RevokedCertificate]:
    """Those that may not have ended yet: each was valid when it was denied."""
    return [row for row in denied if row.revocation_date_utc + OPERATOR_LIFE + KEPT >= now]


def _united(
    lists: Sequence[x509.CertificateRevocationList], at: pairs.Pair, now: datetime.datetime
) -> x509.CertificateRevocationList:
    issuer, signing = pairs.signer(at)
    rows = {row.serial_number: row for each in lists for row in _lasting(each, now)}
    return _signed(issuer, signing, _later(now, *lists), list(rows.values()), now)


def _rebuilt(folder: Path, at: pairs.Pair, now: datetime.datetime) -> x509.CertificateRevocationList:
    issuer, signing = pairs.signer(at)
    denials = [row for row in register.read(folder).entries if row.what == register.REVOKED]
    # A denial makes the number its time, or one more than the last: this is higher than any that an agent may have.
    latest = max([now, *(row.at for row in denials)])
    sequence = int(latest.timestamp()) + len(denials) if denials else 1
    serials = sorted({int(row.serial, 16) for row in denials if row.ends + KEPT >= now})
    return _signed(issuer, signing, sequence, [_row(serial, now) for serial in serials], now)


def _later(now: datetime.datetime, *lists: x509.CertificateRevocationList) -> int:
    """The time, in seconds: copies of one authority that deny at different times never share a number."""
    return max(int(now.timestamp()), 1 + max(map(number, lists)))


def _file(folder: Path, denied: x509.CertificateRevocationList) -> pairs.File:
    place, made = folder / NAME, pem(denied)
    if len(made) > LARGEST:
        raise TrustError(f"{place}: would grow beyond what agents take: make the operators' authority anew")
    return pairs.File(place, made, 0o644)


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
