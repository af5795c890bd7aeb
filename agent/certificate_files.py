"""Certificate files and their keys as they lie on this host; of a key nothing is told but whether it fits."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization

from fleetmedic.v1.snapshot_pb2 import Certificate, CertificateFile

LARGEST = 1024 * 1024


class _Unread(Exception):
    """Why a file is no use: a class, and a sentence."""


def read(certificate: Path, key: Path | None) -> CertificateFile:
    """A PEM chain, leaf first, and whether the key fits its leaf. Never raises for what lies there."""
    made = CertificateFile(path=str(certificate), key_path=str(key or ""))
    leaf = None
    try:
        chain = _chain(certificate)
        leaf = chain[0]
        made.chain.extend(map(_told, chain))
        made.changed_time.FromMicroseconds(certificate.stat().st_mtime_ns // 1000)
    except _Unread as error:
        made.error_class, made.error_text = error.args
    except OSError as error:
        made.error_class, made.error_text = _class(error), f"{certificate}: {error.strerror}"
    if key is not None and leaf is not None:
        try:
            _hold(leaf, key)
        except _Unread as error:
            made.key_error_class, made.key_error_text = error.args
        except OSError as error:
            made.key_error_class, made.key_error_text = _class(error), f"{key}: {error.strerror}"
    return made


def _class(error: OSError) -> str:
    return {FileNotFoundError: "missing", PermissionError: "denied"}.get(type(error), "unread")


def _text(file: Path) -> bytes:
    if not stat.S_ISREG(file.stat().st_mode):
        raise _Unread("unread", f"{file} is no file")
    with file.open("rb") as opened:
        text = opened.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise _Unread("unread", f"{file} is larger than any certificate")
    return text


def _chain(file: Path) -> list[x509.Certificate]:
    text = _text(file)
    try:
        return x509.load_pem_x509_certificates(text)
    except UnsupportedAlgorithm as error:
        raise _Unread("unsupported", f"{file}: of a kind that this agent can't read") from error
    except ValueError as error:
        said = "holds a private key: the two files are swapped" if b"PRIVATE KEY-----" in text else "no certificate"
        raise _Unread("not-pem", f"{file}: {said}") from error


def _hold(leaf: x509.Certificate, file: Path) -> None:
    """_Unread where the key in a file is not the certificate's."""
    text = _text(file)
    try:
        key = serialization.load_pem_private_key(text, None)
    except TypeError as error:
        raise _Unread("encrypted", f"{file} is encrypted: a server can't start with it unattended") from error
    except ValueError as error:
        said = "holds a certificate: the two files are swapped" if b"CERTIFICATE-----" in text else "no private key"
        raise _Unread("not-pem", f"{file}: {said}") from error
    except UnsupportedAlgorithm as error:
        raise _Unread("unsupported", f"{file}: of a kind that this agent can't read") from error
    if _public(key.public_key) != _public(leaf.public_key):
        raise _Unread("mismatch", f"{file} is the key of another certificate")


def _public(key_of: Callable[[], Any]) -> bytes:
    """The public half, whatever its kind."""
    try:
        made: bytes = key_of().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    except UnsupportedAlgorithm as error:
        raise _Unread("unsupported", "of a kind that this agent can't read") from error
    return made


def _told(item: x509.Certificate) -> Certificate:
    made = Certificate(
        subject=item.subject.rfc4514_string(),
        issuer=item.issuer.rfc4514_string(),
        serial=f"{item.serial_number:X}",
        sha256=item.fingerprint(hashes.SHA256()).hex(),
    )
    made.not_before.FromDatetime(item.not_valid_before_utc)
    made.not_after.FromDatetime(item.not_valid_after_utc)
    return made
