"""Makes bundles: which wheels a kind of host needs, by uv; the wheels themselves, by pip; and our own."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from controller import VERSION
from controller.bootstrap import bundle, own_wheel
from controller.bootstrap.bundle import MANIFEST, WHEELS, Bundle, BundleError, Facts

# The libcs for which uv has a name; for one between them the one below.
_UV_KNOWS = (17, 28, *range(31, 41))
# Of one program: resolving, or fetching 15 MB.
PATIENCE = 300.0
MOST_SAID = 400
# Older ones have names of their own in wheels.
_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


def make(root: Path, facts: Facts) -> Bundle:
    """Makes a bundle for such a host, with what the package index has today. BundleError says what lacks, in a line.

    The index is whichever uv and pip are set to use. Whole or not at all; the same wheels again are the same bundle.
    """
    _possible(facts)
    uv, pip = _uv(), _pip()
    with _beside(root) as folder:
        wheels = folder / WHEELS
        wheels.mkdir()
        own = wheels / own_wheel.NAME
        own.write_bytes(own_wheel.build())
        wanted, found = folder / "wanted.txt", folder / "found.txt"
        wanted.write_text(f"fleetmedic[agent] @ {own.as_uri()}\npip\n")
        _run("uv", [uv, *_resolving(facts), "--output-file", str(found), str(wanted)])
        _run("pip", [*pip, *_fetching(facts), "--dest", str(wheels), "--requirement", str(found)])
        wanted.unlink()
        found.unlink()
        return _finished(root, folder, facts)


def renew(root: Path, old: Bundle) -> Bundle:
    """The same with our own code as it is now, without a package index. BundleError where that needs other wheels."""
    own = own_wheel.build()
    bundle.check(old)
    before = old.folder / WHEELS / own_wheel.NAME
    if before not in old.wheels or own_wheel.requirements(before.read_bytes()) != own_wheel.requirements(own):
        raise BundleError(f"{old.folder}: is for a fleetmedic with other requirements: {old.facts.command()}")
    with _beside(root) as folder:
        wheels = folder / WHEELS
        wheels.mkdir()
        for wheel in old.wheels:
            if wheel != before:
                shutil.copyfile(wheel, wheels / wheel.name)
        (wheels / own_wheel.NAME).write_bytes(own)
        return _finished(root, folder, old.facts)


def _possible(facts: Facts) -> None:
    found = bundle.PYTHON.fullmatch(facts.python)
    if found is None or int(found[1]) < bundle.OLDEST_PYTHON[1]:
        raise BundleError(f"--python {facts.python}: must be a full version from 3.11 on, such as 3.11.2")
    if facts.machine not in bundle.MACHINES:
        raise BundleError(f"--machine {facts.machine}: the agent runs on {' and '.join(bundle.MACHINES)}")
    if facts.glibc < (2, _UV_KNOWS[0]):
        raise BundleError(f"--libc {facts.libc}: is older than 2.{_UV_KNOWS[0]}, for which nothing is built any more")


def _resolving(facts: Facts) -> list[str]:
    minor = max(known for known in _UV_KNOWS if (2, known) <= facts.glibc)
    options = ["--quiet", "--no-header", "--no-annotate", "--generate-hashes", "--no-python-downloads"]
    # The host's own full version: some libraries need others from one patch release to the next.
    place = ["--python-version", facts.python, "--python-platform", f"{facts.machine}-manylinux_2_{minor}"]
    ours = ["--python", sys.executable, "--no-emit-package", "fleetmedic"]
    return ["pip", "compile", *options, "--only-binary", ":all:", *place, *ours]


def _fetching(facts: Facts) -> list[str]:
    options = ["--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "--no-input"]
    minor = facts.glibc[1]
    names = [f"manylinux_2_{number}" for number in range(minor, 4, -1)]
    names += [name for number, name in _OLD_NAMES.items() if number <= minor]
    platforms = [word for name in names for word in ("--platform", f"{name}_{facts.machine}")]
    return ["download", *options, *platforms, "--python-version", facts.python, "--implementation", "cp"]


def _uv() -> str:
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("uv")
    if found is None:
        raise BundleError(
            "uv is not here, which finds what a bundle needs: pip install 'fleetmedic[bundle]', "
            "or bring a bundle from a machine that has it (`fleetmedic config show` names the folder: bundles)"
        )
    return found


def _pip() -> list[str]:
    """This environment's pip, or else that of the Python below it."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    below = str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
    with suppress(OSError):
        if not subprocess.run([below, "-I", "-m", "pip", "--version"], check=False, capture_output=True).returncode:
            return [below, "-m", "pip", "--disable-pip-version-check"]
    raise BundleError("pip is not here, which fetches what a bundle needs: pip install 'fleetmedic[bundle]'")


def _run(name: str, words: Sequence[str]) -> None:
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"{name} did not end in {PATIENCE:g}s: can the package index be reached?") from error
    except OSError as error:
        raise BundleError(f"{words[0]}: can't be run: {error.strerror}") from error
    if done.returncode:
        said = " ".join(done.stderr.split())
        raise BundleError(f"{name} could not: {said[-MOST_SAID:] or f'exit code {done.returncode}'}")


@contextmanager
def _beside(root: Path) -> Iterator[Path]:
    """A folder that is taken away again, unless it has been moved into its place."""
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".making-", dir=root.absolute()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _finished(root: Path, folder: Path, facts: Facts) -> Bundle:
    """With its manifest, and moved into place whole; one that is there already and is right stays."""
    names = {wheel.name: bundle.sha256(wheel) for wheel in sorted((folder / WHEELS).iterdir())}
    digest = bundle.digest(names)
    version = f"{VERSION}-{digest[:8]}"
    told = {"version": version, "digest": digest, "python": facts.python, "machine": facts.machine, "libc": facts.libc}
    (folder / MANIFEST).write_text(json.dumps({**told, "wheels": names}, indent=2) + "\n")
    folder.chmod(0o755)
    place = root / f"fleetmedic-{version}-py{facts.python}-{facts.machine}-{facts.libc.replace(' ', '')}"
    if place.exists():
        with suppress(BundleError):
            made = bundle.read(place)
            bundle.check(made)
            # The newest is the one that is found.
            os.utime(place / MANIFEST)
            return made
        shutil.rmtree(place)
    folder.rename(place)
    return bundle.read(place)
