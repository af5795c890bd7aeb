"""The agent's own certificate, as it lies in the file of [tls]; its key is not looked at."""

import ssl
from pathlib import Path
from typing import Any, cast

from agent.config import Config
from agent.jobs import NeedsRight
from agent.openssl_fields import told
from fleetmedic.v1.snapshot_pb2 import CertificateFile, Snapshot, Target

LARGEST = 1024 * 1024


def collect(target: Target, config: Config) -> Snapshot:
    del config
    place = Path(target.name)
    made = CertificateFile(path=target.name)
    try:
        with place.open("rb") as file:
            text = file.read(LARGEST)
        # As the tls probe: private, and there since Python 2.6.
        fields = cast("Any", ssl)._ssl._test_decode_cert(target.name)
        leaf = text.decode("ascii", "replace").partition("-----END CERTIFICATE-----")
        encoded = ssl.PEM_cert_to_DER_cert(leaf[0][max(0, leaf[0].find("-----BEGIN")) :] + leaf[1])
        made.chain.append(told(fields, encoded))
    except PermissionError as error:
        raise NeedsRight(f"needs root to read {place}") from error
    except FileNotFoundError as error:
        made.error_class, made.error_text = "missing", f"{place}: {error.strerror}"
    except (OSError, ValueError) as error:
        # An SSLError is an OSError: what lies there is no certificate.
        made.error_class, made.error_text = "unread", f"{place}: {_why(error)}"
    return Snapshot(own_certificate=made)


def _why(error: OSError | ValueError) -> str:
    plain = isinstance(error, OSError) and not isinstance(error, ssl.SSLError)
    return getattr(error, "strerror", None) or "can't be read" if plain else "no PEM certificate"
