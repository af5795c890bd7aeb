"""The pages are what the code says, and what they promise is kept."""

import re
import subprocess
import sys
import zipfile
from dataclasses import fields
from pathlib import Path

import pytest

from agent import budgets, config, registry
from controller.inventory import loading, requests

ROOT = Path(__file__).parent.parent


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines()]


@pytest.mark.covers("exp:documents")
def test_the_pages_written_from_the_code_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs/generate", "--check"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.covers("exp:documents")
def test_every_test_that_the_page_on_security_names_is_there() -> None:
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", (ROOT / "docs/security.md").read_text())

    assert len(named) > 30
    assert [name for file, name in named if f"def {name}(" not in (ROOT / file).read_text()] == []


@pytest.mark.covers("exp:readme")
def test_the_readme_is_short_and_begins_with_a_command() -> None:
    text = (ROOT / "README.md").read_text()

    assert text.count("\n") <= 150
    before = text.partition("    make demo")[0]
    assert len(re.findall(r"\w+", before)) <= 40


@pytest.mark.covers("perf:budgets")
def test_every_bound_lies_inside_the_one_that_waits_for_it() -> None:
    kill = budgets.PROBE_KILL
    inner = {
        "postgres": budgets.POSTGRES_RESIDENT + budgets.POSTGRES_CONNECT,
        "redis": budgets.REDIS_SOCKET,
        "docker": budgets.DOCKER_SOCKET,
        "tls": budgets.TLS_HANDSHAKE,
        "dns": budgets.DNS_LOOKUP,
        "http": budgets.HTTP_REQUEST,
        "errors": budgets.LOGS,
        "page": budgets.PAGE,
        "dependency": max(budgets.HTTP_REQUEST, budgets.TCP_CONNECT),
    }

    assert budgets.POSTGRES_LOCK_MS < budgets.POSTGRES_STATEMENT_MS < 1000 * budgets.POSTGRES_RESIDENT
    assert [probe for probe, seconds in inner.items() if seconds >= kill[probe]] == []
    assert budgets.DISCOVERY_DOCKER_SOCKET < budgets.DISCOVERY_KILL
    assert max(kill.values()) + budgets.DISCOVERY_KILL < budgets.CHECK - budgets.ANSWER_MARGIN
    assert budgets.CHECK < budgets.LONGEST_CALL


@pytest.mark.covers("sec:transport")
def test_no_insecure_port_or_channel_is_anywhere() -> None:
    words = ("add_insecure" + "_port", "insecure" + "_channel", "local_server" + "_credentials")
    found = [
        f"{file.relative_to(ROOT)}: {word}"
        for file in tracked("*.py")
        for word in words
        if word in file.read_text() and file != Path(__file__)
    ]

    assert found == []


@pytest.mark.covers("sec:package")
def test_the_wheel_has_exactly_the_three_packages_and_what_they_read(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"agent", "controller", "fleetmedic"}
    wanted = {str(file.relative_to(ROOT)) for file in tracked("agent/**", "controller/**")}
    wanted |= {str(file.relative_to(ROOT / "protos")) for file in tracked("protos/fleetmedic/**")}
    assert wanted <= set(names)


@pytest.mark.covers("exp:documents")
def test_the_pinned_versions_are_names_and_versions_alone() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()

    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.!+]+", line)] == []


@pytest.mark.covers("exp:documents")
@pytest.mark.parametrize("file", sorted((ROOT / "inventory").iterdir()), ids=lambda file: str(file.name))
def test_every_limit_of_an_example_inventory_is_one_that_a_rule_has(file: Path) -> None:
    known = {(rule.id, limit.name) for rule in registry.load() for limit in rule.limits}
    inventory = loading.load([str(file)])
    named = {(item.rule, item.name) for host in inventory.resolved(inventory.hosts) for item in requests.limits(host)}

    assert named
    assert named - known == set()


@pytest.mark.covers("exp:documents")
def test_the_page_about_agent_toml_shows_every_key_and_is_accepted(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "agent-toml.md").read_text()
    text = page.partition("```toml\n")[2].partition("```")[0]
    secret = tmp_path / "password"
    secret.write_text("x")
    secret.chmod(0o600)
    file = tmp_path / "agent.toml"
    file.write_text(re.sub(r'password_file = "[^"]*"', f'password_file = "{secret}"', text))
    read = config.load(file, registry.load(), {"HOME": str(tmp_path)})

    defaults = config.Config(None, "", tmp_path, tmp_path)
    same = {field.name for field in fields(read) if getattr(read, field.name) == getattr(defaults, field.name)}
    assert same <= {"listen", "discover", "sample_seconds"}
