"""Runs a command in a private sandbox: its own loopback, mounts, processes and /run, and no route to anywhere.

    python tests/lab/sandbox.py COMMAND ...

Killing the sandbox's pid with SIGKILL ends everything in it. The exit code is the command's, 69 when a
sandbox cannot be made.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

LAB = Path("/run/lab")
UNAVAILABLE = 69
NAMESPACES = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
# A port that ends in 443 is taken for one of TLS: no server of a test gets such a one unless it asks for it.
LENT_BY_CHANCE = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")
# What an ordinary user needs on top: a user namespace in which he keeps his name and gets the rights.
UNPRIVILEGED = ["--user", "--map-current-user", "--keep-caps"]
PACKAGES = {"unshare": "util-linux", "mount": "mount", "ip": "iproute2"}


def inside(mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Say whether this process runs in the sandbox."""
    return any(line.split()[4] == str(LAB) for line in mounts.read_text().splitlines())


def main(arguments: list[str]) -> int:
    """Enter the sandbox by replacing this process; returns only when that is impossible."""
    if not arguments:
        return _refuse("say what to run: sandbox.py COMMAND ...")
    if arguments[0] == "--inside":
        return _inside(arguments[1:])
    for program, package in PACKAGES.items():
        if not shutil.which(program, path=_search_path()):
            return _refuse(f"{program} is missing: apt-get install {package}")
    enter = ["unshare", *NAMESPACES, *([] if os.geteuid() == 0 else UNPRIVILEGED)]
    trial = subprocess.run([*enter, "true"], capture_output=True, text=True, check=False)
    if trial.returncode:
        reason = trial.stderr.strip().replace("\n", " ") or f"unshare ended with code {trial.returncode}"
        return _refuse(
            f"namespaces are not allowed here ({reason}): run as root, or allow user namespaces to this user"
        )
    return os.execvp("unshare", [*enter, sys.executable, str(Path(__file__).resolve()), "--inside", *arguments])


def _refuse(why: str) -> int:
    print(f"sandbox: {why}", file=sys.stderr)
    return UNAVAILABLE


def _search_path() -> str:
    return os.pathsep.join((os.defpath, "/usr/sbin", "/sbin"))


def _inside(command: list[str]) -> int:
    os.umask(0o022)
    try:
        _furnish()
    except subprocess.CalledProcessError as failed:
        return _refuse(f"{' '.join(failed.cmd)} failed ({failed.stderr.strip()}): this needs root or a user namespace")
    return _first_process(command)


def _furnish() -> None:
    """Bring up loopback, and hide the machine's /run, whose sockets lead to its own Docker and PostgreSQL."""
    _do("ip", "link", "set", "lo", "up")
    LENT_BY_CHANCE.write_text(",".join(str(port) for port in range(32443, 61000, 1000)))
    _do("mount", "-t", "tmpfs", "-o", "size=256m,mode=755", "tmpfs", "/run")
    for folder in (LAB, Path("/run/lock"), Path("/run/user")):
        folder.mkdir()
    _do("mount", "-t", "tmpfs", "-o", "size=6g,mode=1777", "tmpfs", str(LAB))
    if os.geteuid() == 0:
        # An agent of root's without a configuration keeps its state there; it must not outlive the sandbox.
        _overlay(Path("/var/lib"), Path("/var/lib"), "state")
        _open_the_way(Path(__file__).resolve().parent.parent.parent)


def _open_the_way(checkout: Path) -> None:
    """Let other system users reach a checkout below folders of 0700: some tests run as nobody.

    Inside the sandbox the checkout gets an overlay whose root has another mode, and an empty folder stands for the one
    above that is closed; the machine's own folders are not touched.
    """
    closed = [folder for folder in (*reversed(checkout.parents), checkout) if not folder.stat().st_mode & 0o001]
    if not closed:
        return
    held = LAB / ".checkout"
    held.mkdir()
    _overlay(checkout, held, "checkout")
    if closed[0] != checkout:
        _do("mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", str(closed[0]))
        checkout.mkdir(parents=True)
    _do("mount", "--bind", str(held), str(checkout))
    # Where the command began is the folder underneath; it goes on from the checkout.
    os.chdir(checkout)


def _overlay(below: Path, at: Path, name: str) -> None:
    """Show a folder at a place, so that it can be changed and is left as it is."""
    upper, work = LAB / f".{name}-upper", LAB / f".{name}-work"
    for folder in (upper, work):
        folder.mkdir(mode=0o755)
    _do("mount", "-t", "overlay", "-o", f"lowerdir={below},upperdir={upper},workdir={work}", "overlay", str(at))


def _do(*command: str) -> None:
    where = shutil.which(command[0], path=_search_path()) or command[0]
    subprocess.run([where, *command[1:]], check=True, capture_output=True, text=True)


def _first_process(command: list[str]) -> int:
    """Be process 1 of the sandbox: run the command, bury orphans, end with the command's exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        _become(command)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _become(command: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    environment = {**os.environ, "LAB": str(LAB), "TMPDIR": str(LAB)}  # noqa: TID251 the rim: passed on, not read
    try:
        os.execvpe(command[0], command, environment)
    except OSError as impossible:
        _refuse(f"{command[0]}: {impossible.strerror}")
        os._exit(127)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
