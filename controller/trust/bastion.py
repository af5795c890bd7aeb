"""The two ends of a login: what a desk may ask of a bastion, the line that maps its key to a role, and the answer."""

import base64
import binascii
import json
import os
import re
import select
import shlex
import struct
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from controller.trust import requests
from controller.trust.files import TrustError
from controller.trust.roles import ROLES, within

# A word that is no program: where nothing forces the signing, nothing happens.
WORD = "fleetmedic-login"
ASKED = re.compile(rf"{WORD}(?: ({'|'.join(ROLES)}))?")
SCHEMA = "fleetmedic-login/1"
LARGEST_PART = 64 * 1024
MEND_FOLDER = "a bastion needs it, in the folder that --dir names"
MEND = "is the line of `fleetmedic pki authorize` for this key there?"
# Within these a desk has sent its request, in seconds.
PATIENCE = 10.0
PLACE = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]*)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9._-]*)(?::(?P<port>[0-9]{1,5}))?"
)
KEYS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
# What a shell and authorized_keys both take as it is, or shlex quotes with single quotes.
FOLDER = re.compile(r"/[^\x00-\x1f\x7f\"\\]*")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bastion is; `user` is empty where it is not said."""

    user: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a desk gets: PEM each. The operators' authority is there for checking, the denylist for passing on."""

    certificate: bytes
    agent_authority: bytes
    operator_authority: bytes
    denylist: bytes


def place(text: str, origin: str) -> Place:
    """Of USER@HOST:PORT. TrustError where it is none."""
    found = PLACE.fullmatch(text)
    if found is None or not 0 < int(found["port"] or 22) < 65536:
        raise TrustError(f"{origin}: {text!r} is no bastion: write it as USER@HOST or USER@HOST:PORT")
    return Place(found["user"] or "", found["host"].strip("[]"), int(found["port"] or 22))


def words(role: str | None) -> list[str]:
    """What a desk asks for over SSH."""
    return [WORD] if role is None else [WORD, role]


def allowed(original: str, user: str, most: str) -> str:
    """The role to sign for: the one asked for, where the key's own role covers it; all else is refused."""
    found = ASKED.fullmatch(original or WORD)
    if found is None:
        raise TrustError("this key may ask for a certificate alone: `fleetmedic login` at your desk does it")
    asked = found[1] or most
    if not within(asked, most):
        raise TrustError(
            f"{user} may be {most} here, and not {asked}: ask for less, or have the bastion's line changed"
        )
    return asked


def received(descriptor: int, patience: float = PATIENCE) -> bytes:
    """A request that is sent within `patience` s, and ends. TrustError for one that is late or too large."""
    end = time.monotonic() + patience
    made = bytearray()
    while len(made) <= requests.LARGEST:
        left = end - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise TrustError(f"no request for a certificate came within {patience:g} s: send one on standard input")
        piece = os.read(descriptor, requests.LARGEST)
        if not piece:
            break
        made += piece
    return bytes(made)


def signed(folder: Path, request: bytes, user: str, role: str, now: datetime) -> Answer:
    """A certificate for the key of a request, and what a desk needs beside it. TrustError where it can't be had."""
    # Here, for the desk's end of this room needs none of it.
    from controller.trust import authority, pairs  # noqa: PLC0415

    agents, operators = (pairs.read(folder / f"{name}.crt", MEND_FOLDER) for name in ("agent-ca", "operator-ca"))
    denylist = authority.denylist(folder, now)
    return Answer(authority.sign_operator(folder, request, user, role, now, actor=user), agents, operators, denylist)


def written(answer: Answer) -> str:
    parts = {
        "certificate": answer.certificate,
        "agent_authority": answer.agent_authority,
        "operator_authority": answer.operator_authority,
        "denylist": answer.denylist,
    }
    return json.dumps({"schema": SCHEMA, **{name: part.decode() for name, part in parts.items()}})


def read(text: bytes) -> Answer:
    """TrustError where it is no answer of a bastion's."""
    try:
        found = json.loads(text)
        schema = found["schema"]
        parts = [found.get(name) for name in ("certificate", "agent_authority", "operator_authority", "denylist")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise TrustError(f"the bastion gave no certificate: {MEND}") from error
    if schema != SCHEMA:
        raise TrustError("the bastion answers in a way that this version does not know: upgrade the older of the two")
    if not all(isinstance(part, str) and len(part) <= LARGEST_PART and part.isascii() for part in parts):
        raise TrustError(f"the bastion's answer is not whole: {MEND}")
    certificate, agent_authority, operator_authority, denylist = (part.encode() for part in parts)
    return Answer(certificate, agent_authority, operator_authority, denylist)


def authorized(program: Path, folder: Path, user: str, role: str, key: str) -> str:
    """The line of authorized_keys by which a key gets this user's certificates of this role, and nothing else.

    `user` and `role` are checked already. TrustError for a path that can't stand there.
    """
    for path in (program, folder):
        if not FOLDER.fullmatch(str(path)):
            raise TrustError(f"{path}: can't stand in authorized_keys: choose a path without quotes and backslashes")
    command = shlex.join([str(program), "pki", "sign", "--dir", str(folder), "--user", user, "--role", role])
    return f'restrict,command="{command}" {key} {user}'


def public_key(text: str, file: str) -> str:
    """Type and key of a line as ssh-keygen writes it to FILE.pub, checked, without its comment."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if len(lines) != 1 or len(lines[0]) < 2 or lines[0][0] not in KEYS:
        said = (
            "holds a private key: give the file that ends in .pub"
            if "PRIVATE KEY-----" in text
            else "is no public SSH key"
        )
        raise TrustError(f"{file}: {said}; one line, as `ssh-keygen -t ed25519` writes it")
    kind, encoded = lines[0][:2]
    try:
        raw = base64.b64decode(encoded, validate=True)
        (length,) = struct.unpack_from(">I", raw)
    except (binascii.Error, ValueError, struct.error) as error:
        raise TrustError(f"{file}: its key can't be read: copy the whole line") from error
    if raw[4 : 4 + length] != kind.encode() or len(raw) < 4 + length + 32:
        raise TrustError(f"{file}: its key is not of the kind {kind}, or not whole: copy the whole line")
    return f"{kind} {encoded}"
