"""What a visit brings along: all that a look needs, nothing of the front's, and never what was tampered with."""

import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from controller.bootstrap import bundle, packing
from controller.bootstrap.bundle import Bundle, BundleError
from controller.transport.ssh_stdio import Parcel

PYTHON = "/usr/bin/python3"
# Imports all of the agent's modules and says what was not there; the way to PostgreSQL must be the binary one.
IMPORTS = """\
import importlib, pkgutil, agent, psycopg
assert psycopg.pq.__impl__ == "binary"
for found in pkgutil.walk_packages(agent.__path__, "agent."):
    try:
        found.name.endswith("__main__") or importlib.import_module(found.name)
    except ModuleNotFoundError as error:
        print(error.name)
"""


@pytest.fixture(scope="module")
def made(bundles: Path) -> Bundle:
    """A bundle of this code for the Python of the lab's hosts."""
    said = subprocess.run([PYTHON, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    kinds = [one.facts for one in bundle.everything(bundles) if one.facts.python == said]
    assert kinds, f"no bundle for Python {said}: make .cache/bundles/.made"
    return packing.fitting(bundles, kinds[0])


def names(parcel: Parcel) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(parcel.archive)) as archive:
        return archive.getnames()


@pytest.mark.covers("sec:via-ssh")
def test_every_module_of_a_look_can_be_imported_from_it_alone(made: Bundle, tmp_path: Path) -> None:
    parcel = packing.pack(made)
    with tarfile.open(fileobj=io.BytesIO(parcel.archive)) as archive:
        archive.extraction_filter = lambda member, _: member
        archive.extractall(tmp_path)  # nosec B202
    done = subprocess.run(
        [PYTHON, "-P", "-s", "-S", "-B", "-c", IMPORTS],
        env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= {"grpc", "grpc_health"}, "the front's alone may lack"
    disk = sum(item.stat().st_blocks * 512 for item in tmp_path.rglob("*"))
    assert disk <= parcel.room, "as much room as it says is enough"


def test_nothing_of_the_front_or_the_desk_is_brought(made: Bundle) -> None:
    parcel = packing.pack(made)
    tops = {name.partition("/")[0] for name in names(parcel)}
    assert {"agent", "fleetmedic", "google", "psycopg_binary"} <= tops
    assert not tops & {"controller", "grpc", "docker", "redis", "pip", "requests"}
    assert len(parcel.archive) < 12 * 1024 * 1024


def test_it_is_made_once_and_made_anew_where_it_is_not_what_it_was(made: Bundle) -> None:
    first = packing.pack(made)
    (kept,) = made.folder.glob("visit-*.tar.gz")
    before = kept.stat().st_mtime_ns
    assert packing.pack(made) == first
    assert kept.stat().st_mtime_ns == before
    for spoilt in (b"", first.archive[:-1], first.archive + b"x"):
        kept.write_bytes(spoilt)
        assert packing.pack(made) == first
        assert kept.read_bytes() == first.archive
    for about in (b"", b"[]", b"{}", json.dumps({"recipe": 1, "digest": "other"}).encode()):
        (made.folder / "visit.json").write_bytes(about)
        assert packing.pack(made) == first


def test_a_wheel_that_is_not_what_it_was_is_refused(made: Bundle) -> None:
    for file in made.folder.glob("visit*"):
        file.unlink()
    wheel = next(item for item in made.wheels if item.name.startswith("dnspython"))
    right = wheel.read_bytes()
    wheel.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    try:
        with pytest.raises(BundleError, match="remove the folder, and make it anew"):
            packing.pack(made)
        assert list(made.folder.glob("visit*")) == []
    finally:
        wheel.write_bytes(right)
    assert packing.pack(made).room > 0
