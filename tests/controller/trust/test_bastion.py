"""What a bastion lets a login ask for, the line that lets it in, and what is no answer."""

import json
import os
import time
from pathlib import Path

import pytest

from controller.trust import bastion
from controller.trust.bastion import Place
from controller.trust.files import TrustError
from tests.lab import sshd

PROGRAM, FOLDER = Path("/opt/fleetmedic/current/bin/fleetmedic"), Path("/srv/pki")


@pytest.mark.covers("sec:login")
@pytest.mark.parametrize(
    ("original", "role"),
    [("", "responder"), ("fleetmedic-login", "responder"), ("fleetmedic-login observer", "observer"),
     ("fleetmedic-login responder", "responder")],
)  # fmt: skip
def test_a_login_may_ask_for_its_role_or_less(original: str, role: str) -> None:
    assert bastion.allowed(original, "alice", "responder") == role


@pytest.mark.covers("sec:login")
def test_a_login_may_not_ask_for_more() -> None:
    with pytest.raises(TrustError, match="alice may be responder here, and not admin"):
        bastion.allowed("fleetmedic-login admin", "alice", "responder")


@pytest.mark.covers("sec:login", "sec:B4")
@pytest.mark.parametrize(
    "original",
    [
        "id", "fleetmedic-login observer; id", "fleetmedic-login  observer", "fleetmedic-login observer\n",
        "fleetmedic-login\nobserver", " fleetmedic-login", "fleetmedic-login --role admin", "fleetmedic-login OBSERVER",
        "fleetmedic-login observer admin", "fleetmedic-login $(id)", "scp -t /tmp", "internal-sftp", "\udcff", "\0",
        "fleetmedic pki sign --dir /srv --user root --role admin", "x" * 100_000,
    ],
)  # fmt: skip
def test_anything_else_is_refused(original: str) -> None:
    with pytest.raises(TrustError, match="may ask for a certificate alone"):
        bastion.allowed(original, "alice", "admin")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("signer@bastion.example.net:2222", Place("signer", "bastion.example.net", 2222)),
        ("bastion", Place("", "bastion", 22)),
        ("signer@[2001:db8::1]:22", Place("signer", "2001:db8::1", 22)),
        ("signer@192.0.2.1", Place("signer", "192.0.2.1", 22)),
    ],
)
def test_a_bastion_is_written_as_ssh_has_it(text: str, place: Place) -> None:
    assert bastion.place(text, "--bastion") == place


@pytest.mark.parametrize(
    "text", ["a b", "@b", "a@", "-oProxyCommand=x", "a@-b", "a@b:0", "a@b:65536", "a@b:x", "a@b\n", "a;b", "ä", "a@b@c"]
)
def test_what_is_no_bastion_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(TrustError, match="--bastion: .* is no bastion: write it as USER@HOST or USER@HOST:PORT"):
        bastion.place(text, "--bastion")


@pytest.mark.covers("sec:login")
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_the_line_restricts_a_key_to_signing_for_its_user(tmp_path: Path, kind: str) -> None:
    public = sshd.key(tmp_path / "id", kind, comment='whatever, command="sh"')
    key = bastion.public_key(public, "id.pub")
    assert key == " ".join(public.split()[:2])
    sign = f"{PROGRAM} pki sign --dir /srv/pki --user alice --role responder"
    made = bastion.authorized(PROGRAM, FOLDER, "alice", "responder", key)
    assert made == f'restrict,command="{sign}" {key} alice'
    odd = bastion.authorized(PROGRAM, Path("/srv/our pki; $(id)"), "alice", "responder", key)
    assert "--dir '/srv/our pki; $(id)' --user" in odd


@pytest.mark.covers("sec:login", "sec:B4")
@pytest.mark.parametrize("path", ['/srv/"', "/srv/a\\", "/srv/a\nb", "/srv/\0", "relative"])
def test_a_path_that_would_end_the_command_early_is_refused(path: str) -> None:
    with pytest.raises(TrustError, match="can't stand in authorized_keys"):
        bastion.authorized(PROGRAM, Path(path), "alice", "responder", "ssh-ed25519 AAAA")


@pytest.mark.covers("sec:login", "sec:B4")
def test_what_is_no_public_key_gets_no_line(tmp_path: Path) -> None:
    line = sshd.key(tmp_path / "id")
    kind, encoded, _ = line.split()
    for text, said in (
        ("", "is no public SSH key"),
        (f"{line}\n{line}", "is no public SSH key"),
        (f"no-pty {line}", "is no public SSH key"),
        (f"ssh-ed25519-cert-v01@openssh.com {encoded}", "is no public SSH key"),
        ((tmp_path / "id").read_text(), "holds a private key: give the file that ends in .pub"),
        (f"{kind} AAAA=B", "can't be read: copy the whole line"),
        (f"{kind} AA==", "can't be read: copy the whole line"),
        (f"ssh-rsa {encoded}", "is not of the kind ssh-rsa"),
        (f"{kind} {encoded[:32]}", "not whole"),
    ):
        with pytest.raises(TrustError, match=said):
            bastion.public_key(text, "id.pub")


@pytest.mark.covers("sec:login")
def test_a_request_is_awaited_for_a_while_and_read_to_a_limit() -> None:
    for sent in (b"", b"half of it"):
        read, write = os.pipe()
        os.write(write, sent)
        began = time.monotonic()
        with pytest.raises(TrustError, match=r"no request for a certificate came within 0\.2 s"):
            bastion.received(read, 0.2)
        assert time.monotonic() - began < 5
        os.close(write)
        os.close(read)
    read, write = os.pipe()
    os.write(write, b"x" * 40_000)
    assert 16384 < len(bastion.received(read)) <= 2 * 16384
    os.close(write)
    os.close(read)


WHOLE = {"schema": "fleetmedic-login/1", "certificate": "", "agent_authority": "", "operator_authority": ""}


@pytest.mark.covers("sec:login", "sec:B7")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "gave no certificate"),
        (b"Last login: today", "gave no certificate"),
        (b"\xff\xfe", "gave no certificate"),
        (b"[]", "gave no certificate"),
        (b"7", "gave no certificate"),
        (b"[" * 100_000, "gave no certificate"),
        (b'{"schema": "fleetmedic-login/2"}', "upgrade the older of the two"),
        (json.dumps(WHOLE).encode(), "is not whole"),
        (json.dumps({**WHOLE, "denylist": 5}).encode(), "is not whole"),
        (json.dumps({**WHOLE, "denylist": "x" * 70_000}).encode(), "is not whole"),
        (json.dumps({**WHOLE, "denylist": "\ud800"}).encode(), "is not whole"),
    ],
)
def test_what_is_no_answer_is_refused_in_one_line(text: bytes, said: str) -> None:
    with pytest.raises(TrustError, match=said):
        bastion.read(text)
