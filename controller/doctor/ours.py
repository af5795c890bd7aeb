"""What we call with, as far as it decides who lets us in: user, role and times of our own certificate."""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from controller.transport.mtls import Identity
from controller.trust import parsing
from controller.trust.certificates import URI
from controller.trust.files import TrustError


@dataclass(frozen=True, slots=True)
class Ours:
    """`certificate` and `key` are the files' paths: TLS of our own takes them from there."""

    certificate: str
    key: str
    identity: Identity
    user: str
    role: str
    issuer: str
    begins: datetime
    ends: datetime


def read(certificate: str, key: str, identity: Identity) -> Ours:
    """Of an identity that these two files were read into. TrustError where it is no operator's: nobody lets it in."""
    try:
        found = parsing.pem(identity.certificate)
    except parsing.Unread as error:
        raise TrustError(f"{certificate}: is no PEM certificate") from error
    names = names_of(found)
    match = URI.fullmatch(names[0]) if len(names) == 1 else None
    if match is None:
        whose = f"names {', '.join(names[:3])[:200] or 'nobody'}"
        raise TrustError(f"{certificate}: {whose}, and is no operator's: get one with `fleetmedic login`")
    return Ours(
        certificate, key, identity, match[3], match[2], found.issuer.rfc4514_string(),
        found.not_valid_before_utc, found.not_valid_after_utc,
    )  # fmt: skip


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Whom it is for, as text; none where it does not say, or can't be read."""
    return tuple(str(name.value) for name in parsing.names(certificate))
