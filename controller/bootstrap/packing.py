"""What a visit over SSH brings along: of a bundle what one check needs, as one archive that is made once and kept."""

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

from controller import writing
from controller.bootstrap import bundle, making
from controller.bootstrap.bundle import Bundle, BundleError, Facts
from controller.transport.ssh_stdio import Parcel

# The front's are left out: gRPC alone would double it. A test runs every probe with no more than this.
NEEDED = frozenset(
    ("cffi", "cryptography", "dnspython", "fleetmedic", "protobuf", "psycopg", "psycopg_binary", "typing_extensions")
)
NOT_NEEDED = ("controller/",)
# Compiled code in place of the sources would save a fifth of the second a visit takes there, and cost an eighth more to
# send: measured, and left. Another number for other contents of the same bundle.
RECIPE = 1
KEPT = "visit.json"
BLOCK = 4096


def fitting(root: Path, facts: Facts) -> Bundle:
    """A bundle of the code that runs here for such a host; no package index is asked. BundleError names the mend."""
    try:
        return bundle.find(root, facts)
    except BundleError:
        for old in bundle.candidates(root, facts):
            # One that is damaged, or a folder that we can't write to.
            with suppress(BundleError, OSError):
                return making.renew(root, old)
        raise


def pack(of: Bundle) -> Parcel:
    """Kept beside the wheels, where that folder can be written. BundleError where a wheel is not as it was made."""
    kept = _kept(of)
    if kept is not None:
        return kept
    bundle.check(of)
    files = dict(_files(of))
    parcel = Parcel(_archive(files), sum(len(body) + BLOCK for body in files.values()))
    # A folder of somebody else's, or a full disk: then it is made anew each time.
    with suppress(OSError):
        _keep(of, parcel)
    return parcel


def _files(of: Bundle) -> "dict[str, bytes]":
    made = {}
    for wheel in of.wheels:
        if wheel.name.partition("-")[0] in NEEDED:
            with zipfile.ZipFile(wheel) as opened:
                for name in opened.namelist():
                    if not name.endswith(("/", ".pyi")) and not name.startswith(NOT_NEEDED):
                        made[name] = opened.read(name)
    return made


def _archive(files: "dict[str, bytes]") -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, body in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
    return buffer.getvalue()


def _kept(of: Bundle) -> Parcel | None:
    """What was made before of these very wheels; None where there is none, or it is not what it was."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        about = json.loads((of.folder / KEPT).read_bytes())
        if (about["recipe"], about["digest"]) == (RECIPE, of.digest):
            archive = _place(of).read_bytes()
            if hashlib.sha256(archive).hexdigest() == about["sha256"]:
                return Parcel(archive, int(about["room"]))
    return None


def _keep(of: Bundle, parcel: Parcel) -> None:
    about = {
        "recipe": RECIPE,
        "digest": of.digest,
        "sha256": hashlib.sha256(parcel.archive).hexdigest(),
        "room": parcel.room,
    }
    writing.replace(_place(of), parcel.archive, 0o600)
    writing.replace(of.folder / KEPT, json.dumps(about), 0o600)


def _place(of: Bundle) -> Path:
    return of.folder / f"visit-{RECIPE}.tar.gz"
