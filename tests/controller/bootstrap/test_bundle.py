"""Bundles: made ahead for one kind of host, the same for the same wheels, checked before anything is sent."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from controller import VERSION
from controller.bootstrap import bundle, making, own_wheel, rollout
from controller.bootstrap.bundle import BundleError, Facts
from tests.controller.bootstrap.installing import Crew
from tests.lab.agents import Desk

HERE = Facts("3.11.2", "x86_64", "glibc 2.36")


@pytest.fixture
def root(bundles: Path, folder: Path) -> Path:
    """Return a folder of bundles for one test."""
    shutil.copytree(bundles, folder / "bundles")
    return folder / "bundles"


def current(root: Path, facts: Facts = HERE) -> bundle.Bundle:
    return rollout.bundle_for(root, facts, print)


@pytest.mark.covers("sec:bundle")
def test_our_own_wheel_is_the_three_packages_with_true_records_and_the_same_each_time() -> None:
    made = own_wheel.build()
    assert made == own_wheel.build()
    with zipfile.ZipFile(BytesIO(made)) as wheel:
        names = wheel.namelist()
        assert {name.split("/")[0] for name in names} == {
            "agent",
            "controller",
            "fleetmedic",
            f"fleetmedic-{VERSION}.dist-info",
        }
        assert not [name for name in names if name.endswith(".pyc")]
        for needed in ("agent/py.typed", "controller/bootstrap/on_host.py", "fleetmedic/v1/agent_pb2.py"):
            assert needed in names
        record = wheel.read(f"fleetmedic-{VERSION}.dist-info/RECORD").decode().splitlines()
        assert len(record) == len(names)
        for line in record[:-1]:
            name, digest, size = line.split(",")
            content = wheel.read(name)
            found = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            assert (digest, int(size)) == (f"sha256={found}", len(content))


@pytest.mark.covers("sec:bundle")
def test_another_patch_release_of_python_gets_the_wheel_more_that_it_needs(bundles: Path) -> None:
    """redis needs async-timeout before 3.11.3; a bundle for the desk's own Python would not install there."""
    kinds = {
        made.facts.python: {wheel.name.split("-")[0] for wheel in made.wheels} for made in bundle.everything(bundles)
    }
    assert kinds["3.11.2"] - kinds["3.11.9"] == {"async_timeout"}
    for names in kinds.values():
        assert {"fleetmedic", "pip", "grpcio", "cryptography", "psycopg_binary"} <= names
        assert not names & {"click", "fabric", "paramiko"}


@pytest.mark.covers("sec:bundle")
def test_the_manifest_says_what_it_is_for_and_the_hash_of_each_wheel(root: Path) -> None:
    made = current(root)
    told = json.loads((made.folder / "manifest.json").read_text())
    assert (told["python"], told["machine"], told["libc"]) == ("3.11.2", "x86_64", "glibc 2.36")
    assert made.version == told["version"] == f"{VERSION}-{made.digest[:8]}"
    assert made.folder.name == f"fleetmedic-{made.version}-py3.11.2-x86_64-glibc2.36"
    assert told["wheels"] == {wheel.name: hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in made.wheels}


@pytest.mark.covers("sec:bundle")
def test_the_same_wheels_are_the_same_bundle_made_twice(root: Path, folder: Path) -> None:
    first = current(root)
    assert making.renew(root, first) == first
    other = making.renew(folder / "elsewhere", first)
    assert (other.version, other.digest) == (first.version, first.digest)
    assert not [path for path in root.iterdir() if path.name.startswith(".making")]


@pytest.mark.covers("sec:bundle")
def test_it_fits_the_same_python_and_machine_and_a_glibc_that_is_not_older(root: Path) -> None:
    made = current(root)
    for facts in (HERE, Facts("3.11.2", "x86_64", "glibc 2.41")):
        assert bundle.find(root, facts) == made
    for facts, command in (
        (Facts("3.11.4", "x86_64", "glibc 2.36"), "--python 3.11.4 --machine x86_64 --libc 2.36"),
        (Facts("3.11.2", "aarch64", "glibc 2.36"), "--python 3.11.2 --machine aarch64 --libc 2.36"),
        (Facts("3.11.2", "x86_64", "glibc 2.31"), "--python 3.11.2 --machine x86_64 --libc 2.31"),
    ):
        with pytest.raises(BundleError, match="no bundle for Python 3.11") as caught:
            bundle.find(root, facts)
        assert str(caught.value).endswith(f"fleetmedic agent bundle {command}")


@pytest.mark.covers("sec:bundle")
def test_a_bundle_of_other_code_is_not_taken_and_is_renewed_without_an_index(root: Path) -> None:
    made = current(root)
    own = made.folder / "wheels" / own_wheel.NAME
    with zipfile.ZipFile(own, "a") as wheel:
        wheel.writestr("agent/more.py", "")
    told = json.loads((made.folder / "manifest.json").read_text())
    told["wheels"][own.name] = bundle.sha256(own)
    told["digest"] = bundle.digest(told["wheels"])
    told["version"] = f"{VERSION}-{told['digest'][:8]}"
    (made.folder / "manifest.json").write_text(json.dumps(told))
    old = made.folder.rename(root / f"fleetmedic-{told['version']}-py3.11.2-x86_64-glibc2.36")
    for other in bundle.candidates(root, HERE):
        if other.folder != old:
            shutil.rmtree(other.folder)
    with pytest.raises(BundleError, match="none of 1 is of the code that runs here"):
        bundle.find(root, HERE)
    assert current(root).version == made.version


@pytest.mark.covers("sec:bundle")
def test_a_damaged_bundle_is_not_sent(root: Path) -> None:
    made = current(root)
    wheel = next(it for it in made.wheels if it.name.startswith("redis"))
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=r"redis.*\.whl: is not what .*manifest.json says"):
        bundle.check(made)
    with pytest.raises(BundleError, match="is not what"):
        current(root)
    wheel.unlink()
    with pytest.raises(BundleError, match="No such file"):
        bundle.check(made)


@pytest.mark.covers("sec:bundle")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"wheels": ["a.whl"]}',
        '{"wheels": {"../x.whl": "0"}}',
        "\udc80",
        '{"version": "0.1.0-00000000"}',
    ],
)
def test_a_manifest_that_is_none_is_refused_in_one_line(root: Path, text: str) -> None:
    made = current(root)
    (made.folder / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(BundleError, match="manifest.json: .*make it anew"):
        bundle.find(root, HERE)


@pytest.mark.covers("sec:bundle")
def test_wheels_with_ways_out_of_the_folder_are_refused(root: Path) -> None:
    made = current(root)
    told = json.loads((made.folder / "manifest.json").read_text())
    told["wheels"]["../../x.whl"] = "0" * 64
    told["digest"] = bundle.digest(told["wheels"])
    told["version"] = f"{VERSION}-{told['digest'][:8]}"
    (made.folder / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(BundleError, match="does not agree with itself"):
        bundle.read(made.folder)


@pytest.mark.covers("sec:bundle")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--python", "3.9.2", "--libc", "2.36"), "--python 3.9.2: must be a full version from 3.11 on"),
        (("--python", "3.11", "--libc", "2.36"), "--python 3.11: must be a full version"),
        (("--python", "3.11.2", "--libc", "2.12"), "--libc glibc 2.12: is older than 2.17"),
        (("--python", "3.11.2", "--libc", "musl"), "glibc musl is no glibc"),
        (("--python", "3.11.2", "--libc", "2.36", "--machine", "mips"), "--machine mips: the agent runs on"),
    ],
)
def test_a_kind_that_can_not_be_is_refused_before_anything_is_made(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    done = Desk(tmp_path).run("agent", "bundle", *words)
    assert (done.code, said in done.err) == (65, True), done.err
    assert not (tmp_path / ".cache").exists()


@pytest.mark.covers("sec:bundle")
def test_no_kind_at_all_is_wrong_use(tmp_path: Path) -> None:
    done = Desk(tmp_path).run("agent", "bundle")
    assert (done.code, "--for-host PATTERN" in done.err) == (64, True)


@pytest.mark.covers("sec:bundle")
def test_without_an_index_it_fails_whole_in_one_line(folder: Path) -> None:
    """The sandbox has no route to anywhere."""
    environment = {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(folder / "cache"), "UV_NO_INDEX": "1"}
    done = Desk(folder).run("agent", "bundle", "--python", "3.11.2", "--libc", "2.36", environment=environment)
    assert done.code == 65
    assert done.err.startswith("fleetmedic: uv could not: ")
    assert done.err.count("\n") == 1
    assert list((folder / ".cache/fleetmedic/bundles").iterdir()) == []


@pytest.mark.covers("sec:bundle")
def test_the_kind_may_be_asked_of_the_hosts_themselves(crew: Crew) -> None:
    """Three of one kind are one bundle, which can't be made here: the sandbox has no route to an index."""
    done = crew.agent("bundle", "--for-host", "all")
    assert (done.code, done.out) == (65, "")
    assert done.err.startswith("fleetmedic: uv could not: ")
    done = crew.agent("bundle", "--for-host", "no-such-host")
    assert (done.code, "no-such-host" in done.err) == (65, True)


@pytest.mark.covers("sec:bundle")
def test_without_uv_or_pip_one_line_says_how_to_get_them(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "bare"], check=True)
    paths = ":".join(path for path in sys.path if path)
    environment = {"PATH": "/nowhere", "PYTHONPATH": paths, "HOME": str(folder), "LANG": "C.UTF-8"}
    program = "import sys; from controller.cli import main; main()"
    words: list[str | Path] = [
        folder / "bare/bin/python",
        "-c",
        program,
        "agent",
        "bundle",
        "--python",
        "3.11.2",
        "--libc",
        "2.36",
    ]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 65
    assert re.fullmatch(r"fleetmedic: uv is not here, .*pip install 'fleetmedic\[bundle\]'.*\n", done.stderr), (
        done.stderr
    )
