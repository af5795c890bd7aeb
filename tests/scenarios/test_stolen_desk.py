"""Everything that lies in a responder's home, in the hands of a thief: no admin call and no admin certificate."""

import contextlib
import json
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import grpc
import paramiko
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from controller import ssh
from controller.trust import certificates, pairs, requests
from fleetmedic.v1 import agent_pb2, policy_pb2
from tests.lab import agents, sshd
from tests.lab.agents import Agent, Desk
from tests.lab.fixtures import need
from tests.lab.sshd import Sshd
from tests.lab.waiting import free_port

SERVICE = agent_pb2.DESCRIPTOR.services_by_name["AgentService"]
ADMINS = [
    f"/{SERVICE.full_name}/{row.name}"
    for row in SERVICE.methods
    if row.GetOptions().Extensions[policy_pb2.policy].least_role == policy_pb2.ROLE_ADMIN
]
REFUSED = {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE}
# The lab's desks name their files; a home has them where a login puts them.
PLAIN = {"FLEETMEDIC_CERTIFICATE": "", "FLEETMEDIC_KEY": "", "FLEETMEDIC_CA": ""}
ADMIN = "spiffe://lab/role/admin/user/alice"


@dataclass
class Loot:
    """What a thief has: PEM certificates and keys, and the files of SSH keys."""

    certificates: list[bytes] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    ssh_keys: list[Path] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Take what an answer holds."""
        with contextlib.suppress(ValueError, TypeError):
            parts = json.loads(text)
            self.certificates += [part.encode() for part in parts.values() if "BEGIN CERTIFICATE-" in str(part)]


@dataclass(frozen=True)
class Place:
    authority: Desk
    server: Sshd
    agent: Agent
    home: Desk


@pytest.fixture
def place(folder: Path) -> Iterator[Place]:
    """Run an agent and a bastion, and let alice, a responder, work for a day from a home of her own."""
    need("sshd", root=True)
    authority, home = agents.desk(folder / "authority"), Desk(folder / "alice")
    public = home.folder / ".ssh" / "id_ed25519.pub"
    sshd.key(public.with_suffix(""))
    words = ("--role", "responder", "--key", public, "--dir", authority.pki)
    line = authority.run("pki", "authorize", "alice", *words).out
    with (
        agents.run(authority, "web01", port=free_port()) as agent,
        sshd.run(folder / "sshd", port=free_port(), authorized=[line]) as server,
    ):
        (home.folder / ".ssh" / "known_hosts").write_text(server.known_hosts)
        own = home.folder / ".config" / "fleetmedic"
        own.mkdir(parents=True)
        (own / "config.toml").write_text(f'bastion = "root@{server.address}:{server.port}"\n')
        file = home.folder / "fleet.yml"
        at = f"{{fleetmedic_address: {agent.address}, fleetmedic_port: {agent.port}}}"
        file.write_text(f"all: {{hosts: {{web01: {at}}}}}\n")
        for role in ("observer", "responder"):
            done = home.run("login", "--role", role, environment=PLAIN)
            assert done.code == 0, done.err
            # A home keeps what its owner has copied aside.
            for kind in ("crt", "key"):
                (home.folder / f"{role}.{kind}").write_bytes((own / f"operator.{kind}").read_bytes())
        assert home.run("check", "-i", file, "--include", "HOST-MEM", environment=PLAIN).code in (0, 2)
        yield Place(authority, server, agent, home)


def loot(home: Path) -> Loot:
    """Read every file below a home for what it may be."""
    made = Loot()
    for file in (path for path in home.rglob("*") if path.is_file()):
        content = file.read_bytes()
        if b"-----BEGIN CERTIFICATE-----" in content:
            made.certificates.append(content)
        # pragma: allowlist nextline secret - a beginning and no key
        if b"-----BEGIN PRIVATE KEY-----" in content:
            made.keys.append(content)
        # pragma: allowlist nextline secret - a beginning and no key
        if b"-----BEGIN OPENSSH PRIVATE KEY-----" in content:
            made.ssh_keys.append(file)
            secret = serialization.load_ssh_private_key(content, None)
            plain = serialization.NoEncryption()
            made.keys.append(secret.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return made


def call(place: Place, method: str, certificate: bytes, key: bytes) -> grpc.StatusCode:
    """Call a method with an empty request; give how it ended."""
    root = (place.authority.pki / "agent-ca.crt").read_bytes()
    credentials = grpc.ssl_channel_credentials(root, key, certificate)
    named = [("grpc.ssl_target_name_override", "web01")]
    with grpc.secure_channel(f"{place.agent.address}:{place.agent.port}", credentials, named) as channel:
        try:
            channel.unary_unary(method, bytes, bytes)(b"", timeout=10)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


def forged(key: bytes, above: bytes) -> tuple[bytes, bytes]:
    """An admin's certificate, signed with a key that may sign none."""
    signing = serialization.load_pem_private_key(key, None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    fresh = ec.generate_private_key(ec.SECP256R1())
    now = datetime.fromtimestamp(time.time(), UTC)
    builder = x509.CertificateBuilder(
        issuer_name=x509.load_pem_x509_certificate(above).subject,
        subject_name=x509.Name([]),
        public_key=fresh.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(minutes=1),
        not_valid_after=now + timedelta(hours=1),
    )
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(ADMIN)])
    made = builder.add_extension(names, True).sign(signing, hashes.SHA256())
    secret = fresh.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), secret


def asking_for_admin(key: bytes) -> bytes:
    secret = serialization.load_pem_private_key(key, None)
    assert isinstance(secret, ec.EllipticCurvePrivateKey)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(ADMIN)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, True)
    request = builder.add_extension(x509.BasicConstraints(True, None), True).sign(secret, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


TRIES = (
    "fleetmedic-login",
    "fleetmedic-login responder",
    "fleetmedic-login admin",
    "fleetmedic-login observer admin",
    "fleetmedic-login responder; cat {pki}/operator-ca.key",
    "cat {pki}/operator-ca.key",
    "{program} pki sign --dir {pki} --user alice --role admin",
    "{program} pki issue operator alice --role admin --dir {pki} --out /tmp",
    "sh",
    "internal-sftp",
)


def asked(place: Place, key: Path, command: str, request: bytes) -> str:
    """What the bastion writes for a command over SSH."""
    at = ssh.Destination("bastion", place.server.address, place.server.port, "root", key)
    trust = ssh.Trust((place.home.folder / ".ssh" / "known_hosts",), own_keys=False)
    with ssh.connected(at, trust) as session:
        done = session.run(shlex.split(command), stdin=request, patience=30.0)
    return done.out.decode(errors="replace")


@contextlib.contextmanager
def transport(place: Place, key: Path) -> Iterator[paramiko.Transport]:
    """A login, for what no command of ours would ask."""
    made = paramiko.Transport((place.server.address, place.server.port))
    try:
        made.connect(username="root", pkey=paramiko.Ed25519Key.from_private_key_file(str(key)))
        yield made
    finally:
        made.close()


@pytest.mark.covers("sec:login")
def test_a_whole_responder_home_cannot_make_an_admin_call(place: Place) -> None:
    assert ADMINS
    found = loot(place.home.folder)
    assert len(found.certificates) >= 4
    assert len(found.keys) >= 4
    assert len(found.ssh_keys) == 1
    secrets = [key for key in found.keys if _is_p256(key)]

    names = {"pki": place.authority.pki, "program": agents.BIN / "fleetmedic"}
    for key, command, secret in product(found.ssh_keys, TRIES, secrets[:1]):
        for request in (asking_for_admin(secret), b""):
            said = asked(place, key, command.format(**names), request)
            assert "PRIVATE KEY" not in said
            found.add(said)
    assert len(found.certificates) >= 8
    assert not any(b"role/admin" in _der(certificate) for certificate in found.certificates)

    pairs = [*product(found.certificates, found.keys)]
    pairs += [forged(secret, certificate) for secret in secrets for certificate in found.certificates[:4]]
    for method in ADMINS:
        codes = [call(place, method, certificate, key) for certificate, key in pairs]
        assert set(codes) <= REFUSED, codes
        # The home's own certificate was known, and not enough.
        assert grpc.StatusCode.PERMISSION_DENIED in codes


@pytest.mark.covers("sec:login")
def test_an_admins_certificate_makes_that_call_so_that_the_refusals_mean_something(place: Place) -> None:
    made = place.authority.run(
        "pki", "issue", "operator", "root", "--role", "admin", "--dir", place.authority.pki,
        "--out", place.authority.folder / "admin",
    )  # fmt: skip
    assert made.code == 0, made.err
    files = [place.authority.folder / "admin" / f"root.{kind}" for kind in ("crt", "key")]
    for method in ADMINS:
        assert call(place, method, files[0].read_bytes(), files[1].read_bytes()) not in REFUSED


@pytest.mark.covers("sec:login")
def test_a_responders_ssh_key_opens_nothing_else_at_the_bastion(place: Place) -> None:
    key = place.home.folder / ".ssh" / "id_ed25519"
    with transport(place, key) as login:
        with pytest.raises(paramiko.SSHException):
            login.open_channel("direct-tcpip", ("127.0.0.1", place.agent.port), ("127.0.0.1", 1), timeout=10)
        with pytest.raises(paramiko.SSHException):
            login.request_port_forward("127.0.0.1", free_port())
        with pytest.raises((paramiko.SSHException, EOFError)):
            paramiko.SFTPClient.from_transport(login)
    with transport(place, key) as login:
        channel = login.open_session(timeout=10)
        with pytest.raises(paramiko.SSHException):
            channel.get_pty()
    with transport(place, key) as login:
        channel = login.open_session(timeout=10)
        channel.settimeout(30)
        # A variable of the caller's does not reach the signing.
        channel.update_environment({"SSH_ORIGINAL_COMMAND": "fleetmedic-login", "FLEETMEDIC_PKI": "/tmp"})
        channel.exec_command("fleetmedic-login admin")
        channel.sendall(requests.made(ec.generate_private_key(ec.SECP256R1())))
        channel.shutdown_write()
        assert channel.recv_exit_status() == 77
        assert b"BEGIN CERTIFICATE" not in channel.recv(65536)


@pytest.mark.covers("sec:3.1", "sec:A2")
def test_the_operators_authority_speaks_for_its_organisation_alone_and_the_agents_for_no_operator(
    place: Place,
) -> None:
    pki = place.authority.pki
    now = datetime.fromtimestamp(time.time(), UTC)
    ended = []
    for signer, org in (("operator-ca", "lab"), ("operator-ca", "other"), ("agent-ca", "lab")):
        fresh = ec.generate_private_key(ec.SECP256R1())
        wanted = certificates.operator(org, "alice", "admin", timedelta(hours=1), "")
        made = certificates.leaf(wanted, fresh.public_key(), *pairs.signer(pairs.pair(pki, signer)), now)
        ended.append(call(place, f"/{SERVICE.full_name}/Describe", pairs.pem(made), pairs.secret_pem(fresh)))
    assert ended == [grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE]


def _is_p256(key: bytes) -> bool:
    return isinstance(serialization.load_pem_private_key(key, None), ec.EllipticCurvePrivateKey)


def _der(certificate: bytes) -> bytes:
    return x509.load_pem_x509_certificate(certificate).public_bytes(serialization.Encoding.DER)
