"""What stands in a certificate of ours: names, usage and times, set by the signer alone."""

import datetime
import re
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller.inventory.names import is_ipv6
from controller.trust.files import TrustError
from controller.trust.parsing import UNREAD
from controller.trust.roles import ROLES

ORG = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
USER = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
URI = re.compile(rf"spiffe://({ORG.pattern})/role/({'|'.join(ROLES)})/user/({USER.pattern})")
ROOT_LIFE = datetime.timedelta(days=7305)
AUTHORITY_LIFE = datetime.timedelta(days=3650)
AGENT_LIFE = datetime.timedelta(days=90)
OPERATOR_LIFE = datetime.timedelta(hours=8)
BREAK_GLASS_LIFE = datetime.timedelta(hours=1)
# A host whose clock is a little behind must not find a fresh certificate "not yet valid".
BACKDATE = datetime.timedelta(seconds=60)
# Why the glass was broken, in UTF-8; agents record it. Drawn at random for us.
BREAK_GLASS = x509.ObjectIdentifier("2.25.189067995773778395800948203384344153704")
LONGEST_REASON = 200
USAGES = {"agent-ca": ExtendedKeyUsageOID.SERVER_AUTH, "operator-ca": ExtendedKeyUsageOID.CLIENT_AUTH}
KINDS = {"agent-ca": "agents", "operator-ca": "operators"}


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a certificate is to say; `role` is empty for an agent, `reason` but for a broken glass."""

    authority: str
    name: str
    role: str
    names: tuple[x509.GeneralName, ...]
    life: datetime.timedelta
    reason: str = ""


def agent(host: str) -> Leaf:
    """A server's, under its inventory name, which may be an IPv4 address. TrustError for a name that is none."""
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
    return Leaf("agent-ca", host, "", tuple(names), AGENT_LIFE)


def operator(org: str, user: str, role: str, life: datetime.timedelta, reason: str) -> Leaf:
    """A client's: who calls, and what they may. TrustError for what is no user, role, life or reason."""
    if not USER.fullmatch(user):
        raise TrustError(f"{user!r} is no user name: small letters, digits, dots, hyphens, underscores")
    if role not in ROLES:
        raise TrustError(f"--role {role!r}: one of {', '.join(ROLES)}")
    most = BREAK_GLASS_LIFE if reason else OPERATOR_LIFE
    if not datetime.timedelta(0) < life:
        raise TrustError(f"a certificate of {life} would be none")
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        raise TrustError(f"--reason: say why in one line of {LONGEST_REASON} characters at most")
    name = x509.UniformResourceIdentifier(f"spiffe://{org}/role/{role}/user/{user}")
    return Leaf("operator-ca", user, role, (name,), min(life, most), reason)


def check_org(org: str) -> None:
    """TrustError where an organisation's name could not stand in a URI."""
    if not ORG.fullmatch(org):
        raise TrustError(f"--org {org!r}: small letters, digits, dots and hyphens, as in a host name")


def organisation(certificate: x509.Certificate) -> str:
    """The organisation that an authority's subject names; empty where it names none."""
    found = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(found[0].value) if found else ""


def root(org: str, key: ec.EllipticCurvePrivateKey, now: datetime.datetime) -> x509.Certificate:
    name = _name(org, f"fleetmedic root of {org}")
    builder = _builder(name, name, key.public_key(), now - BACKDATE, now + ROOT_LIFE)
    builder = _as_authority(builder, 1).add_extension(_only(org), critical=True)
    return builder.sign(key, hashes.SHA384())


def authority(
    which: str,
    public: ec.EllipticCurvePublicKey,
    above: x509.Certificate,
    signing: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
) -> x509.Certificate:
    """agent-ca or operator-ca: for leaves of one usage, and below it no other authority."""
    org = organisation(above)
    end = min(now + AUTHORITY_LIFE, above.not_valid_after_utc)
    subject = _name(org, f"fleetmedic {KINDS[which]} of {org}")
    builder = _as_authority(_builder(subject, above.subject, public, now - BACKDATE, end), 0)
    builder = builder.add_extension(x509.ExtendedKeyUsage([USAGES[which]]), critical=False)
    builder = builder.add_extension(_issuer(signing), critical=False)
    if which == "operator-ca":
        builder = builder.add_extension(_only(org), critical=True)
    return builder.sign(signing, hashes.SHA384())


def leaf(
    wanted: Leaf,
    public: ec.EllipticCurvePublicKey,
    above: x509.Certificate,
    signing: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
) -> x509.Certificate:
    """It never outlives what is above it."""
    end = min(now + wanted.life, above.not_valid_after_utc)
    builder = _builder(x509.Name([]), above.subject, public, now - BACKDATE, end)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(sign=True, authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([USAGES[wanted.authority]]), critical=False)
    # Critical, for the subject is empty.
    builder = builder.add_extension(x509.SubjectAlternativeName(wanted.names), critical=True)
    builder = builder.add_extension(_issuer(signing), critical=False)
    if wanted.reason:
        said = x509.UnrecognizedExtension(BREAK_GLASS, wanted.reason.encode())
        builder = builder.add_extension(said, critical=False)
    return builder.sign(signing, hashes.SHA384())


def glass(certificate: x509.Certificate) -> str:
    """Why the glass was broken for it; empty for any other."""
    try:
        value = certificate.extensions.get_extension_for_oid(BREAK_GLASS).value
    except (*UNREAD, x509.ExtensionNotFound):
        return ""
    return value.value.decode(errors="replace") if isinstance(value, x509.UnrecognizedExtension) else ""


def _name(org: str, common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, org), x509.NameAttribute(NameOID.COMMON_NAME, common[:64])]
    )


def _only(org: str) -> x509.NameConstraints:
    """Of URIs those of the organisation alone; what an agent is called is no URI, and stays free."""
    return x509.NameConstraints([x509.UniformResourceIdentifier(org)], None)


def _issuer(signing: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())


def _as_authority(builder: x509.CertificateBuilder, below: int) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
    return builder.add_extension(_usage(sign=False, authority=True), critical=True)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    begin: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
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
