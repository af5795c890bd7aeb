"""The agent's own certificate, as it lies in the file of [tls]; its key is not looked at."""

import os
import ssl
import stat
from pathlib import Path
from typing import Any, cast

from agent.config import Config
from agent.jobs import NeedsRight
from agent.openssl_fields import told
from fleetmedic.v1.snapshot_pb2 import Certificate, CertificateFile, Snapshot, Target

LARGEST = 1024 * 1024


def collect(target: Target, config: Config) -> Snapshot:
    del config
    place = Path(target.name)
    made = CertificateFile(path=target.name)
    try:
        made.chain.append(_leaf(_text(place)))
    except PermissionError as error:
        raise NeedsRight(f"needs root to read {place}") from error
    except FileNotFoundError as error:
        made.error_class, made.error_text = "missing", f"{place}: {error.strerror}"
    except (OSError, ValueError) as error:
        # An SSLError is an OSError: what lies there is no certificate.
        made.error_class, made.error_text = "unread", f"{place}: {_why(error)}"
    return Snapshot(own_certificate=made)


def _text(place: Path) -> bytes:
    """The folder is the front's: root follows no link there, and awaits no pipe."""
    with os.fdopen(os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        kind = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(kind):
            raise ValueError
        return file.read(LARGEST)


def _leaf(text: bytes) -> Certificate:
    leaf = text.decode("ascii", "replace").partition("-----END CERTIFICATE-----")
    pem = leaf[0][max(0, leaf[0].find("-----BEGIN")) :] + leaf[1]
    encoded = ssl.PEM_cert_to_DER_cert(pem)
    # It decodes files alone.
    copy = os.memfd_create("certificate")
    try:
        os.write(copy, pem.encode())
        # As the tls probe: private, and there since Python 2.6.
        fields = cast("Any", ssl)._ssl._test_decode_cert(f"/proc/self/fd/{copy}")
    finally:
        os.close(copy)
    return told(fields, encoded)


def _why(error: OSError | ValueError) -> str:
    plain = isinstance(error, OSError) and not isinstance(error, ssl.SSLError)
    return getattr(error, "strerror", None) or "can't be read" if plain else "no PEM certificate"
