"""The agent's own key and certificate: the key is made here and stays here; what is signed for it is put in place."""

import datetime
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from agent import operators
from agent.config import TlsFiles

LONGEST_CHAIN = 64 * 1024


class OwnCertificateError(Exception):
    """A certificate that this agent can't use, as a sentence."""


class NothingPendingError(OwnCertificateError):
    """No key waits for a certificate."""


def request(files: TlsFiles, name: str) -> bytes:
    """A signing request, PEM, for a new key, which waits beside the current one for its certificate. OSError.

    A second request takes the first one's place.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(_waiting(files.key), secret, 0o600)
    # Whoever signs sets names and times itself; the name is for a reader of the request.
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def accept(files: TlsFiles, chain: bytes, name: str, now: datetime.datetime, *, renews: bool = False) -> None:
    """Puts the key that waits and its certificate in place. OwnCertificateError where that is not for this agent.

    One that `renews` must be of the same authority as the current one, whose certificate is kept behind it, or comes
    with the new one where it is not: a new authority comes with a new enrolment. OSError.
    """
    waiting = _waiting(files.key)
    try:
        key = _key(waiting.read_bytes())
    except FileNotFoundError as error:
        raise NothingPendingError("no key waits for a certificate: ask for a request first") from error
    found = _chain(chain)
    _check(found[0], key, name, now)
    if renews:
        chain = _renewed(found, _chain(files.certificate.read_bytes()))
    _write(_waiting(files.certificate), chain, 0o644)
    # From here on recover() finishes what is cut off.
    waiting.replace(files.key)
    _waiting(files.certificate).replace(files.certificate)
    _sync_folders(files)


def recover(files: TlsFiles) -> None:
    """Finishes an accept() that was cut off between its two renames; one that was cut off before them is undone."""
    certificate, key = _waiting(files.certificate), _waiting(files.key)
    if not certificate.exists() and not key.exists():
        return
    if _fit(files.key, certificate):
        certificate.replace(files.certificate)
    elif _fit(key, files.certificate):
        key.replace(files.key)
    elif certificate.exists():
        certificate.unlink()
    else:
        return
    _sync_folders(files)


def checked_pair(key: bytes, chain: bytes) -> x509.Certificate:
    """The leaf of a chain, PEM, whose key it is. OwnCertificateError."""
    leaf = _chain(chain)[0]
    if _key(key).public_key() != leaf.public_key():
        raise OwnCertificateError("the key does not belong to the certificate")
    return leaf


def name_of(certificate: x509.Certificate) -> str:
    """The DNS name of an agent's certificate, which is the name in the inventory. OwnCertificateError: none."""
    found = _dns_names(certificate)
    if not found:
        raise OwnCertificateError("has no DNS name: issue it with fleetmedic pki issue")
    return found[0]


def _check(
    new: x509.Certificate, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, name: str, now: datetime.datetime
) -> None:
    if new.public_key() != key.public_key():
        raise OwnCertificateError("the certificate is for another key than the one that was asked for last")
    if _dns_names(new) != [name]:
        raise OwnCertificateError(f"the certificate is not for {name}, and for it alone")
    try:
        usage = list(new.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        below = new.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        usage, below = [], False
    if usage != [ExtendedKeyUsageOID.SERVER_AUTH] or below:
        raise OwnCertificateError("the certificate is not one for servers alone")
    if not new.not_valid_before_utc <= now < new.not_valid_after_utc:
        raise OwnCertificateError("the certificate is not valid at this host's time")


def _renewed(new: Sequence[x509.Certificate], current: Sequence[x509.Certificate]) -> bytes:
    """The new leaf with the authority that signed the current one, and this one too; nothing else that came with it."""
    above = next((each for each in (*current[1:], *new[1:]) if _issued(current[0], each)), None)
    if above is None:
        raise OwnCertificateError(
            "the authority that issued the current certificate is not kept, nor did it come along"
        )
    if not _issued(new[0], above):
        raise OwnCertificateError("the certificate is not of the authority that issued the current one")
    kept = current[1:] if above in current else [above]
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in (new[0], *kept))


def _issued(new: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        new.verify_directly_issued_by(authority)
    except (*operators.UNREAD, InvalidSignature):
        return False
    return True


def _dns_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *operators.UNREAD):
        return []
    return names.get_values_for_type(x509.DNSName)


def _chain(pem: bytes) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(pem[:LONGEST_CHAIN])
        # Parsed only when they are asked for; whatever is wrong with them is to show here.
        _ = found[0].extensions, found[0].issuer, found[0].public_key()
    except operators.UNREAD as error:
        raise OwnCertificateError("is no PEM certificate") from error
    return found


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    try:
        found = serialization.load_pem_private_key(pem, None)
    except operators.UNREAD as error:
        raise OwnCertificateError("the key is no PEM private key without a passphrase") from error
    # Of the others gRPC takes none for a server.
    if not isinstance(found, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise OwnCertificateError("the key is of a kind that gRPC does not take, such as Ed25519")
    return found


def _fit(key: Path, certificate: Path) -> bool:
    with suppress(OSError, OwnCertificateError):
        return bool(checked_pair(key.read_bytes(), certificate.read_bytes()))
    return False


def _waiting(file: Path) -> Path:
    return file.with_name(f"{file.name}.new")


def _write(file: Path, content: bytes, mode: int) -> None:
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as opened:
        os.fchmod(opened.fileno(), mode)
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())


def _sync_folders(files: TlsFiles) -> None:
    """A rename is kept by the folder, not by the file."""
    for folder in {files.key.parent, files.certificate.parent}:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
