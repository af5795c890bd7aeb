"""What the certificate in a file says of itself, beside what the register knows of it."""

from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from controller.trust import certificates, holders, pairs, parsing, register
from controller.trust.files import TrustError
from controller.trust.holders import Held, Standing
from controller.trust.register import Entry, Register


def of(file: Path, folder: Path, now: datetime) -> Held:
    """From the register where it has it; else from the file alone, with an empty `what`. TrustError for other files."""
    certificate = pairs.certificate(file, "give the file of a certificate")
    try:
        book = register.read(folder)
    except TrustError:
        # A desk has certificates, and no authorities.
        book = Register((), ())
    serial = register.serial(certificate.serial_number)
    known = next((item for item in holders.held(book, now) if item.made.serial == serial), None)
    if known is not None:
        return known
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    kind, name, role = _holder(certificate)
    made = Entry(begins, "", kind, name, role, serial, begins, ends, certificates.glass(certificate))
    return Held(made, Standing.ENDED if ends <= now else Standing.VALID)


def _holder(certificate: x509.Certificate) -> tuple[str, str, str]:
    """Kind, name and role, as far as it says."""
    names = parsing.names(certificate)
    uri = next((name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)), "")
    if found := certificates.URI.fullmatch(uri):
        return "operator", found[3], found[2]
    host = next((name.value for name in names if isinstance(name, x509.DNSName)), "")
    if host:
        return "agent", host, ""
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return "authority", str(common[0].value) if common else "", ""
