"""Makes the short-lived certificates of a benchmark: one authority for agents, another for operators."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

OPERATOR_URI = "spiffe://bench/role/observer/user/bench"
LIFETIME = datetime.timedelta(days=1)
BACKDATE = datetime.timedelta(minutes=1)


@dataclass(frozen=True)
class Authority:
    """A certificate authority: its certificate and its P-256 key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Issued:
    """A leaf certificate and its key, both PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True)
class CredentialFiles:
    """Where the PEM files of one benchmark lie."""

    folder: Path

    @property
    def agent_ca(self) -> Path:
        return self.folder / "agent-ca.pem"

    @property
    def agent_ca_key(self) -> Path:
        return self.folder / "agent-ca.key"

    @property
    def operator_ca(self) -> Path:
        return self.folder / "operator-ca.pem"

    @property
    def operator(self) -> Path:
        return self.folder / "operator.pem"

    @property
    def operator_key(self) -> Path:
        return self.folder / "operator.key"


def make_authority(common_name: str, now: datetime.datetime) -> Authority:
    """A self-signed authority valid for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = _dated(now).subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return Authority(builder.sign(key, hashes.SHA256()), key)


def issue_agent(authority: Authority, name: str, now: datetime.datetime) -> Issued:
    """A server certificate whose one DNS name is the inventory name."""
    return _issue(authority, name, x509.DNSName(name), ExtendedKeyUsageOID.SERVER_AUTH, now)


def issue_operator(authority: Authority, uri: str, now: datetime.datetime) -> Issued:
    """A client certificate with exactly one URI."""
    return _issue(authority, "bench", x509.UniformResourceIdentifier(uri), ExtendedKeyUsageOID.CLIENT_AUTH, now)


def write_credentials(folder: Path, now: datetime.datetime) -> CredentialFiles:
    """Writes both authorities and one operator certificate into `folder`; keys are 0600."""
    files = CredentialFiles(folder)
    agents = make_authority("bench agents", now)
    operators = make_authority("bench operators", now)
    operator = issue_operator(operators, OPERATOR_URI, now)
    files.agent_ca.write_bytes(agents.pem)
    _write_private(files.agent_ca_key, _key_pem(agents.key))
    files.operator_ca.write_bytes(operators.pem)
    files.operator.write_bytes(operator.certificate)
    _write_private(files.operator_key, operator.key)
    return files


def read_agent_authority(files: CredentialFiles) -> Authority:
    """The agents' authority, as `write_credentials` left it."""
    key = serialization.load_pem_private_key(files.agent_ca_key.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{files.agent_ca_key} holds no elliptic curve key; make the folder anew")
    return Authority(x509.load_pem_x509_certificate(files.agent_ca.read_bytes()), key)


def _issue(
    authority: Authority,
    common_name: str,
    alternative: x509.GeneralName,
    usage: x509.ObjectIdentifier,
    now: datetime.datetime,
) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _dated(now)
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    certificate = builder.sign(authority.key, hashes.SHA256())
    return Issued(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def _dated(now: datetime.datetime) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - BACKDATE).not_valid_after(now + LIFETIME)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
