"""A TLS handshake of our own with an agent: what it serves, whether we trust it, and whether it takes our certificate.

gRPC says the same of every refusal (security.md F9); here each is told from the others.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509

from controller.doctor.ours import Ours
from controller.trust import parsing

# How HTTP/2 begins: an agent that takes our certificate answers it with settings of its own, any other ends here.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
SETTINGS = 4
FRAME_HEAD = 9
# Of a TLS 1.2 server's first words: record, message and version come before its random number.
BEFORE_RANDOM = 11
# OpenSSL's numbers for a certificate that has ended, or not begun.
OUT_OF_TIME = (9, 10)


class NoTls(Exception):
    """What answers does not speak TLS with us; the message is the evidence."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to dial: an address, a TCP port, and the name to ask for."""

    address: str
    port: int
    name: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What was served. `untrusted` is OpenSSL's reason, empty where we trust it; `out_of_time` where that is all.

    `accepted` is whether it took our certificate, and `http2` whether it then spoke like an agent.
    """

    certificate: x509.Certificate
    untrusted: str = ""
    out_of_time: bool = False
    accepted: bool = False
    http2: bool = False


async def look(place: Place, ours: Ours, patience: float) -> Seen:
    """Both looks: the second, which trusts everybody, only at what the first does not trust. NoTls."""
    try:
        return await _trusting(place, ours, patience)
    except ssl.SSLCertVerificationError as error:
        reason, late = error.verify_message, error.verify_code in OUT_OF_TIME
    context = _context(ours)
    context.verify_mode = ssl.CERT_NONE
    async with _connected(place, context, patience) as (_, writer):
        return Seen(_served(writer), reason, late)


async def clock(place: Place, patience: float) -> datetime | None:
    """What the agent's clock says, to the second; None where that can't be known.

    gRPC's TLS puts the time into a TLS 1.2 server's random number, and there before any certificate is judged.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection(place.address, place.port)
            with contextlib.closing(writer):
                writer.write(outgoing.read())
                said = await reader.readexactly(BEFORE_RANDOM + 4)
    except (OSError, asyncio.IncompleteReadError):
        return None
    return datetime.fromtimestamp(int.from_bytes(said[BEFORE_RANDOM:]), UTC)


def _context(ours: Ours) -> ssl.SSLContext:
    """The name is looked at apart from this: another host's is another fault."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The agents' authority is trusted without the root that stands above it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=ours.identity.agent_authority.decode("ascii", "replace"))
    context.load_cert_chain(ours.certificate, ours.key)
    context.set_alpn_protocols(["h2"])
    return context


async def _trusting(place: Place, ours: Ours, patience: float) -> Seen:
    async with _connected(place, _context(ours), patience) as (reader, writer):
        certificate = _served(writer)
        try:
            async with asyncio.timeout(patience):
                writer.write(PREFACE)
                said = await reader.read(FRAME_HEAD)
        except OSError:
            said = b""
        return Seen(certificate, accepted=said != b"", http2=len(said) == FRAME_HEAD and said[3] == SETTINGS)


def _served(writer: asyncio.StreamWriter) -> x509.Certificate:
    try:
        return parsing.der(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
    except parsing.Unread as error:
        raise NoTls("its certificate can't be read") from error


@contextlib.asynccontextmanager
async def _connected(
    place: Place, context: ssl.SSLContext, patience: float
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection(
                place.address, place.port, ssl=context, server_hostname=_asked(place.name)
            )
    except ssl.SSLCertVerificationError:
        raise
    except TimeoutError as error:
        raise NoTls(f"TCP {place.port} accepts, but no TLS answer in {patience:g}s") from error
    except ssl.SSLError as error:
        raise NoTls(
            f"what answers on port {place.port} speaks no TLS 1.3: {(error.reason or 'no reason').lower()}"
        ) from error
    except OSError as error:
        raise NoTls(f"what answers on port {place.port} ends the connection when TLS begins") from error
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def _asked(name: str) -> str:
    """A name that TLS can't ask for is not asked for."""
    try:
        name.encode("idna")
    except UnicodeError:
        return ""
    return name
