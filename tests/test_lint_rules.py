"""Lint's own rules: each finds what it is for, leaves alone what is in order, and knows its named exceptions."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
RULES = ROOT / "lint" / "semgrep.yml"
EXAMPLES: Mapping[str, Mapping[str, list[str]]] = yaml.safe_load((ROOT / "lint" / "examples.yml").read_text())
SEMGREP = ROOT / ".cache" / "semgrep" / "bin" / "semgrep"
PATH = os.pathsep.join((str(SEMGREP.parent), os.defpath))


def found(folder: Path, files: Mapping[str, str]) -> dict[str, set[str]]:
    """The rules that find something in each of these files; those with nothing are not among them."""
    if not SEMGREP.exists():
        pytest.skip("semgrep is missing: make .cache/semgrep/.installed")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    shutil.copy(RULES, folder)
    done = subprocess.run(
        [SEMGREP, "scan", "--config", RULES.name, "--metrics=off", "--disable-version-check", "--quiet", "--json", "."],
        cwd=folder, env={"PATH": PATH, "HOME": str(folder), "LANG": "C.UTF-8"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["errors"] == []
    made: dict[str, set[str]] = {}
    for item in said["results"]:
        made.setdefault(item["path"], set()).add(item["check_id"].rpartition(".")[2])
    return made


def within_a_function(text: str) -> str:
    return "def act():\n" + "".join(f"    {line}\n" for line in text.splitlines())


@pytest.mark.covers("sec:S1")
def test_every_rule_finds_its_bad_examples_and_none_of_the_good_ones(tmp_path: Path) -> None:
    bad = {f"agent/bad/{rule}/{n}.py": text for rule, each in EXAMPLES.items() for n, text in enumerate(each["bad"])}
    good = {f"agent/good/{rule}/{n}.py": text for rule, each in EXAMPLES.items() for n, text in enumerate(each["good"])}
    made = found(tmp_path, {name: within_a_function(text) for name, text in (bad | good).items()})
    missed = {name: bad[name] for name in bad if name.split("/")[2] not in made.get(name, set())}
    assert missed == {}
    assert {name: (good[name], made[name]) for name in good if name in made} == {}


@pytest.mark.covers("sec:S1")
def test_every_rule_has_examples() -> None:
    assert {rule["id"] for rule in yaml.safe_load(RULES.read_text())["rules"]} == EXAMPLES.keys()
    assert all(each["bad"] and each["good"] for each in EXAMPLES.values())


@pytest.mark.covers("sec:S1")
def test_the_places_that_a_rule_names_are_the_only_ones_it_spares(tmp_path: Path) -> None:
    unverified, keys = "context.verify_mode = ssl.CERT_NONE\n", "policy = AutoAddPolicy\n"
    spared = {
        **dict.fromkeys(
            ("agent/fetching.py", "agent/probes/redis.py", "agent/probes/tls.py", "controller/doctor/handshake.py"),
            unverified,
        ),
        "controller/ssh.py": keys,
    }
    beside = {
        "agent/redis.py": unverified,
        "agent/probes/http.py": unverified,
        "controller/fetching.py": unverified,
        "controller/bootstrap/ssh.py": keys,
    }
    assert all((ROOT / name).exists() for name in spared)
    assert found(tmp_path, spared | beside).keys() == beside.keys()


@pytest.mark.covers("sec:S1")
def test_what_looks_like_a_secret_is_found_in_any_file_unless_it_is_marked(tmp_path: Path) -> None:
    (tmp_path / "lint").mkdir()
    shutil.copy(ROOT / "lint" / "secrets", tmp_path / "lint")
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    real, word = "wJalrXUtnFEMI" + "/K7MDENG/bPxRfiCY" + "ZkQpLmNv", "pass" + "word"
    marked = "# pragma: allowlist nextline " + f"secret - made up\nKEY = '{real}'\n"
    (tmp_path / "fine.py").write_text(f"{marked}{word} = 'hunter2'\n")
    hook = Path(sys.executable).parent / "detect-secrets-hook"

    def looked() -> "subprocess.CompletedProcess[str]":
        return subprocess.run([tmp_path / "lint" / "secrets", hook], capture_output=True, text=True, check=False)

    done = looked()
    assert done.returncode == 0, done.stdout
    planted = {
        "notes.md": f"{word}: '{real}'",
        "a.ini": f"{word} = {real}",
        "k.txt": "-----BEGIN EC PRIVATE " + "KEY-----",
    }
    for name, text in planted.items():
        (tmp_path / name).write_text(f"{text}\n")
    done = looked()
    assert done.returncode
    assert [name for name in planted if name not in done.stdout] == []
