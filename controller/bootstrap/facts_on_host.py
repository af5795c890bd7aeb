"""Says what kind of host this is, as one line of JSON; run by whichever Python is there, old ones too.

Sent over SSH as text, and never imported: of the standard library alone, and it changes nothing.
"""

import json
import os
import platform
import stat
import subprocess
import sys
from pathlib import Path

MARK = "fleetmedic facts "
CURRENT = "/opt/fleetmedic/current"
CONFIG = Path("/etc/fleetmedic/agent.toml")
WRITTEN_BY_US = "# Written by `fleetmedic agent install`"
SEARCH = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")


def facts() -> "dict[str, object]":
    root = os.geteuid() == 0
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "implementation": platform.python_implementation(),
        "executable": sys.executable,
        "reachable": reachable(Path(sys.executable).resolve()),
        "venv": (Path(os.__file__).parent / "venv" / "__init__.py").exists(),
        "machine": platform.machine(),
        "libc": libc(),
        "systemd": Path("/run/systemd/system").is_dir(),
        "useradd": any((Path(folder) / "useradd").exists() for folder in SEARCH),
        "root": root,
        "sudo": not root and may_become_root(),
        "free": free(Path("/opt")),
        "installed": installed(),
        "by_hand": by_hand(),
    }


def libc() -> str:
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, OSError, ValueError):
        name = None
    if name:
        return name
    return "musl" if any(Path("/lib").glob("ld-musl-*")) else "another libc"


def reachable(program: Path) -> bool:
    """Whether any user may run it: the front has one of its own."""
    return all(path.stat().st_mode & stat.S_IXOTH for path in (program, *program.parents))


def may_become_root() -> bool:
    try:
        done = subprocess.Popen(
            ["sudo", "-n", "true"],  # noqa: S607 - the one on the path
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return False
    return done.wait() == 0


def free(path: Path) -> int:
    """Bytes that root may still write where the agent goes."""
    while not path.is_dir():
        path = path.parent
    about = os.statvfs(str(path))
    return about.f_bfree * about.f_frsize


def installed() -> str:
    try:
        # Path has it only from 3.9 on.
        return Path(os.readlink(CURRENT)).name  # noqa: PTH115
    except OSError:
        return ""


def by_hand() -> bool:
    """Whether there is an agent.toml that we have not written; one that can't be read is not known to be."""
    try:
        return not CONFIG.read_text(encoding="utf-8", errors="replace").startswith(WRITTEN_BY_US)
    except OSError:
        return False


if __name__ == "__main__":
    sys.stdout.write(MARK + json.dumps(facts()) + "\n")
