"""A certificate as Python's ssl tells its fields: without 50 ms of the processor for importing a parser."""

import hashlib
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fleetmedic.v1.snapshot_pb2 import Certificate


def told(fields: Mapping[str, Any], encoded: bytes) -> Certificate:
    """`fields` as ssl decodes them, `encoded` the DER."""
    made = Certificate(
        subject=_name(fields.get("subject", ())),
        issuer=_name(fields.get("issuer", ())),
        serial=fields.get("serialNumber", ""),
        names=[value for _, value in fields.get("subjectAltName", ())],
        sha256=hashlib.sha256(encoded).hexdigest(),
        issuer_url=next(iter(fields.get("caIssuers", ())), ""),
    )
    made.not_before.FromDatetime(_date(fields["notBefore"]))
    made.not_after.FromDatetime(_date(fields["notAfter"]))
    return made


def _name(rows: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    parts = [f"{key}={value}" for row in rows for key, value in row]
    return next((part.partition("=")[2] for part in parts if part.startswith("commonName=")), ", ".join(parts))


def _date(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)
