"""The certificates a TLS endpoint serves, whether or not they are trusted, and the files it is meant to serve."""

import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from agent import budgets, dialling
from agent.config import Config
from agent.named_targets import TlsEndpoint
from agent.openssl_fields import told
from fleetmedic.v1.snapshot_pb2 import Snapshot, Target, TlsSnapshot


def collect(target: Target, config: Config) -> Snapshot:
    """Of an endpoint that somebody named, with whose authorities it is trusted too."""
    endpoint = _endpoint(target, config)
    name = endpoint.server_name if endpoint else target.host
    made = TlsSnapshot(server_name="" if _is_address(name) else name)
    if endpoint and endpoint.certificate:
        # A certificate parser takes 50 ms to import: where files are named, and only there.
        from agent import certificate_files

        made.file.CopyFrom(certificate_files.read(endpoint.certificate, endpoint.key))
    left = dialling.until(time.monotonic() + budgets.TLS_HANDSHAKE)
    try:
        _handshake(target, made, left)
        if target.origin != "discovered":
            _verify(target, made, endpoint.ca if endpoint else None, left)
    except (OSError, UnicodeError) as error:
        made.error_class, made.error_text = dialling.why(error, f"no handshake in {budgets.TLS_HANDSHAKE:g} s")
    return Snapshot(tls=made)


def _endpoint(target: Target, config: Config) -> TlsEndpoint | None:
    place = (target.host, target.port, target.origin)
    return next((item for item in config.tls_endpoints if (item.host, item.port, item.origin) == place), None)


def _verify(target: Target, made: TlsSnapshot, authorities: Path | None, left: Callable[[], float]) -> None:
    """A second handshake, for an untrusted one does not show its chain; whom it is for is another rule's matter."""
    made.authorities = str(authorities or "")
    try:
        context = ssl.create_default_context(cafile=authorities)
    except (OSError, ssl.SSLError) as error:
        made.verify_text = f"{authorities} can't be read: {getattr(error, 'strerror', None) or 'no certificates in it'}"
        return
    context.check_hostname = False
    try:
        with (
            socket.create_connection((target.host, target.port), timeout=left()) as plain,
            context.wrap_socket(plain, server_hostname=made.server_name or None),
        ):
            made.verify_code = 0
    except ssl.SSLCertVerificationError as error:
        made.verify_code, made.verify_text = error.verify_code, error.verify_message
    except OSError as error:
        made.verify_text = f"the second handshake failed: {getattr(error, 'strerror', None) or type(error).__name__}"


def _handshake(target: Target, made: TlsSnapshot, left: Callable[[], float]) -> None:
    """Without verification, so that an expired chain is still seen; nothing is sent over the connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((target.host, target.port), timeout=left()) as plain,
        context.wrap_socket(plain, server_hostname=made.server_name or None) as secured,
    ):
        made.version = secured.version() or ""
        # Private until Python 3.13, whose public method gives bytes alone; this gives the fields too, without
        # 50 ms for importing a certificate parser.
        chain = cast("Any", secured)._sslobj.get_unverified_chain()
        made.chain.extend(told(item.get_info(), ssl.PEM_cert_to_DER_cert(item.public_bytes())) for item in chain)


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False
