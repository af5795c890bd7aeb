"""Issues certificates of any kind, above all the odd ones that the product's own authority would not make."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
Public = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def new_key(kind: str = "p256") -> Key:
    """Make a private key: p256, p384, ed25519, or rsa with its bits (rsa1024, rsa2048)."""
    if kind.startswith("rsa"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind.removeprefix("rsa")))
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"p256": ec.SECP256R1, "p384": ec.SECP384R1}[kind]())


@dataclass(frozen=True)
class Files:
    """Where a certificate was written: the chain (leaf first), its key (0600), and the root to trust."""

    certificate: Path
    key: Path
    root: Path


@dataclass(frozen=True)
class Issued:
    """A certificate with its key and the authorities above it, nearest first, the root last."""

    certificate: x509.Certificate
    key: Key
    above: tuple[x509.Certificate, ...]

    @property
    def root(self) -> x509.Certificate:
        return (self.certificate, *self.above)[-1]

    def write(self, directory: Path, name: str = "", *, chain: bool = True) -> Files:
        """Write NAME.crt, NAME.key and NAME.root.crt; without `chain` the leaf alone, an incomplete chain."""
        directory.mkdir(parents=True, exist_ok=True)
        name = name or "certificate"
        files = Files(directory / f"{name}.crt", directory / f"{name}.key", directory / f"{name}.root.crt")
        served = (self.certificate, *(self.above[:-1] if chain else ()))
        files.certificate.write_bytes(b"".join(pem(each) for each in served))
        files.root.write_bytes(pem(self.root))
        files.key.touch(mode=0o600)
        files.key.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files


@dataclass(frozen=True)
class Authority:
    """A certificate authority; `now` is the moment all validity is counted from."""

    own: Issued
    now: datetime

    def issue(
        self,
        name: str,
        *,
        dns: Sequence[str] = (),
        uris: Sequence[str] = (),
        addresses: Sequence[str] = (),
        usages: Sequence[x509.ObjectIdentifier] = (SERVER,),
        begins: timedelta = -MINUTE,
        ends: timedelta = DAY,
        key: str = "p256",
        serial: int | None = None,
        public: Public | None = None,
        more: Sequence[x509.ExtensionType] = (),
        authority: x509.AuthorityKeyIdentifier | None = None,
    ) -> Issued:
        """Issue a certificate with the common name `name`, valid from now + begins to now + ends.

        `public` is the key of somebody else's request, and then the key given back is none of it. `authority` is
        whose key it claims to be signed with.

        An expired one is begins=-2 * DAY, ends=-DAY; one of the future begins=DAY, ends=2 * DAY.
        """
        private = new_key(key)
        names: list[x509.GeneralName] = [*map(x509.DNSName, dns), *map(x509.UniformResourceIdentifier, uris)]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        builder = _builder(name, private, self.now + begins, self.now + ends, serial, public)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        for extension in more:
            builder = builder.add_extension(extension, critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        made = _sign(builder, self.own.certificate.subject, self.own.key, authority)
        return Issued(made, private, self._chain())

    def subordinate(self, name: str, *, key: str = "p256", ends: timedelta = 10 * DAY) -> "Authority":
        """Make an authority below this one."""
        private = new_key(key)
        builder = _authority_builder(name, private, self.now, ends)
        certificate = _sign(builder, self.own.certificate.subject, self.own.key)
        return Authority(Issued(certificate, private, self._chain()), self.now)

    def denylist(
        self,
        number: int | None,
        *denied: Issued,
        ends: timedelta = 10 * DAY,
        more: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> bytes:
        """Make a revocation list, PEM, that names the certificates; `more` are extensions, each critical or not."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.own.certificate.subject)
        builder = builder.last_update(self.now - MINUTE).next_update(self.now + ends)
        extensions = [*more, *([(x509.CRLNumber(number), False)] if number is not None else [])]
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        for each in denied:
            revoked = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number)
            builder = builder.add_revoked_certificate(revoked.revocation_date(self.now).build())
        algorithm = None if isinstance(self.own.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        return builder.sign(self.own.key, algorithm).public_bytes(serialization.Encoding.PEM)

    def _chain(self) -> tuple[x509.Certificate, ...]:
        return (self.own.certificate, *self.own.above)


def root(now: datetime, name: str = "lab root", *, key: str = "p256", ends: timedelta = 10 * DAY) -> Authority:
    """Make a self-signed authority."""
    private = new_key(key)
    builder = _authority_builder(name, private, now, ends)
    return Authority(Issued(_sign(builder, _subject(name), private), private, ()), now)


def loaded(certificate: Path, key: Path, now: datetime) -> Authority:
    """Read an authority that the product made."""
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return Authority(Issued(x509.load_pem_x509_certificate(certificate.read_bytes()), private, ()), now)


def self_signed(now: datetime, name: str, *, dns: Sequence[str] = (), ends: timedelta = 10 * DAY) -> Issued:
    """Make a server's certificate that vouches for itself."""
    private = new_key()
    builder = _builder(name, private, now - MINUTE, now + ends)
    names = x509.SubjectAlternativeName([x509.DNSName(each) for each in dns])
    return Issued(_sign(builder.add_extension(names, critical=False), _subject(name), private), private, ())


def pem(certificate: x509.Certificate) -> bytes:
    """Return the certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    name: str,
    private: Key,
    begins: datetime,
    ends: datetime,
    serial: int | None = None,
    public: Public | None = None,
) -> x509.CertificateBuilder:
    public = public or private.public_key()
    builder = x509.CertificateBuilder().subject_name(_subject(name)).public_key(public)
    builder = builder.serial_number(serial or x509.random_serial_number())
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    return builder.not_valid_before(begins).not_valid_after(ends).add_extension(identifier, critical=False)


def _authority_builder(name: str, private: Key, now: datetime, ends: timedelta) -> x509.CertificateBuilder:
    builder = _builder(name, private, now - 5 * DAY, now + ends)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return builder.add_extension(usage, critical=True)


def _sign(
    builder: x509.CertificateBuilder, issuer: x509.Name, key: Key, authority: x509.AuthorityKeyIdentifier | None = None
) -> x509.Certificate:
    authority = authority or x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.issuer_name(issuer).add_extension(authority, critical=False).sign(key, algorithm)
