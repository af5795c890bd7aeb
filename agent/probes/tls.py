"""The certificates a TLS endpoint serves, whether or not they can be verified."""

import hashlib
import socket
import ssl
from datetime import UTC, datetime
from typing import Any, cast

from agent import budgets
from agent.config import Config
from fleetmedic.v1.snapshot_pb2 import Certificate, Snapshot, Target, TlsSnapshot


def collect(target: Target, config: Config) -> Snapshot:
    del config
    made = TlsSnapshot(server_name="" if _is_address(target.host) else target.host)
    try:
        _handshake(target, made)
    except ssl.SSLError as error:
        made.error_class, made.error_text = "tls", (error.reason or "handshake failed").replace("_", " ").lower()
    except TimeoutError:
        made.error_class, made.error_text = "timeout", f"no handshake in {budgets.TLS_HANDSHAKE:g} s"
    except ConnectionRefusedError:
        made.error_class, made.error_text = "refused", "connection refused"
    except (socket.gaierror, UnicodeError) as error:
        made.error_class, made.error_text = "dns", getattr(error, "strerror", None) or "no host name"
    except OSError as error:
        made.error_class, made.error_text = "cut", error.strerror or type(error).__name__
    return Snapshot(tls=made)


def _handshake(target: Target, made: TlsSnapshot) -> None:
    """Without verification, so that an expired chain is still seen; nothing is sent over the connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((target.host, target.port), timeout=budgets.TLS_HANDSHAKE) as plain,
        context.wrap_socket(plain, server_hostname=made.server_name or None) as secured,
    ):
        made.version = secured.version() or ""
        # Private until Python 3.13, whose public method gives bytes alone; this gives the fields too, without
        # 50 ms for importing a certificate parser.
        chain = cast("Any", secured)._sslobj.get_unverified_chain()
        made.chain.extend(_certificate(item) for item in chain)


def _certificate(item: Any) -> Certificate:  # noqa: ANN401 - _ssl.Certificate has no public name
    fields = item.get_info()
    encoded: bytes = ssl.PEM_cert_to_DER_cert(item.public_bytes())
    made = Certificate(
        subject=_name(fields.get("subject", ())),
        issuer=_name(fields.get("issuer", ())),
        serial=fields.get("serialNumber", ""),
        names=[value for _, value in fields.get("subjectAltName", ())],
        sha256=hashlib.sha256(encoded).hexdigest(),
    )
    made.not_before.FromDatetime(_date(fields["notBefore"]))
    made.not_after.FromDatetime(_date(fields["notAfter"]))
    return made


def _name(rows: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    parts = [f"{key}={value}" for row in rows for key, value in row]
    return next((part.partition("=")[2] for part in parts if part.startswith("commonName=")), ", ".join(parts))


def _date(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False
