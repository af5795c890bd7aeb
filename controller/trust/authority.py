"""Makes the authorities of an organisation and the certificates of agents and operators.

Two authorities, so that a key stolen from a host can never be a client: agents' certificates come from one, operators'
from the other. The signer sets names, usage and times itself. P-256 leaves under P-384 authorities.
"""

import datetime
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller.inventory.names import is_ipv6
from controller.trust.files import TrustError

ORG = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
USER = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
ROLES = ("observer", "responder", "admin")
AUTHORITY_LIFE = datetime.timedelta(days=3650)
AGENT_LIFE = datetime.timedelta(days=90)
OPERATOR_LIFE = datetime.timedelta(hours=8)
# A host whose clock is a little behind must not find a fresh certificate "not yet valid".
BACKDATE = datetime.timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Pair:
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Finished:
    """What stands ready to be written."""

    pair: Pair
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def initialise(folder: Path, org: str, now: datetime.datetime) -> list[Pair]:
    """Makes agents' and operators' authority in `folder`. TrustError where either is there already."""
    if not ORG.fullmatch(org):
        raise TrustError(f"--org {org!r}: small letters, digits, dots and hyphens, as in a host name")
    pairs = [_pair(folder, "agent-ca"), _pair(folder, "operator-ca")]
    for pair in pairs:
        if pair.certificate.exists() or pair.key.exists():
            raise TrustError(f"{pair.certificate}: is there already; an authority is made once")
    _make_folder(folder)
    _write([_authority(pair, org, kind, now) for pair, kind in zip(pairs, ("agents", "operators"), strict=True)])
    return pairs


def _authority(pair: Pair, org: str, kind: str, now: datetime.datetime) -> "Finished":
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, org),
            x509.NameAttribute(NameOID.COMMON_NAME, f"fleetmedic {kind} of {org}"),
        ]
    )
    builder = _builder(name, name, key.public_key(), now, AUTHORITY_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(sign=False, authority=True), critical=True)
    if kind == "operators":
        only = x509.NameConstraints([x509.UniformResourceIdentifier(org)], None)
        builder = builder.add_extension(only, critical=True)
    return Finished(pair, builder.sign(key, hashes.SHA384()), key)


def issue_agent(folder: Path, out: Path, host: str, now: datetime.datetime) -> Pair:
    """A server certificate for a host, under its inventory name, which may be an IPv4 address."""
    if is_ipv6(host):
        raise TrustError(
            f"{host!r} can't be a certificate's name: give the host a name in the inventory, "
            "and this as its fleetmedic_address"
        )
    if not HOST.fullmatch(host):
        raise TrustError(f"{host!r} is no host name")
    names: list[x509.GeneralName] = [x509.DNSName(host)]
    with suppress(ValueError):
        # The agent goes by the DNS name; TLS may look for an address under its own kind only.
        names.append(x509.IPAddress(ip_address(host)))
    return _issue(folder, "agent-ca", _pair(out, host), names, ExtendedKeyUsageOID.SERVER_AUTH, AGENT_LIFE, now)


def issue_operator(folder: Path, out: Path, user: str, role: str, now: datetime.datetime) -> Pair:
    """A client certificate that says who calls, and what they may."""
    if not USER.fullmatch(user):
        raise TrustError(f"{user!r} is no user name: small letters, digits, dots, hyphens, underscores")
    if role not in ROLES:
        raise TrustError(f"--role {role!r}: one of {', '.join(ROLES)}")
    uri = x509.UniformResourceIdentifier(f"spiffe://{_org(folder)}/role/{role}/user/{user}")
    return _issue(folder, "operator-ca", _pair(out, user), [uri], ExtendedKeyUsageOID.CLIENT_AUTH, OPERATOR_LIFE, now)


def _org(folder: Path) -> str:
    certificate = _certificate(_pair(folder, "operator-ca"))
    return str(certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)


def _issue(
    folder: Path,
    authority: str,
    made: Pair,
    names: Sequence[x509.GeneralName],
    usage: x509.ObjectIdentifier,
    life: datetime.timedelta,
    now: datetime.datetime,
) -> Pair:
    issuer = _pair(folder, authority)
    signer, signing = _certificate(issuer), _signing_key(issuer)
    if made.key.name in ("agent-ca.key", "operator-ca.key"):
        raise TrustError(f"{made.certificate.stem!r} is the name of an authority's files: choose another name")
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(x509.Name([]), signer.subject, key.public_key(), now, life)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(sign=True, authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    # Critical, for the subject is empty.
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())
    builder = builder.add_extension(identifier, critical=False)
    _make_folder(made.certificate.parent)
    _write([Finished(made, builder.sign(signing, hashes.SHA384()), key)])
    return made


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
    life: datetime.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, sign: bool, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(folder: Path, name: str) -> Pair:
    return Pair(folder / f"{name}.crt", folder / f"{name}.key")


def _certificate(pair: Pair) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_read(pair.certificate))
    except ValueError as error:
        raise TrustError(f"{pair.certificate}: is no PEM certificate") from error


def _signing_key(pair: Pair) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(_read(pair.key), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TrustError(f"{pair.key}: is no PEM private key without a passphrase") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TrustError(f"{pair.key}: is no elliptic curve key, such as `fleetmedic pki init` makes")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrustError(f"{path}: can't be read: {error.strerror}; `fleetmedic pki init` makes it") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise TrustError(f"{folder}: can't be made: {error.strerror}") from error


def _write(made: Sequence[Finished]) -> None:
    """All whole or none: every file is finished beside its place before the first one is put there."""
    ready: list[tuple[Path, Path]] = []
    try:
        for item in made:
            secret = item.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            public = item.certificate.public_bytes(serialization.Encoding.PEM)
            for path, content, mode in ((item.pair.key, secret, 0o600), (item.pair.certificate, public, 0o644)):
                fresh = path.with_name(f".{path.name}.new")
                ready.append((fresh, path))
                _finish(fresh, content, mode)
        for fresh, path in ready:
            fresh.replace(path)
    except OSError as error:
        for fresh, _ in ready:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
        raise TrustError(f"{ready[-1][1]}: can't be written: {error.strerror}") from error


def _finish(fresh: Path, content: bytes, mode: int) -> None:
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
