"""The agent's own certificate file: what is read of it, and what is said where it can't be."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes

from agent.config import Config
from agent.probes import own_certificate
from fleetmedic.v1.snapshot_pb2 import CertificateFile, Target
from tests.lab import authority as certificates

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def read(file: Path) -> CertificateFile:
    target = Target(probe="own_certificate", name=str(file))
    return own_certificate.collect(target, Config(None, "h", file.parent, file.parent)).own_certificate


def test_the_leaf_of_a_chain_is_told_with_its_times_and_fingerprint(tmp_path: Path) -> None:
    issued = certificates.root(NOW).subordinate("middle").issue("db01", dns=["db01"])
    made = read(issued.write(tmp_path).certificate)
    (leaf,) = made.chain
    assert (leaf.subject, leaf.issuer, list(leaf.names)) == ("db01", "middle", ["db01"])
    assert leaf.not_after.ToDatetime(UTC) == issued.certificate.not_valid_after_utc
    assert leaf.sha256 == issued.certificate.fingerprint(hashes.SHA256()).hex()
    assert made.error_class == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "missing"), (b"", "unread"), (b"junk", "unread"), (b"\xff\x00", "unread"), (b"-----BEGIN", "unread")],
)
def test_what_is_no_certificate_is_said_with_its_file(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "a.crt"
    if content is not None:
        file.write_bytes(content)
    made = read(file)
    assert (made.error_class, len(made.chain)) == (said, 0)
    assert str(file) in made.error_text


@pytest.mark.covers("sec:install")
@pytest.mark.parametrize("kind", ["folder", "link", "pipe", "device"])
def test_what_is_no_file_of_its_own_is_neither_followed_nor_awaited(tmp_path: Path, kind: str) -> None:
    """The folder is the front's, and it is root who reads there."""
    elsewhere = certificates.root(NOW).issue("other", dns=["other"]).write(tmp_path / "elsewhere").certificate
    file = tmp_path / "a.crt"
    make: dict[str, Callable[[], None]] = {
        "folder": file.mkdir,
        "link": partial(file.symlink_to, elsewhere),
        "pipe": partial(os.mkfifo, file),
        "device": partial(file.symlink_to, "/dev/zero"),
    }
    make[kind]()
    made = read(file)
    assert (made.error_class, len(made.chain)) == ("unread", 0)
    assert made.error_text.startswith(f"{file}: ")
