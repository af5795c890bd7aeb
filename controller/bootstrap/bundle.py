"""What is installed on a host: the wheels of the agent and of all it needs, for one kind of host, made ahead.

A bundle is a folder, and whole or not there:

    ROOT/fleetmedic-VERSION-py3.11.2-x86_64-glibc2.36/manifest.json
    ROOT/fleetmedic-VERSION-py3.11.2-x86_64-glibc2.36/wheels/*.whl
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from controller import VERSION
from controller.bootstrap import own_wheel

MANIFEST = "manifest.json"
WHEELS = "wheels"
PYTHON = re.compile(r"3\.(\d{1,2})\.\d{1,2}")
GLIBC = re.compile(r"glibc (\d{1,2})\.(\d{1,3})")
OLDEST_PYTHON = (3, 11)
MACHINES = ("x86_64", "aarch64")


class BundleError(Exception):
    """There is no bundle for a host, or it can't be made or used; one line with the mend."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The kind of a host: its full Python version ('3.11.2'), machine ('x86_64') and libc ('glibc 2.36')."""

    python: str
    machine: str
    libc: str

    def __str__(self) -> str:
        return f"Python {self.python} on {self.machine} with {self.libc}"

    @property
    def glibc(self) -> tuple[int, int]:
        """BundleError where it is another libc."""
        found = GLIBC.fullmatch(self.libc)
        if found is None:
            raise BundleError(f"{self.libc} is no glibc, which the agent's libraries need")
        return int(found[1]), int(found[2])

    def command(self) -> str:
        """What makes a bundle for it."""
        return f"fleetmedic agent bundle --python {self.python} --machine {self.machine} --libc {self.libc.split()[-1]}"


@dataclass(frozen=True, slots=True)
class Bundle:
    """`version` is 0.1.0-<8 hex of the digest>; `digest` is over the names and SHA-256 of all wheels."""

    folder: Path
    version: str
    digest: str
    facts: Facts
    wheels: tuple[Path, ...]


def find(root: Path, facts: Facts) -> Bundle:
    """The newest bundle of the very code that runs here, for such a host. BundleError names the command for one."""
    fitting = candidates(root, facts)
    own = hashlib.sha256(own_wheel.build()).hexdigest()
    for bundle in fitting:
        if hashes(bundle).get(own_wheel.NAME) == own:
            return bundle
    why = f"none of {len(fitting)} is of the code that runs here" if fitting else f"no bundle for {facts}"
    raise BundleError(f"{root}: {why}; make one: {facts.command()}")


def candidates(root: Path, facts: Facts) -> tuple[Bundle, ...]:
    """All that fit such a host and are of our version, the newest first."""
    fitting = [bundle for bundle in everything(root) if fits(bundle, facts)]
    return tuple(sorted(fitting, key=lambda it: (it.folder / MANIFEST).stat().st_mtime_ns, reverse=True))


def everything(root: Path) -> tuple[Bundle, ...]:
    """All that are there. BundleError where a manifest is none of ours."""
    return tuple(read(manifest.parent) for manifest in sorted(root.glob(f"fleetmedic-*/{MANIFEST}")))


def fits(bundle: Bundle, facts: Facts) -> bool:
    """Whether a bundle of this fleetmedic runs there: the same full Python and machine, and a glibc not older."""
    return (
        bundle.version.rpartition("-")[0] == VERSION
        and (bundle.facts.python, bundle.facts.machine) == (facts.python, facts.machine)
        and bundle.facts.glibc <= facts.glibc
    )


def read(folder: Path) -> Bundle:
    """What its manifest says; the wheels themselves are not looked at, see `check`. BundleError."""
    file = folder / MANIFEST
    try:
        values = json.loads(file.read_bytes())
        names = values["wheels"]
        facts = Facts(values["python"], values["machine"], values["libc"])
        made = Bundle(
            folder, values["version"], values["digest"], facts, tuple(folder / WHEELS / name for name in sorted(names))
        )
    except OSError as error:
        raise BundleError(f"{file}: can't be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{file}: is no manifest of a bundle: remove the folder, and make it anew") from error
    if any(not _plain(name) for name in names) or digest(names) != made.digest or not _right(made):
        raise BundleError(f"{file}: does not agree with itself: remove the folder, and make it anew")
    return made


def _plain(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*\.whl", name) is not None


def _right(bundle: Bundle) -> bool:
    return re.fullmatch(rf"[0-9][A-Za-z0-9.]*-{bundle.digest[:8]}", bundle.version) is not None


def digest(wheels: Mapping[str, str]) -> str:
    """Over names and hashes alone: the same wheels are the same bundle, whoever made it and when."""
    lines = "".join(f"{wheels[name]}  {name}\n" for name in sorted(wheels))
    return hashlib.sha256(lines.encode()).hexdigest()


def check(bundle: Bundle) -> None:
    """Every wheel is there, and is what the manifest says. BundleError."""
    names = hashes(bundle)
    for wheel in bundle.wheels:
        try:
            found = sha256(wheel)
        except OSError as error:
            raise BundleError(f"{wheel}: can't be read: {error.strerror}; make the bundle anew") from error
        if found != names[wheel.name]:
            raise BundleError(
                f"{wheel}: is not what {bundle.folder / MANIFEST} says: remove the folder, and make it anew"
            )


def hashes(bundle: Bundle) -> Mapping[str, str]:
    """The SHA-256 of each wheel by its name, as the manifest has it."""
    found: Mapping[str, str] = json.loads((bundle.folder / MANIFEST).read_bytes())["wheels"]
    return found


def sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
