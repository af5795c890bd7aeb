"""What is told of certificate and key files as they lie on a disk."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from agent import certificate_files
from tests.lab.authority import Authority, Files, Issued


@pytest.fixture
def issued(authority: Authority) -> Issued:
    return authority.subordinate("middle").issue("shop.lab", dns=["shop.lab"])


@pytest.fixture
def files(issued: Issued, tmp_path: Path) -> Files:
    return issued.write(tmp_path)


def test_a_pair_that_fits_is_told_with_its_whole_chain(files: Files, issued: Issued) -> None:
    made = certificate_files.read(files.certificate, files.key)
    assert (made.error_class, made.key_error_class) == ("", "")
    assert [item.subject for item in made.chain] == ["CN=shop.lab", "CN=middle"]
    assert made.chain[0].serial == f"{issued.certificate.serial_number:X}"
    assert made.HasField("changed_time")


def test_nothing_of_the_key_is_in_what_is_told(files: Files) -> None:
    body = files.key.read_text().splitlines()[1]
    assert body not in str(certificate_files.read(files.certificate, files.key))


def other_key(files: Files, authority: Authority) -> None:
    files.key.write_bytes(authority.issue("x").write(files.key.parent / "other").key.read_bytes())


def encrypted(files: Files, authority: Authority) -> None:
    del authority
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    files.key.write_bytes(key.private_bytes(pem, pkcs8, serialization.BestAvailableEncryption(b"secret")))


def swapped(files: Files, authority: Authority) -> None:
    del authority
    files.key.write_bytes(files.certificate.read_bytes())


def missing(files: Files, authority: Authority) -> None:
    del authority
    files.key.unlink()


def a_pipe(files: Files, authority: Authority) -> None:
    del authority
    files.key.unlink()
    os.mkfifo(files.key)


@pytest.mark.parametrize(
    ("break_it", "error_class", "said"),
    [
        (other_key, "mismatch", "is the key of another certificate"),
        (encrypted, "encrypted", "is encrypted"),
        (swapped, "not-pem", "the two files are swapped"),
        (missing, "missing", "No such file"),
        (a_pipe, "unread", "is no file"),
    ],
)
def test_a_key_that_is_no_use_says_why(
    files: Files, authority: Authority, break_it: object, error_class: str, said: str
) -> None:
    assert callable(break_it)
    break_it(files, authority)
    made = certificate_files.read(files.certificate, files.key)
    assert (made.error_class, made.key_error_class) == ("", error_class)
    assert said in made.key_error_text


@pytest.mark.parametrize(
    ("text", "said"),
    # pragma: allowlist nextline secret - a beginning and no key
    [(b"", "no certificate"), (b"-----BEGIN PRIVATE KEY-----", "swapped"), (b"x" * (1 << 21), "larger than any")],
)
def test_a_certificate_file_that_holds_none_says_why(files: Files, text: bytes, said: str) -> None:
    files.certificate.write_bytes(text)
    made = certificate_files.read(files.certificate, files.key)
    assert made.error_class
    assert said in made.error_text
    assert not made.chain
