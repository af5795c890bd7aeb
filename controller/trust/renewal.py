"""Renews what has not ended yet: a leaf under its names with a new key, an authority with its key kept."""

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from controller.trust import authority, certificates, pairs, parsing, register
from controller.trust.certificates import Leaf
from controller.trust.files import TrustError
from controller.trust.pairs import File, Pair

BELOW = ("agent-ca", "operator-ca")


def leaf(folder: Path, file: Path, now: datetime.datetime, *, actor: str = "") -> Pair:
    """A new key and certificate under the same names, in place of FILE and the key beside it.

    TrustError where it has ended, was denied, broke the glass, or is none of this folder's authorities.
    """
    old = pairs.certificate(file, "give the file of a certificate, or agent-ca or operator-ca")
    wanted = _again(folder, file, old)
    if now >= old.not_valid_after_utc:
        raise TrustError(f"{file}: ended on {_day(old)}: issue it anew with `fleetmedic pki issue`")
    number = register.serial(old.serial_number)
    if any(row.what == register.REVOKED and row.serial == number for row in register.read(folder).entries):
        raise TrustError(f"{file}: was denied: issue it anew with `fleetmedic pki issue`, if that is meant")
    return authority.issue(folder, Pair(file, file.with_suffix(".key")), wanted, now, register.RENEWED, actor)


def _again(folder: Path, file: Path, old: x509.Certificate) -> Leaf:
    """What the old one says, as the signer would say it now."""
    above = next((name for name in BELOW if _signed_by(old, folder / f"{name}.crt")), "")
    if not above:
        raise TrustError(f"{file}: was signed by neither authority in {folder}: give its folder with --dir")
    if certificates.glass(old):
        raise TrustError(f"{file}: the glass was broken for it, once: issue it anew, with a reason of its own")
    if above == "agent-ca":
        hosts = [name.value for name in parsing.names(old) if isinstance(name, x509.DNSName)]
        return certificates.agent(hosts[0] if hosts else "")
    org = authority.organisation(folder)
    uris = [name.value for name in parsing.names(old) if isinstance(name, x509.UniformResourceIdentifier)]
    found = certificates.URI.fullmatch(uris[0]) if len(uris) == 1 else None
    if found is None or found[1] != org:
        raise TrustError(f"{file}: names no operator of {org}: issue it anew with `fleetmedic pki issue`")
    return certificates.operator(org, found[3], found[2], certificates.OPERATOR_LIFE, "")


def renew_authority(
    folder: Path, which: str, root_key: Path, now: datetime.datetime, *, actor: str = ""
) -> tuple[Path, datetime.datetime]:
    """A new certificate for the same key, signed by the root: what was signed with it stays good. Gives file and end.

    `which` is of BELOW. TrustError where the root, its key or the old certificate can't be used.
    """
    place, above = folder / f"{which}.crt", folder / "root-ca.crt"
    root, old = pairs.certificate(above), pairs.certificate(place)
    mend = "it lies offline: bring it for this one command, or say where it is with --root-key"
    signing = pairs.signing_key(root_key, mend)
    if signing.public_key() != root.public_key():
        raise TrustError(f"{root_key}: is not the key of {above}: give the two that were made together")
    public = old.public_key()
    if not _signed_by(old, above) or not isinstance(public, ec.EllipticCurvePublicKey):
        raise TrustError(f"{place}: was not signed by {above}: take both from the copy that you made")
    if now >= root.not_valid_after_utc:
        raise TrustError(f"{above}: ended on {_day(root)}: make all anew with `fleetmedic pki init`")
    made = certificates.authority(which, public, root, signing, now)
    with pairs.placed([File(place, pairs.pem(made), 0o644)]):
        entry = authority.entry(register.RENEWED, "authority", which, made, now, actor)
        register.append(folder, entry)
    return place, made.not_valid_after_utc


def _signed_by(certificate: x509.Certificate, authority_file: Path) -> bool:
    return authority_file.exists() and parsing.signed(certificate, pairs.certificate(authority_file))


def _day(certificate: x509.Certificate) -> str:
    return certificate.not_valid_after_utc.strftime("%Y-%m-%d")
