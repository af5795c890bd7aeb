"""What the authorities here give to a host that gets an agent: its certificate, and whom it is to let in."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from controller.transport.mtls import Identity
from controller.trust import authority
from controller.trust.files import TrustError

# A certificate that ends sooner is made anew.
LEAST_LEFT = datetime.timedelta(days=7)
FRESH = datetime.timedelta(minutes=5)
# What comes of a certificate that can't be read.
_UNREAD = (
    *(ValueError, TypeError, UnsupportedAlgorithm),
    *(x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType),
)
Utc = Callable[[], datetime.datetime]


@dataclass(frozen=True, slots=True)
class Authority:
    """The folder of the authorities, who uses it, and what of it goes to every host."""

    folder: Path
    actor: str
    now: Utc
    agent_ca: bytes
    operator_ca: str
    denylist: str

    def passing(self) -> Callable[[], Identity]:
        """An identity for looking whether agents answer, made anew before it ends; for one thread."""
        held: list[tuple[datetime.datetime, Identity]] = []

        def identity() -> Identity:
            now = self.now()
            if not held or now - held[-1][0] > FRESH:
                held.append((now, authority.passing_identity(self.folder, now)))
            return held[-1][1]

        return identity

    def sign(self, request: bytes, host: str) -> bytes:
        """PEM. TrustError."""
        return authority.sign_agent(self.folder, request, host, self.now(), actor=self.actor)


def authorities(folder: Path, actor: str, now: Utc) -> Authority:
    """TrustError where there are none, before any host is asked."""
    denylist = authority.denylist(folder, now()).decode()
    try:
        agent_ca, operator_ca = ((folder / name).read_bytes() for name in ("agent-ca.crt", "operator-ca.crt"))
    except OSError as error:
        raise TrustError(f"{error.filename}: can't be read: {error.strerror}") from error
    return Authority(folder, actor, now, agent_ca, operator_ca.decode(), denylist)


def will_do(held: bytes, name: str, agent_ca: bytes, now: datetime.datetime) -> bool:
    """Whether a certificate that a host has is one of ours, for its name, and lasts."""
    try:
        leaf, issuer = x509.load_pem_x509_certificate(held), x509.load_pem_x509_certificate(agent_ca)
        leaf.verify_directly_issued_by(issuer)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (*_UNREAD, InvalidSignature, x509.ExtensionNotFound):
        return False
    called = {*map(str, names.get_values_for_type(x509.DNSName))}
    called |= {*map(str, names.get_values_for_type(x509.IPAddress))}
    return name in called and leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc - LEAST_LEFT
