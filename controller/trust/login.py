"""Gets an operator's certificate from a bastion over SSH: the key is made here and stays here."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from controller import settings, ssh
from controller.trust import bastion, certificates, pairs, parsing, requests, revocation
from controller.trust.away import BastionAway
from controller.trust.bastion import Answer
from controller.trust.files import TrustError
from controller.trust.pairs import File, Pair
from controller.trust.roles import within

# For the bastion to sign, in seconds; its own waiting included.
PATIENCE = 20.0
LONGEST_WORD = 300
# Of ssh.py's kinds: it is there, and we may not.
REFUSED = frozenset({"host-key", "login"})
NO_SHELL = 127


@dataclass(frozen=True, slots=True)
class Granted:
    """Who we are now, until when, and the files that say so."""

    user: str
    role: str
    ends: datetime.datetime
    files: Pair
    agent_authority: Path


def login(at: ssh.Destination, trust: ssh.Trust, own: Path, role: str | None, now: datetime.datetime) -> Granted:
    """Asks for a role, or for the one that the bastion has for our SSH key, and puts what comes into `own`.

    TrustError where the bastion refuses, or gives what it should not; BastionAway where it is not reached.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    pairs.make_folder(own)
    answer = bastion.read(_asked(at, trust, requests.made(key), role))
    made = pairs.Pair(own / settings.OWN_FILES["certificate"], own / settings.OWN_FILES["key"])
    authority = own / settings.OWN_FILES["ca"]
    user, given, certificate = _checked(answer, key.public_key(), role, now)
    _same_agents(authority, answer)
    files = [*pairs.files(made, answer.certificate, key), File(authority, answer.agent_authority, 0o644)]
    files += _newer(own / revocation.NAME, answer)
    with pairs.placed(files):
        return Granted(user, given, certificate.not_valid_after_utc, made, authority)


def _asked(at: ssh.Destination, trust: ssh.Trust, request: bytes, role: str | None) -> bytes:
    try:
        with ssh.connected(at, trust) as session:
            done = session.run(bastion.words(role), stdin=request, patience=PATIENCE)
    except ssh.SshError as error:
        raise (TrustError if error.kind in REFUSED else BastionAway)(str(error)) from error
    if done.code == 0:
        return done.out
    if done.code == NO_SHELL:
        raise TrustError(
            f"{at.name}: signs nothing for this SSH key: `fleetmedic pki authorize` there prints the line it needs"
        )
    said = done.said.removeprefix("fleetmedic: ")[:LONGEST_WORD] or f"the signing ended with code {done.code}"
    raise TrustError(f"{at.name}: {said}")


def _checked(
    answer: Answer, key: ec.EllipticCurvePublicKey, role: str | None, now: datetime.datetime
) -> tuple[str, str, x509.Certificate]:
    """User, role and certificate, if it is all that we asked for and nothing else."""
    certificate = _parsed(answer.certificate, "certificate")
    operators = _parsed(answer.operator_authority, "operators' authority")
    agents = _parsed(answer.agent_authority, "agents' authority")
    if certificate.public_key() != key:
        raise TrustError("the bastion gave a certificate that is not for the key made here: nothing is kept of it")
    user, given, org = _named(certificate)
    if role is not None and not within(given, role):
        raise TrustError(f"the bastion gave the role {given}, and {role} was asked for: nothing is kept of it")
    _chained(certificate, operators, agents, org)
    _timely(certificate, now)
    denied = revocation.read(answer.denylist, "the bastion's denylist", operators)
    if denied.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
        raise TrustError("the bastion gave a certificate that is on its own denylist: nothing is kept of it")
    return user, given, certificate


def _parsed(content: bytes, what: str) -> x509.Certificate:
    try:
        return parsing.pem(content)
    except parsing.Unread as error:
        raise TrustError(f"the bastion's {what} is no PEM certificate: nothing is kept of it") from error


def _named(certificate: x509.Certificate) -> tuple[str, str, str]:
    """User, role and organisation."""
    names = parsing.names(certificate)
    uri = names[0].value if len(names) == 1 and isinstance(names[0], x509.UniformResourceIdentifier) else ""
    found = certificates.URI.fullmatch(uri)
    if found is None or _usages(certificate) != [ExtendedKeyUsageOID.CLIENT_AUTH]:
        raise TrustError("the bastion gave a certificate that is no operator's: nothing is kept of it")
    return found[3], found[2], found[1]


def _chained(certificate: x509.Certificate, operators: x509.Certificate, agents: x509.Certificate, org: str) -> None:
    if not parsing.signed(certificate, operators):
        raise TrustError("the bastion's certificate is not signed by its operators' authority: nothing is kept")
    # One key for both would let a host's certificate be a client's.
    apart = operators.public_key() != agents.public_key() and ExtendedKeyUsageOID.CLIENT_AUTH not in _usages(agents)
    if not apart or {certificates.organisation(operators), certificates.organisation(agents)} != {org}:
        raise TrustError("the bastion's authorities don't belong together: nothing is kept of what it gave")


def _usages(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(parsing.extension(certificate, x509.ExtendedKeyUsage) or ())


def _timely(certificate: x509.Certificate, now: datetime.datetime) -> None:
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        told = f"{begins:%Y-%m-%d %H:%MZ} to {ends:%Y-%m-%d %H:%MZ}"
        raise TrustError(f"the bastion's certificate is valid from {told}: is this machine's clock right?")


def _same_agents(place: Path, answer: Answer) -> None:
    """A bastion that is somebody else's now must not make us believe other agents."""
    if not place.exists():
        return
    known = pairs.certificate(place, "make it readable, or take it away")
    if known.public_key() != _parsed(answer.agent_authority, "agents' authority").public_key():
        raise TrustError(
            f"{place}: the bastion now gives another authority for agents than this one: "
            "ask whoever runs it, and take the file away if that is right"
        )


def _newer(place: Path, answer: Answer) -> list[File]:
    """The denylist, unless the one at hand has a higher number or can't be compared."""
    issuer = _parsed(answer.operator_authority, "operators' authority")
    fresh = revocation.read(answer.denylist, "the bastion's denylist", issuer)
    try:
        known = revocation.number(revocation.read(place.read_bytes(), str(place), issuer))
    except (OSError, TrustError):
        known = 0
    return [File(place, answer.denylist, 0o644)] if revocation.number(fresh) > known else []
