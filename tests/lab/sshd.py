"""Starts a real sshd on loopback that lets root in by the keys it is given, and makes host and login keys."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.lab import child, requirements
from tests.lab.waiting import listens

Key = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PRIVSEP = Path("/run/sshd")


@dataclass(frozen=True)
class Sshd:
    """A running sshd; `host_keys` are its public keys as a known_hosts line has them, without the host."""

    address: str
    port: int
    host_keys: Sequence[str]
    folder: Path
    pid: int
    log: Path

    @property
    def place(self) -> str:
        """As known_hosts names it."""
        return self.address if self.port == 22 else f"[{self.address}]:{self.port}"

    @property
    def known_hosts(self) -> str:
        """The text of a known_hosts file by which it is believed."""
        return "".join(f"{self.place} {key}\n" for key in self.host_keys)

    def authorize(self, *lines: str) -> None:
        """Let root in by these authorized_keys lines alone; from the next login on."""
        _authorized(self.folder).write_text("".join(f"{line.rstrip()}\n" for line in lines))


def key(file: Path, kind: str = "ed25519", comment: str = "lab") -> str:
    """Make a key as ssh-keygen does, FILE (0600) and FILE.pub, and return the public line: ed25519, ecdsa or rsa."""
    made: Key
    if kind == "rsa":
        made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    else:
        made = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    secret = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.touch(mode=0o600)
    file.write_bytes(secret)
    public = made.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    line = f"{public.decode()} {comment}"
    Path(f"{file}.pub").write_text(f"{line}\n")
    return line


@contextlib.contextmanager
def run(
    folder: Path,
    *,
    port: int,
    address: str = "127.0.0.1",
    authorized: Sequence[str] = (),
    kinds: Sequence[str] = ("ed25519",),
    host_keys: Path | None = None,
) -> Iterator[Sshd]:
    """Run an sshd until the block ends. `kinds` are its host keys', kept in `host_keys` or `folder` and used again."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    PRIVSEP.mkdir(exist_ok=True, mode=0o755)
    made = [(host_keys or folder) / f"host-{kind}" for kind in kinds]
    lines = [
        Path(f"{file}.pub").read_text().strip() if file.exists() else key(file, kind)
        for file, kind in zip(made, kinds, strict=True)
    ]
    server = Sshd(address, port, [" ".join(line.split()[:2]) for line in lines], folder, 0, folder / "sshd.log")
    server.authorize(*authorized)
    file = folder / "sshd_config"
    file.write_text(
        f"ListenAddress {address}\nPort {port}\nPidFile none\n"
        + "".join(f"HostKey {item}\n" for item in made)
        + f"AuthorizedKeysFile {_authorized(folder)}\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
        # The lab's folders are open to other users, which it would refuse; no test wants a password or PAM.
        "KbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPrintMotd no\nLogLevel VERBOSE\n"
        "MaxStartups 100\nSubsystem sftp internal-sftp\n"
    )
    with child.run(
        [requirements.required("sshd"), "-D", "-e", "-f", file],
        log=server.log,
        ready=lambda _: listens(port, address),
        environment={"PATH": os.defpath},
        name="sshd",
    ) as running:
        yield Sshd(address, port, server.host_keys, folder, running.pid, server.log)


def _authorized(folder: Path) -> Path:
    return folder / "authorized_keys"
