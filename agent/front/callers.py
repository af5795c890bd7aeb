"""Who calls, and in which role: by the client's certificate alone, and anew at every call.

A live or resumed connection outlives the certificate it was opened with.
"""

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import grpc
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from agent import operators
from agent.denylist import Lists
from agent.front.policy import Role
from fleetmedic.v1.local_pb2 import Caller

URI = re.compile(
    r"spiffe://([a-z0-9][a-z0-9.-]{0,127})/role/(observer|responder|admin)/user/([a-z0-9][a-z0-9._-]{0,62})"
)
# Drawn at random for us. Its value is the reason, in UTF-8, for a certificate that was made past the usual way.
BREAK_GLASS = x509.ObjectIdentifier("2.25.189067995773778395800948203384344153704")
LONGEST_REASON = 200


@dataclass(frozen=True, slots=True)
class Peer:
    """Who calls, by the certificate. `serial` is its number, hexadecimal."""

    user: str
    role: Role
    serial: str = ""
    break_glass: str = ""

    def caller(self) -> Caller:
        return Caller(role=self.role.name.lower(), user=self.user, serial=self.serial, break_glass=self.break_glass)


@dataclass(frozen=True, slots=True)
class Trusted:
    """Whom this host lets call: certificates of `authorities` that are not denied; some users in a lower role."""

    org: str
    authorities: tuple[x509.Certificate, ...]
    denylists: Lists = field(default_factory=dict)
    lowered: Mapping[str, Role] = field(default_factory=dict)


class Denied(Exception):
    """The call is refused; `code` is what the caller sees, `peer` who it is where that is known."""

    def __init__(self, code: grpc.StatusCode, reason: str, peer: Peer | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.peer = peer


def identify(pem: bytes, trusted: Trusted, now: datetime.datetime) -> Peer:
    """The peer a client certificate stands for. Denied where it is out of date or denied, or is no operator's."""
    try:
        certificate = _parsed(pem)
        peer = _named(certificate, trusted.org)
    except operators.UNREAD as error:
        # What OpenSSL lets pass and a strict parser does not: its message would quote the certificate.
        raise _nobody("the client certificate can't be read") from error
    issuer = operators.issuer(certificate, trusted.authorities)
    if issuer is None:
        raise _nobody("the client certificate was not issued by the operators' authority itself")
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        raise _nobody("the client certificate is out of date: get a new one", peer)
    denied = trusted.denylists.get(issuer)
    if denied and certificate.serial_number in denied.denied:
        raise _nobody("the client certificate is on the denylist: it counts no more", peer)
    return replace(peer, role=min(peer.role, trusted.lowered.get(peer.user, peer.role)))


def _nobody(reason: str, peer: Peer | None = None) -> Denied:
    return Denied(grpc.StatusCode.UNAUTHENTICATED, reason, peer)


@lru_cache(maxsize=256)
def _parsed(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


@lru_cache(maxsize=256)
def _named(certificate: x509.Certificate, org: str) -> Peer:
    """Who a certificate says it is: exactly one use, exactly one name. Denied; ValueError where it can't be read."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise _nobody("the client certificate is no operator's") from error
    uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    found = URI.fullmatch(uris[0]) if len(uris) == 1 and len(names) == 1 else None
    if list(usage) != [ExtendedKeyUsageOID.CLIENT_AUTH] or found is None or found[1] != org:
        raise _nobody("the client certificate is no operator's")
    return Peer(found[3], Role[found[2].upper()], f"{certificate.serial_number:X}", _break_glass(certificate))


def _break_glass(certificate: x509.Certificate) -> str:
    """Why a certificate was made past the usual way; empty for others. ValueError where that can't be read."""
    try:
        found = certificate.extensions.get_extension_for_oid(BREAK_GLASS).value
    except x509.ExtensionNotFound:
        return ""
    reason = found.value.decode("utf-8") if isinstance(found, x509.UnrecognizedExtension) else ""
    if not 0 < len(reason) <= LONGEST_REASON:
        raise ValueError("a reason of no length, or too long")
    return reason
