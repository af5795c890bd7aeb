"""The certificate, key and authority a command calls with, checked before any host is dialled."""

import stat
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from controller.transport.mtls import Identity


class TrustError(Exception):
    """Certificates that can't be used; one line says which, why, and the mend."""


def load(certificate: str, key: str, authority: str, now: datetime) -> "Identity":
    """Read and checked: refused TLS looks the same for every cause, so what we can know, we say first (security F9)."""
    if not (certificate and key and authority):
        lacking = [
            name for name, value in (("--certificate", certificate), ("--key", key), ("--ca", authority)) if not value
        ]
        raise TrustError(
            f"{', '.join(lacking)} not set: agents answer over mutual TLS alone; "
            "`fleetmedic login` gets the files, or `fleetmedic pki init` and `fleetmedic pki issue` make them"
        )
    # gRPC, which only a command that calls agents needs.
    from controller.transport.mtls import Identity  # noqa: PLC0415

    secret = Path(key)
    made = Identity(_read(Path(certificate)), _read(secret), _read(Path(authority)))
    if secret.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise TrustError(f"{key}: may be read by others: chmod 0600 it")
    _check(certificate, key, made, now)
    _certificate(authority, made.agent_authority)
    return made


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrustError(f"{path}: can't be read: {error.strerror}") from error


def _check(path: str, key_path: str, made: "Identity", now: datetime) -> None:
    certificate = _certificate(path, made.certificate)
    if now >= certificate.not_valid_after_utc:
        ended = certificate.not_valid_after_utc.strftime("%Y-%m-%d %H:%MZ")
        raise TrustError(f"{path}: ended on {ended}: get a new one with `fleetmedic login` or `fleetmedic pki issue`")
    if now < certificate.not_valid_before_utc:
        raise TrustError(f"{path}: is not valid yet: is this machine's clock right?")
    # Imported here, as below: 40 ms that only a command which calls agents pays.
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    try:
        secret = serialization.load_pem_private_key(made.key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TrustError(f"{key_path}: is no PEM private key without a passphrase") from error
    if secret.public_key() != certificate.public_key():
        raise TrustError(f"{key_path}: is not the key of {path}: give the two that were made together")


def _certificate(path: str, pem: bytes) -> "Certificate":
    from controller.trust import parsing  # noqa: PLC0415

    try:
        return parsing.pem(pem)
    except parsing.Unread as error:
        raise TrustError(f"{path}: is no PEM certificate") from error
