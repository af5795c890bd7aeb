"""Names what the lab needs of the machine and what of it is missing; as a command it prints Debian package names."""

import os
import shutil
import sys
from pathlib import Path

# program: Debian package. A program with a slash is a pattern of the file system.
PROGRAMS = {
    "curl": "curl",
    "docker": "docker.io",
    "dockerd": "docker.io",
    "ip": "iproute2",
    "iptables": "iptables",
    "mount": "mount",
    "nginx": "nginx-light",
    "nslookup": "bind9-dnsutils",
    "openssl": "openssl",
    "redis-server": "redis-server",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "sshd": "openssh-server",
    "sudo": "sudo",
    "systemctl": "systemd",
    "unshare": "util-linux",
    "/usr/lib/postgresql/*/bin/initdb": "postgresql",
}

# sbin is not on an ordinary user's PATH in Debian.
SEARCH = os.pathsep.join((os.defpath, "/usr/local/sbin", "/usr/sbin", "/sbin"))


def program(name: str) -> Path | None:
    """Return where the program is, None when it is not installed; of several versions the highest."""
    if name.startswith("/"):
        found = sorted(Path("/").glob(name[1:]), key=lambda path: (len(str(path)), str(path)))
        return found[-1] if found else None
    where = shutil.which(name, path=SEARCH)
    return Path(where) if where else None


def required(name: str) -> Path:
    """Return where the program is; FileNotFoundError names the Debian package."""
    where = program(name)
    if where is None:
        raise FileNotFoundError(f"{name} is not installed: apt-get install {PROGRAMS.get(name, name)}")
    return where


def missing(*names: str) -> list[tuple[str, str]]:
    """Return (program, Debian package) of each program that is not installed, of all the lab uses by default."""
    return [(name, PROGRAMS[name]) for name in names or PROGRAMS if program(name) is None]


if __name__ == "__main__":
    sys.stdout.writelines(f"{package}\n" for package in sorted({package for _, package in missing()}))
