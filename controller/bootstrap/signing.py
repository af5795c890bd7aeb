"""What the authorities here give to a host that gets an agent: its certificate, and whom it is to let in."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from controller.transport.mtls import Identity
from controller.trust import authority, parsing
from controller.trust.files import TrustError

# A certificate that ends sooner is made anew.
LEAST_LEFT = datetime.timedelta(days=7)
FRESH = datetime.timedelta(minutes=5)
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


def authorities(folder: Path, actor: str, now: Utc, beside: Path | None = None) -> Authority:
    """`beside` as in authority.denylist. TrustError where there are none, before any host is asked."""
    denylist = authority.denylist(folder, now(), beside).decode()
    try:
        agent_ca, operator_ca = ((folder / name).read_bytes() for name in ("agent-ca.crt", "operator-ca.crt"))
    except OSError as error:
        raise TrustError(f"{error.filename}: can't be read: {error.strerror}") from error
    return Authority(folder, actor, now, agent_ca, operator_ca.decode(), denylist)


def will_do(held: bytes, name: str, agent_ca: bytes, now: datetime.datetime) -> bool:
    """Whether a certificate that a host has is one of ours, for its name, and lasts."""
    try:
        leaf, issuer = parsing.pem(held), parsing.pem(agent_ca)
    except parsing.Unread:
        return False
    kinds = (x509.DNSName, x509.IPAddress)
    called = {str(each.value) for each in parsing.names(leaf) if isinstance(each, kinds)}
    return (
        parsing.signed(leaf, issuer)
        and name in called
        and leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc - LEAST_LEFT
    )
