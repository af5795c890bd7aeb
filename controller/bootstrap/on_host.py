"""Runs on a host, as root: puts the agent there or takes it off, and undoes what it does not finish.

Sent as text over SSH; nothing but the standard library of Python 3.11. What the desk says comes on standard input and
what is done goes to standard output, a JSON object a line; wheels follow their line as they are, by their sizes.

Before anything is changed, all that may be is copied to UNDO, and it stays there until the desk has said that the agent
answers. Whoever finds that folder, this run at its end or the next one, puts everything back.
"""

import fcntl
import grp
import hashlib
import json
import os
import pwd
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

HOME = Path("/opt/fleetmedic")
CURRENT = HOME / "current"
UNDO = HOME / ".undo"
# Not whole yet, or not needed any more.
HALF = HOME / ".half"
WHEELS = HOME / ".wheels"
SETTINGS = Path("/etc/fleetmedic")
CONFIG = SETTINGS / "agent.toml"
STATE = Path("/var/lib/fleetmedic")
IDENTITY = STATE / "identity"
UNITS = Path("/etc/systemd/system")
RUN = Path("/run/fleetmedic")
USER = "fleetmedic"
SERVICES = ("fleetmedic-agent-work.service", "fleetmedic-agent-serve.service")
# What may be there before, and is put back.
FILES = (
    CONFIG,
    SETTINGS / "operator-ca.crt",
    STATE / "trust/denylist.pem",
    IDENTITY / "agent.crt",
    IDENTITY / "agent.key",
    *(UNITS / name for name in SERVICES),
)
# Folder: mode, and whether it is the front's.
FOLDERS: Mapping[Path, tuple[int, bool]] = {
    SETTINGS: (0o755, False),
    STATE: (0o755, False),
    IDENTITY: (0o700, True),
    STATE / "agent": (0o700, False),
    STATE / "trust": (0o755, False),
    STATE / "audit": (0o700, False),
}
WHOLE = "whole"
_UP = ("is-active", "is-enabled")
VERSION = re.compile(r"[0-9][A-Za-z0-9.]*-[0-9a-f]{8}")
MARK = "# Written by `fleetmedic agent install`"
# Seconds without a word of the desk after which it is given up.
PATIENCE = 60.0
# Of one program: the longest is pip, with 20 wheels on a slow disk.
LONGEST = 300.0
MOST = 1 << 20
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}


class Failed(Exception):
    """It did not come about; one line. What was changed is undone."""


class Gone(Failed):
    """The desk is not there any more."""


class Refused(Exception):
    """Nothing was begun; one line."""


def tell(**values: object) -> None:
    """A line to the desk; whether it still listens shows when it is to say something."""
    data = json.dumps(values).encode() + b"\n"
    with suppress(OSError):
        while data:
            data = data[os.write(1, data) :]


class Desk:
    """What comes on standard input."""

    def __init__(self) -> None:
        self._held = b""

    def line(self) -> Mapping[str, object]:
        while b"\n" not in self._held:
            if len(self._held) > MOST:
                raise Failed("the desk said something that is too long")
            self._held += self._more()
        text, _, self._held = self._held.partition(b"\n")
        said = json.loads(text)
        assert isinstance(said, dict)
        return said

    def content(self, size: int) -> Iterator[bytes]:
        while size:
            piece, self._held = self._held[:size], self._held[size:]
            size -= len(piece)
            if piece:
                yield piece
            elif size:
                self._held = self._more()

    def _more(self) -> bytes:
        ready, _, _ = select.select([0], [], [], PATIENCE)
        data = os.read(0, 1 << 16) if ready else b""
        if not data:
            raise Gone("the desk is gone" if ready else f"the desk said nothing for {PATIENCE:g}s")
        return data


def main() -> int:
    os.umask(0o022)
    desk = Desk()
    try:
        order = desk.line()
        with _alone():
            repaired = recover()
            if order["do"] == "uninstall":
                tell(done="uninstalled" if uninstall(purge=bool(order["purge"])) else "unchanged", left=left())
            else:
                tell(done=install(desk, order), repaired=repaired)
    except Refused as error:
        tell(done="refused", why=str(error))
    except (Failed, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
        tell(done="failed", why=_plain(error), undone=not UNDO.exists())
    return 0


def _plain(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"


@contextmanager
def _alone() -> Iterator[None]:
    """One at a time on this host; a folder can be locked as well as a file, and leaves nothing behind."""
    folder = os.open(UNITS, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Refused("another installation is under way on this host") from error
    finally:
        os.close(folder)


# Programs


def run(words: Sequence[str | Path], *, given: bytes = b"", front: bool = False) -> bytes:
    """What a program prints. Failed, with the last thing it said, where its exit code is not 0."""
    done = subprocess.run(
        [str(word) for word in words],
        check=False,
        capture_output=True,
        input=given,
        timeout=LONGEST,
        env=ENVIRONMENT,
        cwd="/",
        user=USER if front else None,
        group=USER if front else None,
        extra_groups=[] if front else None,
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).decode(errors="replace").rpartition("\n")[2]
        name = " ".join(Path(str(word)).name for word in words[:2])
        raise Failed(f"{name}: {said or f'ended with {done.returncode}'}")
    return done.stdout


def holds(*words: str) -> bool:
    return not subprocess.run(
        words, check=False, capture_output=True, stdin=subprocess.DEVNULL, env=ENVIRONMENT
    ).returncode


# Files


def put(place: Path, content: bytes, mode: int, owner: tuple[int, int] = (0, 0)) -> None:
    """Whole or not: written beside its place, and moved there."""
    fresh = place.with_name(f".{place.name}.new")
    with suppress(FileNotFoundError):
        fresh.unlink()
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(content)
        file.flush()
        os.fchown(file.fileno(), *owner)
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    fresh.replace(place)


def same(place: Path, content: bytes) -> bool:
    try:
        return place.read_bytes() == content
    except OSError:
        return False


def there(name: str) -> bool:
    with suppress(KeyError):
        pwd.getpwnam(name)
        return True
    return False


def version() -> str:
    """Which is current, empty for none."""
    try:
        return CURRENT.readlink().name
    except OSError:
        return ""


def whole(name: str) -> bool:
    return (HOME / name / WHOLE).exists()


# Undoing


def remember(name: str) -> None:
    """Copies what may be changed, and notes what is not there. It counts once it is in its place, whole."""
    before: dict[str, object] = {
        "version": "" if whole(name) else name,
        "current": version(),
        "folders": [str(path) for path in (HOME, RUN, *FOLDERS) if path.exists()],
        "user": there(USER),
        "active": [it for it in SERVICES if holds("systemctl", "is-active", "--quiet", it)],
        "enabled": [it for it in SERVICES if holds("systemctl", "is-enabled", "--quiet", it)],
    }
    shutil.rmtree(HALF, ignore_errors=True)
    HALF.mkdir(mode=0o700, parents=True)
    files = {}
    for number, path in enumerate(FILES):
        with suppress(FileNotFoundError, NotADirectoryError):
            about = path.stat()
            put(HALF / str(number), path.read_bytes(), 0o600)
            files[str(path)] = [str(number), about.st_uid, about.st_gid, about.st_mode & 0o7777]
    put(HALF / "before.json", json.dumps({**before, "files": files}).encode(), 0o600)
    _synced(HALF)
    HALF.rename(UNDO)
    _synced(HOME)


def _synced(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def touching() -> None:
    """From here on services may have to be started or stopped to undo it."""
    put(UNDO / "touched", b"", 0o600)


def recover() -> bool:
    """Puts everything back as it was before a run that did not finish. Whether there was one."""
    shutil.rmtree(HALF, ignore_errors=True)
    shutil.rmtree(WHEELS, ignore_errors=True)
    if not UNDO.exists():
        with suppress(OSError):
            # Made by a run that came no further.
            HOME.rmdir()
        return False
    before = json.loads((UNDO / "before.json").read_bytes())
    touched = (UNDO / "touched").exists()
    if touched:
        _stop_new(before)
    _files_back(before)
    _point(before["current"])
    if touched:
        _start_old(before)
    if before["version"]:
        shutil.rmtree(HOME / before["version"], ignore_errors=True)
    _take_away(before)
    return True


def _stop_new(before: Mapping[str, list[str]]) -> None:
    for name in SERVICES:
        if name not in before["active"]:
            holds("systemctl", "stop", name)
        if name not in before["enabled"]:
            holds("systemctl", "disable", "--quiet", name)


def _start_old(before: Mapping[str, list[str]]) -> None:
    run(["systemctl", "daemon-reload"])
    for name in SERVICES:
        # One that does not come up again is no reason to leave the rest as it is.
        holds("systemctl", "restart" if name in before["active"] else "reset-failed", name)


def _files_back(before: Mapping[str, dict[str, list[int]]]) -> None:
    for path in FILES:
        if str(path) in before["files"]:
            number, uid, gid, mode = before["files"][str(path)]
            put(path, (UNDO / str(number)).read_bytes(), mode, (uid, gid))
        else:
            with suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
    for name in ("agent.crt.new", "agent.key.new"):
        with suppress(FileNotFoundError, NotADirectoryError):
            # A key that waits for a certificate, of an enrolment that did not come to its end.
            (IDENTITY / name).unlink()


def _take_away(before: Mapping[str, list[str]]) -> None:
    """What was made where nothing was."""
    if not before["user"] and there(USER):
        run(["userdel", USER])
    for path in (RUN, *reversed(tuple(FOLDERS))):
        if str(path) not in before["folders"]:
            shutil.rmtree(path, ignore_errors=True)
    UNDO.rename(HALF)
    shutil.rmtree(HALF)
    if str(HOME) not in before["folders"]:
        with suppress(OSError):
            HOME.rmdir()


def _point(name: str) -> None:
    if not name:
        with suppress(FileNotFoundError, NotADirectoryError):
            CURRENT.unlink()
        return
    fresh = HOME / ".current"
    with suppress(FileNotFoundError):
        fresh.unlink()
    fresh.symlink_to(name)
    fresh.replace(CURRENT)


# Installing


def install(desk: Desk, order: Mapping[str, object]) -> str:
    """Brings the agent to what the order says: 'unchanged' or 'installed'. Refused, or Failed when it was undone."""
    name = str(order["version"])
    if not VERSION.fullmatch(name):
        raise Refused(f"{name!r} is no version")
    if CONFIG.exists() and not CONFIG.read_text(errors="replace").startswith(MARK):
        mend = "put its settings into the inventory and move it away, then install again"
        raise Refused(f"{CONFIG} was written by hand, and would be lost: {mend}")
    remember(name)
    try:
        changed = _installed(desk, order, name)
    except BaseException:
        tell(step="undoing")
        recover()
        raise
    UNDO.rename(HALF)
    shutil.rmtree(HALF)
    if changed:
        _tidy(name)
    return "installed" if changed else "unchanged"


def _installed(desk: Desk, order: Mapping[str, object], name: str) -> bool:
    _user()
    _folders()
    _virtual_environment(desk, order, name)
    changed = _settings(order, name)
    changed = _enrolled(desk, name) or changed
    changed = version() != name or changed
    if not changed and all(holds("systemctl", what, "--quiet", it) for what in _UP for it in SERVICES):
        tell(ask="verdict", changed=False)
        _verdict(desk)
        return False
    _started(name)
    tell(ask="verdict", changed=True)
    _verdict(desk)
    return True


def _verdict(desk: Desk) -> None:
    """What the desk found, which asks the agent over the network."""
    said = desk.line()
    if said["well"] is not True:
        raise Failed(str(said["why"]))


def _user() -> None:
    if not there(USER):
        tell(step="user")
        group = ["--gid", USER] if _group() else ["--user-group"]
        home = ["--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
        run(["useradd", "--system", *group, *home, USER])


def _group() -> bool:
    with suppress(KeyError):
        grp.getgrnam(USER)
        return True
    return False


def _folders() -> None:
    entry = pwd.getpwnam(USER)
    for path, (mode, front) in FOLDERS.items():
        path.mkdir(exist_ok=True)
        path.chmod(mode)
        os.chown(path, *((entry.pw_uid, entry.pw_gid) if front else (0, 0)))


def _virtual_environment(desk: Desk, order: Mapping[str, object], name: str) -> None:
    """The version's folder, which no unit runs yet; taken as it is where it is whole."""
    if whole(name):
        tell(ask="nothing")
        return
    place = HOME / name
    shutil.rmtree(place, ignore_errors=True)
    tell(ask="wheels")
    _received(desk, order)
    tell(step="installing")
    run([sys.executable, "-I", "-m", "venv", "--without-pip", place])
    (pip,) = WHEELS.glob("pip-*.whl")
    quiet = ["--quiet", "--isolated", "--disable-pip-version-check", "--no-cache-dir", "--root-user-action", "ignore"]
    offline = ["--no-index", "--find-links", str(WHEELS), "--no-compile"]
    python = place / "bin/python"
    run(
        [sys.executable, "-I", pip / "pip", "--python", str(python), "install", *quiet, *offline, str(order["install"])]
    )
    tell(step="compiling")
    # Without it each start would take twice as long, for nobody but root may write there.
    run([python, "-I", "-m", "compileall", "-q", place / "lib"])
    shutil.rmtree(WHEELS)
    put(place / WHOLE, str(order["digest"]).encode(), 0o644)


def _received(desk: Desk, order: Mapping[str, object]) -> None:
    wheels = order["wheels"]
    assert isinstance(wheels, dict)
    WHEELS.mkdir(mode=0o700)
    for name, (size, wanted) in wheels.items():
        found = hashlib.sha256()
        if "/" in name or not name.endswith(".whl"):
            raise Failed(f"{name!r} is no name of a wheel")
        with (WHEELS / name).open("xb") as file:
            for piece in desk.content(size):
                found.update(piece)
                file.write(piece)
        if found.hexdigest() != wanted:
            raise Failed(f"{name} came over damaged")


def _settings(order: Mapping[str, object], name: str) -> bool:
    """agent.toml, the operators' authority, the first denylist and the units. Whether one is new."""
    config = str(order["config"]).encode()
    if order["discover"]:
        tell(step="discovering")
        config += run([HOME / name / "bin/fleetmedic-agent", "discover", "--toml"])
    wanted = {CONFIG: config, SETTINGS / "operator-ca.crt": str(order["operator_ca"]).encode()}
    units = order["units"]
    assert isinstance(units, dict)
    wanted |= {UNITS / unit: str(units[unit]).encode() for unit in SERVICES}
    denylist = STATE / "trust/denylist.pem"
    if not denylist.exists():
        # A newer one may have been pushed since; the agent takes no older one, and so don't we.
        wanted[denylist] = str(order["denylist"]).encode()
    new = {path: content for path, content in wanted.items() if not same(path, content)}
    if new:
        touching()
    for path, content in new.items():
        put(path, content, 0o644)
    run([HOME / name / "bin/fleetmedic-agent", "config", "--config", CONFIG])
    return bool(new)


def _enrolled(desk: Desk, name: str) -> bool:
    """A key made here, and a certificate for it, where the desk does not find the one there good enough."""
    certificate = IDENTITY / "agent.crt"
    has = certificate.exists() and (IDENTITY / "agent.key").exists()
    tell(ask="certificate", has=certificate.read_text(errors="replace") if has else "")
    if desk.line()["enroll"] is not True:
        return False
    tell(step="enrolling")
    touching()
    agent = HOME / name / "bin/fleetmedic-agent"
    request = run([agent, "enroll", "request", "--config", CONFIG], front=True)
    tell(ask="signature", request=request.decode())
    run([agent, "enroll", "accept", "--config", CONFIG], given=str(desk.line()["chain"]).encode(), front=True)
    return True


def _started(name: str) -> None:
    tell(step="starting")
    touching()
    _point(name)
    run(["systemctl", "daemon-reload"])
    run(["systemctl", "enable", "--quiet", *SERVICES])
    run(["systemctl", "restart", *SERVICES])


def _tidy(name: str) -> None:
    """Removes older versions but the last one: a job that outlives a restart still runs from it."""
    others = sorted((it for it in HOME.iterdir() if VERSION.fullmatch(it.name) and it.name != name), key=_age)
    for older in others[:-1]:
        shutil.rmtree(older, ignore_errors=True)


def _age(path: Path) -> float:
    return path.stat().st_mtime


# Uninstalling


def uninstall(*, purge: bool) -> bool:
    """Whether there was anything to remove. The audit log stays, unless it is to go too."""
    gone = [HOME / name for name in ("current", *_versions())] + [*FILES, RUN]
    gone += [path for path in STATE.glob("*") if purge or path.name != "audit"]
    found = [path for path in gone if path.is_symlink() or path.exists()]
    if not found and not there(USER):
        return False
    for name in SERVICES:
        if holds("systemctl", "cat", name):
            run(["systemctl", "stop", name])
            run(["systemctl", "disable", "--quiet", name])
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    run(["systemctl", "daemon-reload"])
    for name in SERVICES:
        holds("systemctl", "reset-failed", name)
    if there(USER):
        run(["userdel", USER])
    for path in (HOME, SETTINGS, STATE):
        with suppress(OSError):
            path.rmdir()
    return True


def _versions() -> list[str]:
    return [path.name for path in HOME.glob("*") if VERSION.fullmatch(path.name)]


def left() -> list[str]:
    """What is still there: the audit log, and what others put into our folders."""
    return [str(path) for folder in (HOME, SETTINGS, STATE) for path in sorted(folder.glob("*"))]


if __name__ == "__main__":
    sys.exit(main())
