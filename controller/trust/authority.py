"""Makes the authorities of an organisation, and signs for agents and operators.

A root that lies offline, and below it two authorities, so that a key stolen from a host can never be a client: agents'
certificates come from one, operators' from the other. P-256 leaves under P-384 authorities; every certificate is in the
register before it is handed out.
"""

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from controller.settings import OWN_FILES
from controller.trust import certificates, pairs, register, requests, revocation
from controller.trust.certificates import OPERATOR_LIFE, Leaf
from controller.trust.files import TrustError
from controller.trust.pairs import File, Pair
from controller.trust.register import Entry

if TYPE_CHECKING:
    from controller.transport.mtls import Identity

AUTHORITIES = ("root-ca", "agent-ca", "operator-ca")
PASSING_LIFE = datetime.timedelta(minutes=10)
# Under whose name an installation looks whether the agent answers.
PASSING = "passing"


def initialise(folder: Path, org: str, now: datetime.datetime, actor: str = "") -> list[Pair]:
    """Makes the root and both authorities in `folder`. TrustError where one of them is there already."""
    certificates.check_org(org)
    made = [pairs.pair(folder, name) for name in AUTHORITIES]
    for item in made:
        if item.certificate.exists() or item.key.exists():
            raise TrustError(f"{item.certificate}: is there already; an authority is made once")
    pairs.make_folder(folder)
    keys = [ec.generate_private_key(ec.SECP384R1()) for _ in made]
    root = certificates.root(org, keys[0], now)
    below = [
        certificates.authority(name, key.public_key(), root, keys[0], now)
        for name, key in zip(AUTHORITIES[1:], keys[1:], strict=True)
    ]
    files = [
        file
        for item, certificate, key in zip(made, (root, *below), keys, strict=True)
        for file in pairs.files(item, pairs.pem(certificate), key)
    ]
    denylist = revocation.pem(revocation.first(below[1], keys[2], now))
    files.append(File(folder / revocation.NAME, denylist, 0o644))
    with pairs.placed(files):
        entries = [
            entry(register.ISSUED, "authority", name, certificate, now, actor)
            for name, certificate in zip(AUTHORITIES, (root, *below), strict=True)
        ]
        register.append(folder, *entries)
    return made


def sign_agent(folder: Path, request: bytes, host: str, now: datetime.datetime, *, actor: str = "") -> bytes:
    """A server certificate in PEM for the key of a request, under the host's inventory name, and its authority's.

    TrustError where the name, the request or the authority can't be used, or the register can't be written.
    """
    return _handed_out(folder, certificates.agent(host), requests.key(request), now, register.ISSUED, actor)


def sign_operator(
    folder: Path,
    request: bytes,
    user: str,
    role: str,
    now: datetime.datetime,
    life: datetime.timedelta = OPERATOR_LIFE,
    reason: str = "",
    *,
    actor: str = "",
) -> bytes:
    """A client certificate in PEM for the key of a request. With a reason the glass is broken: then it lives 1 h.

    TrustError as in `sign_agent`.
    """
    wanted = certificates.operator(organisation(folder), user, role, life, reason)
    return _handed_out(folder, wanted, requests.key(request), now, _what(reason), actor)


def passing_identity(folder: Path, now: datetime.datetime) -> "Identity":
    """An observer's identity for ten minutes that is on no disk: for looking whether an agent answers."""
    # 60 ms that only a command which calls agents pays.
    from controller.transport.mtls import Identity  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    wanted = certificates.operator(organisation(folder), PASSING, "observer", PASSING_LIFE, "")
    made = _handed_out(folder, wanted, key.public_key(), now, register.ISSUED, "")
    return Identity(made, pairs.secret_pem(key), pairs.read(folder / "agent-ca.crt", revocation.MEND))


def denylist(folder: Path, now: datetime.datetime, beside: Path | None = None) -> bytes:
    """Whom agents are to let in no more, as a CRL in PEM; where nobody was denied yet, the empty one with number 1.

    What a denylist `beside` denies, of another copy of the same authority, is taken into the folder's.
    """
    at = pairs.pair(folder, "operator-ca")
    issuer = pairs.certificate(at.certificate)
    place = folder / revocation.NAME
    if place.exists():
        held = revocation.read(pairs.read(place, revocation.MEND), str(place), issuer)
        if revocation.whole((held, *revocation.copies(beside, issuer)), now) is held:
            return revocation.pem(held)
    with register.held(folder):
        return revocation.pem(revocation.current(folder, now, beside))


def issue_agent(folder: Path, out: Path, host: str, now: datetime.datetime, *, actor: str = "") -> Pair:
    """A key and a server certificate for a host, under its inventory name, which may be an IPv4 address."""
    return issue(folder, pairs.pair(out, host), certificates.agent(host), now, _what(""), actor)


def issue_operator(
    folder: Path, out: Path, user: str, role: str, now: datetime.datetime, *, reason: str = "", actor: str = ""
) -> Pair:
    """A key and a client certificate that says who calls, and what they may."""
    wanted = certificates.operator(organisation(folder), user, role, OPERATOR_LIFE, reason)
    return issue(folder, pairs.pair(out, user), wanted, now, _what(reason), actor)


def issue_own(
    folder: Path, own: Path, user: str, role: str, now: datetime.datetime, *, reason: str = "", actor: str = ""
) -> Pair:
    """As `issue_operator`, with the agents' authority beside, under the names that commands look for in `own`."""
    wanted = certificates.operator(organisation(folder), user, role, OPERATOR_LIFE, reason)
    made = Pair(own / OWN_FILES["certificate"], own / OWN_FILES["key"])
    agents = File(own / OWN_FILES["ca"], pairs.read(folder / "agent-ca.crt", revocation.MEND), 0o644)
    return issue(folder, made, wanted, now, _what(reason), actor, agents)


def organisation(folder: Path) -> str:
    """Of the operators' authority. TrustError where it names none."""
    place = folder / "operator-ca.crt"
    found = certificates.organisation(pairs.certificate(place))
    if not found:
        raise TrustError(f"{place}: names no organisation: make it with `fleetmedic pki init`")
    return found


def _what(reason: str) -> str:
    return register.BREAK_GLASS if reason else register.ISSUED


def issue(folder: Path, made: Pair, wanted: Leaf, now: datetime.datetime, what: str, actor: str, *beside: File) -> Pair:
    """A key and its certificate at a place, with what else belongs there; TrustError where any of it can't be."""
    if made.certificate.stem in AUTHORITIES:
        raise TrustError(f"{made.certificate.stem!r} is the name of an authority's files: choose another name")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _signed(folder, wanted, key.public_key(), now)
    pairs.make_folder(made.certificate.parent)
    with pairs.placed((*pairs.files(made, _chain(folder, wanted, certificate), key), *beside)):
        register.append(folder, _leaf_entry(what, wanted, certificate, now, actor))
    return made


def _handed_out(
    folder: Path, wanted: Leaf, public: ec.EllipticCurvePublicKey, now: datetime.datetime, what: str, actor: str
) -> bytes:
    certificate = _signed(folder, wanted, public, now)
    register.append(folder, _leaf_entry(what, wanted, certificate, now, actor))
    return _chain(folder, wanted, certificate)


def _chain(folder: Path, wanted: Leaf, certificate: x509.Certificate) -> bytes:
    """An agent's has its authority behind it: whatever renews it is checked against that."""
    above = pairs.pem(pairs.certificate(folder / "agent-ca.crt")) if wanted.authority == "agent-ca" else b""
    return pairs.pem(certificate) + above


def _signed(folder: Path, wanted: Leaf, public: ec.EllipticCurvePublicKey, now: datetime.datetime) -> x509.Certificate:
    at = pairs.pair(folder, wanted.authority)
    above, signing = pairs.signer(at)
    if now >= above.not_valid_after_utc:
        ended = above.not_valid_after_utc.strftime("%Y-%m-%d")
        raise TrustError(f"{at.certificate}: ended on {ended}: `fleetmedic pki renew {wanted.authority}`")
    return certificates.leaf(wanted, public, above, signing, now)


def _leaf_entry(what: str, wanted: Leaf, made: x509.Certificate, now: datetime.datetime, actor: str) -> Entry:
    kind = "operator" if wanted.authority == "operator-ca" else "agent"
    return entry(what, kind, wanted.name, made, now, actor, role=wanted.role, reason=wanted.reason)


def entry(
    what: str,
    kind: str,
    name: str,
    made: x509.Certificate,
    now: datetime.datetime,
    actor: str,
    *,
    role: str = "",
    reason: str = "",
) -> Entry:
    begins, ends = made.not_valid_before_utc, made.not_valid_after_utc
    return Entry(now, what, kind, name, role, register.serial(made.serial_number), begins, ends, reason, actor)
