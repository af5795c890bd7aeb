"""Certificates and keys as they lie in a folder: read with a clear word, written all whole or none."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controller.trust import parsing
from controller.trust.files import TrustError


@dataclass(frozen=True, slots=True)
class Pair:
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class File:
    """What is to stand at a place, and who may read it."""

    place: Path
    content: bytes
    mode: int


def pair(folder: Path, name: str) -> Pair:
    return Pair(folder / f"{name}.crt", folder / f"{name}.key")


def files(at: Pair, certificate: bytes, key: ec.EllipticCurvePrivateKey) -> tuple[File, File]:
    """Both, the key for its user alone."""
    return File(at.key, secret_pem(key), 0o600), File(at.certificate, certificate, 0o644)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def secret_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate(path: Path, mend: str = "`fleetmedic pki init` makes it") -> x509.Certificate:
    """The first of a file. TrustError where there is none."""
    try:
        return parsing.pem(read(path, mend))
    except parsing.Unread as error:
        raise TrustError(f"{path}: is no PEM certificate") from error


def signing_key(path: Path, mend: str = "`fleetmedic pki init` makes it") -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(read(path, mend), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TrustError(f"{path}: is no PEM private key without a passphrase") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TrustError(f"{path}: is no elliptic curve key, such as `fleetmedic pki init` makes")
    return key


def signer(at: Pair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """An authority's certificate, and the key that belongs to it."""
    above, signing = certificate(at.certificate), signing_key(at.key)
    if signing.public_key() != above.public_key():
        raise TrustError(f"{at.key}: is not the key of {at.certificate}: give the two that were made together")
    return above, signing


def read(path: Path, mend: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrustError(f"{path}: can't be read: {error.strerror}; {mend}") from error


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise TrustError(f"{folder}: can't be made: {error.strerror}") from error


@contextmanager
def placed(made: Sequence[File]) -> Iterator[None]:
    """All whole or none: every file is finished beside its place, and put there once the block has ended well."""
    ready: list[tuple[Path, Path]] = []
    try:
        for item in made:
            ready.append((item.place.with_name(f".{item.place.name}.new"), item.place))
            try:
                _finish(ready[-1][0], item.content, item.mode)
            except OSError as error:
                raise TrustError(f"{item.place}: can't be written: {error.strerror}") from error
        yield
        for fresh, place in ready:
            try:
                fresh.replace(place)
            except OSError as error:
                raise TrustError(f"{place}: can't be written: {error.strerror}") from error
        for folder in {place.parent for _, place in ready}:
            _sync(folder)
    finally:
        for fresh, _ in ready:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)


def _finish(fresh: Path, content: bytes, mode: int) -> None:
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        # What is public may be read whatever the umask; a key never more than by its user.
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    # The files are whole and in place: a folder that can't be synced is no reason to call that a failure.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
