"""Runs on a host, as root: puts the agent there or takes it off, and undoes what it does not finish.

Sent as text over SSH; nothing but the standard library of Python 3.11. What the desk says comes on standard input and
what is done goes to standard output, a JSON object a line; wheels follow their line as they are, by their sizes.

Before anything is changed, all that may be is copied to UNDO, and it stays there until the desk has said that the agent
answers. Whoever finds that folder, this run at its end or the next one, puts everything back.
"""

import errno
import fcntl
import grp
import hashlib
import json
import os
import pwd
import re
import select
import shutil
import signal
import stat
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
HALF_CONFIG = HOME / ".agent.toml"
SETTINGS = Path("/etc/fleetmedic")
CONFIG = SETTINGS / "agent.toml"
STATE = Path("/var/lib/fleetmedic")
IDENTITY = STATE / "identity"
UNITS = Path("/etc/systemd/system")
RUN = Path("/run/fleetmedic")
# Nobody but root may open it, and so nobody else holds it.
LOCK = Path("/run/fleetmedic-install.lock")
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
_OF_FRONT = tuple(path for path in FILES if path.parent == IDENTITY)
# Of an enrolment that did not come to its end: a key that waits, and its certificate.
WAITING = (IDENTITY / "agent.crt.new", IDENTITY / "agent.key.new")
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
# Of a key, or of a certificate with its chain.
MOST_OF_FRONT = 64 << 10
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
    """One at a time on this host; nothing is left behind."""
    descriptor = _locked()
    try:
        yield
    finally:
        LOCK.unlink(missing_ok=True)
        os.close(descriptor)


def _locked() -> int:
    while True:
        descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), LOCK.lstat()):
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise Refused("another installation is under way on this host") from error
        except FileNotFoundError:
            pass
        # Its last holder took it away in between.
        os.close(descriptor)


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


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """Its descriptor. OSError; for the front's folder too where it is a link, or another user's."""
    front = folder == IDENTITY
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | (os.O_NOFOLLOW if front else 0))
    try:
        if front and os.fstat(descriptor).st_uid not in _theirs():
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(folder))
        yield descriptor
    finally:
        os.close(descriptor)


def _theirs() -> tuple[int, ...]:
    """Root, and the front where it has a user."""
    return (0, pwd.getpwnam(USER).pw_uid) if there(USER) else (0,)


def put(place: Path, content: bytes, mode: int, owner: tuple[int, int] = (0, 0)) -> None:
    """Whole or not: written beside its place, and moved there. No link is followed in the folder."""
    fresh = f".{place.name}.new"
    with opened(place.parent) as folder:
        with suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=folder)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(content)
            file.flush()
            os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.rename(fresh, place.name, src_dir_fd=folder, dst_dir_fd=folder)


def held(place: Path) -> tuple[bytes, os.stat_result] | None:
    """What a file has, and whose it is, of one look. None where there is none.

    The front may put into its folder whatever it likes, and swap it at any time: there only a plain file counts, of its
    own or root's, with no other name, and not too long.
    """
    front = place.parent == IDENTITY
    try:
        with opened(place.parent) as folder:
            own = os.O_NOFOLLOW | os.O_NONBLOCK if front else 0
            descriptor = os.open(place.name, os.O_RDONLY | own, dir_fd=folder)
            with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
                about = os.fstat(file.fileno())
                if not front:
                    return file.read(), about
                plain = stat.S_ISREG(about.st_mode) and about.st_nlink == 1 and about.st_uid in _theirs()
                content = file.read(MOST_OF_FRONT + 1) if plain else b""
                return (content, about) if plain and len(content) <= MOST_OF_FRONT else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        if front:
            return None
        raise


def away(*places: Path) -> None:
    """Whatever is there, and below it. `rm` follows no link, and no depth is too much for it."""
    run(["rm", "-rf", "--", *places])


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
        if (found := held(path)) is not None:
            content, about = found
            put(HALF / str(number), content, 0o600)
            files[str(path)] = [str(number), *_whose(about)]
    put(HALF / "before.json", json.dumps({**before, "files": files}).encode(), 0o600)
    _synced(HALF)
    HALF.rename(UNDO)
    _synced(HOME)


def _synced(folder: Path) -> None:
    with opened(folder) as descriptor:
        os.fsync(descriptor)


def touching() -> None:
    """From here on services have to be started or stopped to undo it; until then files alone are other ones."""
    put(UNDO / "touched", b"", 0o600)


def recover() -> bool:
    """Puts everything back as it was before a run that did not finish. Whether there was one."""
    shutil.rmtree(HALF, ignore_errors=True)
    with suppress(FileNotFoundError, NotADirectoryError):
        HALF_CONFIG.unlink()
    if not UNDO.exists():
        with suppress(OSError):
            # Made by a run that came no further.
            HOME.rmdir()
        return False
    before = json.loads((UNDO / "before.json").read_bytes())
    if not _identity_stayed(before["files"]):
        # The front is not to run while root is at work in its folder.
        touching()
    touched = (UNDO / "touched").exists()
    if touched:
        _stop(before)
    _files_back(before, touched=touched)
    _point(before["current"])
    if touched:
        _start_old(before)
    if before["version"]:
        _end_makers(str(HOME / before["version"]))
        shutil.rmtree(HOME / before["version"], ignore_errors=True)
    shutil.rmtree(WHEELS, ignore_errors=True)
    _take_away(before)
    return True


def _end_makers(place: str) -> None:
    """Whoever still fills the folder: pip outlives one of us that was killed."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ProcessLookupError):
            program, *words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            makes = any(word.startswith((place, str(WHEELS))) for word in (program, *words))
            if makes and Path(program).name.startswith("python") and process.name != str(os.getpid()):
                os.kill(int(process.name), signal.SIGKILL)


def _identity_stayed(files: Mapping[str, list[object]]) -> bool:
    """Whether the front's folder has what it had, and nothing more under the names that are ours."""
    for path in (*_OF_FRONT, *WAITING):
        if str(path) not in files:
            if os.path.lexists(path):
                return False
            continue
        number, *whose = files[str(path)]
        found = held(path)
        if found is None or whose != _whose(found[1]) or not same(UNDO / str(number), found[0]):
            return False
    return True


def _whose(about: os.stat_result) -> list[int]:
    return [about.st_uid, about.st_gid, about.st_mode & 0o777]


def _stop(before: Mapping[str, list[str]]) -> None:
    """Both: what ran before is started again once all is as it was."""
    for name in SERVICES:
        holds("systemctl", "stop", name)
        if name not in before["enabled"]:
            holds("systemctl", "disable", "--quiet", name)


def _start_old(before: Mapping[str, list[str]]) -> None:
    run(["systemctl", "daemon-reload"])
    for name in SERVICES:
        # One that does not come up again is no reason to leave the rest as it is.
        holds("systemctl", "restart" if name in before["active"] else "reset-failed", name)


def _files_back(before: Mapping[str, dict[str, list[int]]], *, touched: bool) -> None:
    files = before["files"]
    gone = [path for path in FILES if str(path) not in files and (touched or path.parent != IDENTITY)]
    if touched:
        # A folder may be in the place of a file, or of one that is to be moved there.
        gone += [*WAITING, *_OF_FRONT, *(path.with_name(f".{path.name}.new") for path in _OF_FRONT)]
    away(*gone)
    for path in FILES:
        if str(path) in files and (touched or path.parent != IDENTITY):
            number, uid, gid, mode = files[str(path)]
            put(path, (UNDO / str(number)).read_bytes(), mode, (uid, gid))


def _take_away(before: Mapping[str, list[str]]) -> None:
    """What was made where nothing was."""
    if not before["user"] and there(USER):
        run(["userdel", USER])
    for path in (RUN, *reversed(tuple(FOLDERS))):
        if str(path) not in before["folders"]:
            holds("rm", "-rf", "--", str(path))
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
        words = [f"{name.partition('.')[0]} said: {last}" for name in SERVICES if (last := _last_words(name))]
        raise Failed("; ".join([str(said["why"]), *words]))


def _last_words(name: str) -> str:
    """What a service itself wrote last: mostly why it does not answer."""
    own = ["journalctl", "--no-pager", "--output=cat", "--lines=1", f"_SYSTEMD_UNIT={name}"]
    with suppress(Failed, OSError, subprocess.SubprocessError):
        return run(own).decode(errors="replace").strip()
    return ""


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
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | (os.O_NOFOLLOW if front else 0))
        try:
            os.fchmod(descriptor, mode)
            os.fchown(descriptor, *((entry.pw_uid, entry.pw_gid) if front else (0, 0)))
        finally:
            os.close(descriptor)


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
    shutil.rmtree(WHEELS, ignore_errors=True)
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
    agent = HOME / name / "bin/fleetmedic-agent"
    if order["discover"]:
        tell(step="discovering")
        # With what is in the file alone: what it names already would not be found.
        put(HALF_CONFIG, config, 0o600)
        config += b"\n" + run([agent, "discover", "--toml", "--config", HALF_CONFIG])
        HALF_CONFIG.unlink()
    wanted = {CONFIG: config, SETTINGS / "operator-ca.crt": str(order["operator_ca"]).encode()}
    units = order["units"]
    assert isinstance(units, dict)
    wanted |= {UNITS / unit: str(units[unit]).encode() for unit in SERVICES}
    denylist = STATE / "trust/denylist.pem"
    if not denylist.exists():
        # A newer one may have been pushed since; the agent takes no older one, and so don't we.
        wanted[denylist] = str(order["denylist"]).encode()
    new = {path: content for path, content in wanted.items() if not same(path, content)}
    for path, content in new.items():
        put(path, content, 0o644)
    run([agent, "config", "--config", CONFIG])
    return bool(new)


def _enrolled(desk: Desk, name: str) -> bool:
    """A key made here, and a certificate for it, where the desk does not find the one there good enough."""
    certificate, key = held(IDENTITY / "agent.crt"), held(IDENTITY / "agent.key")
    tell(ask="certificate", has=certificate[0].decode(errors="replace") if certificate and key else "")
    if desk.line()["enroll"] is not True:
        return False
    tell(step="enrolling")
    # Whatever else than a file has one of the names would be in the way.
    away(*(path for path in (*WAITING, *_OF_FRONT) if held(path) is None and os.path.lexists(path)))
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
    # First of all: what runs may put back what is taken away.
    for name in SERVICES:
        if holds("systemctl", "cat", name):
            run(["systemctl", "stop", name])
            run(["systemctl", "disable", "--quiet", name])
    gone = [HOME / name for name in ("current", *_versions())] + [*FILES, RUN]
    gone += [path for path in STATE.glob("*") if purge or path.name != "audit"]
    found = [path for path in gone if os.path.lexists(path)]
    if not found and not there(USER):
        return False
    away(*found)
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
