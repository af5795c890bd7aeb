"""The commands of pki as people type them: from an empty home to a check, what they say, and what they refuse."""

import json
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from controller.store import events
from controller.trust.certificates import BREAK_GLASS
from tests.lab import agents
from tests.lab.agents import Agent, Command, Desk

# The lab's desks name their files; a newcomer's does not.
PLAIN = {"FLEETMEDIC_CERTIFICATE": "", "FLEETMEDIC_KEY": "", "FLEETMEDIC_CA": ""}


@pytest.fixture
def home(tmp_path: Path) -> Desk:
    """Make the authorities of lab in an empty home, by the shortest command."""
    made = Desk(tmp_path)
    done = pki(made, "init", "--org", "lab")
    assert (done.code, done.err) == (0, "")
    return made


def pki(home: Desk, *words: str | Path) -> Command:
    return home.run("pki", *words, environment=PLAIN)


def own(home: Desk) -> Path:
    return home.folder / ".config" / "fleetmedic"


def refused(done: Command, said: str, code: int = 77) -> None:
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert "bug of ours" not in done.err


def uri(file: Path) -> str:
    names = x509.load_pem_x509_certificate(file.read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)[0]


def test_init_says_where_the_roots_key_belongs_and_what_for(tmp_path: Path) -> None:
    done = pki(Desk(tmp_path), "init", "--org", "lab")
    folder = tmp_path / ".config" / "fleetmedic" / "pki"
    assert done.out == "".join(
        f"made {folder / name}.crt and {name}.key (keep it secret)\n" for name in ("root-ca", "agent-ca", "operator-ca")
    ) + (
        "Move root-ca.key to a medium that lies offline, and keep a second copy: it is needed for\n"
        "`fleetmedic pki renew agent-ca` and `fleetmedic pki renew operator-ca` alone, before ten years are over.\n"
    )
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_operators_files_go_to_where_every_command_finds_them(desk: Desk, agent: Agent, tmp_path: Path) -> None:
    alice = Desk(tmp_path)
    done = pki(alice, "issue", "operator", "alice", "--role", "responder", "--dir", desk.pki)
    assert done.out == f"made {own(alice)}/operator.crt and operator.key\n"
    assert done.err == ""
    assert sorted(path.name for path in own(alice).iterdir()) == ["agent-ca.crt", "operator.crt", "operator.key"]
    assert uri(own(alice) / "operator.crt") == "spiffe://lab/role/responder/user/alice"
    file = alice.folder / "fleet.yml"
    file.write_text(
        f"all: {{hosts: {{web01: {{fleetmedic_address: {agent.address}, fleetmedic_port: {agent.port}}}}}}}\n"
    )
    seen = alice.run("check", "-i", file, "--include", "HOST-MEM", "--json", environment=PLAIN)
    assert seen.code in (0, 2), seen.err
    assert seen.json()["reports"][0]["cause"] == ""


def test_files_that_other_settings_hide_are_told(home: Desk) -> None:
    done = home.run("pki", "issue", "operator", "alice")
    assert done.code == 0
    assert "other settings say where these are: certificate (environment FLEETMEDIC_CERTIFICATE), key" in done.err


def test_the_folder_is_a_setting(home: Desk, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for words, environment in ((("--dir", other), {}), ((), {"FLEETMEDIC_PKI": str(tmp_path / "third")})):
        done = home.run("pki", "init", "--org", "lab", *words, environment={**PLAIN, **environment})
        assert done.code == 0, done.err
    assert (other / "root-ca.key").exists()
    assert (tmp_path / "third" / "root-ca.key").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("issue", "agent", "db01"), "--out DIR"),
        (("issue", "operator", "alice", "--break-glass"), "--break-glass and --reason TEXT belong together"),
        (("issue", "operator", "alice", "--reason", "x"), "--break-glass and --reason TEXT belong together"),
        (("issue", "operator", "alice", "--break-glass", "--reason", "  "), "belong together"),
        (("issue", "agent", "db01", "--out", "x", "--break-glass", "--reason", "x"), "without --break-glass"),
        (("renew", "db01.crt", "--root-key", "x"), "--root-key is for agent-ca and operator-ca alone"),
        (("revoke", "alice", "--reason", " "), "say why, in 200 characters at most"),
        (("revoke", "alice"), "Missing option '--reason'"),
    ],
)
def test_wrong_use_is_64(home: Desk, words: tuple[str, ...], said: str) -> None:
    done = pki(home, *words)
    assert (done.code, done.out) == (64, "")
    assert said in done.err


@pytest.mark.covers("sec:break-glass")
def test_a_broken_glass_lasts_an_hour_and_stands_in_certificate_register_and_store(home: Desk) -> None:
    why = "bastion is down, INC-42 \u2013 alle weg"
    words = ("issue", "operator", "alice", "--role", "admin", "--break-glass", "--reason", why)
    done = pki(home, *words)
    assert done.code == 0, done.err
    made = x509.load_pem_x509_certificate((own(home) / "operator.crt").read_bytes())
    assert made.not_valid_after_utc - made.not_valid_before_utc == timedelta(hours=1, seconds=60)
    said = made.extensions.get_extension_for_oid(BREAK_GLASS)
    assert not said.critical
    assert isinstance(said.value, x509.UnrecognizedExtension)
    assert said.value.value == why.encode()
    row = json.loads((own(home) / "pki" / "register.jsonl").read_text().splitlines()[-1])
    assert (row["what"], row["name"], row["role"], row["reason"]) == ("break-glass", "alice", "admin", why)
    assert row["actor"]
    with closing(sqlite3.connect(home.folder / "state" / "fleetmedic" / "controller.db")) as base:
        kind, text, data = base.execute("SELECT kind, text, data FROM events").fetchone()
        assert list(events.broken(base)) == []
    assert (kind, text) == ("break-glass", f"the glass was broken: alice is admin for an hour: {why}")
    assert json.loads(data) == {"user": "alice", "role": "admin", "reason": why}
    assert "alice (admin, glass broken)" in pki(home, "list").out
    assert f"break-glass {row['at']} by {row['actor']}: {why}" in pki(home, "show", "alice").out


@pytest.mark.covers("sec:break-glass")
def test_a_broken_glass_that_cannot_be_noted_is_none(home: Desk) -> None:
    notes = home.folder / "notes.txt"
    notes.write_text("remember the milk\n" * 100)
    words = ("issue", "operator", "alice", "--break-glass", "--reason", "x", "--store", notes)
    refused(pki(home, *words), "give another place with --store", 1)
    assert not (own(home) / "operator.crt").exists()
    assert "alice" not in (own(home) / "pki" / "register.jsonl").read_text()


@pytest.mark.covers("sec:break-glass")
@pytest.mark.parametrize("why", ["x" * 201, "a\x1b[31m", "a\u202eb"])
def test_a_reason_is_one_line_of_plain_text(home: Desk, why: str) -> None:
    done = pki(home, "issue", "operator", "alice", "--break-glass", "--reason", why)
    refused(done, "--reason: say why in one line of 200 characters at most")
    assert not (own(home) / "operator.crt").exists()


@pytest.mark.covers("sec:register")
def test_the_list_shows_who_holds_what_for_people_and_for_programs(home: Desk) -> None:
    pki(home, "issue", "agent", "db01", "--out", "tls")
    pki(home, "issue", "agent", "db01", "--out", "tls")
    pki(home, "issue", "operator", "alice", "--role", "responder")
    shown = pki(home, "list")
    lines = shown.out.splitlines()
    assert [tuple(line.split()[:2]) for line in lines[:-1]] == [
        ("VALID", "agent"),
        ("VALID", "authority"),
        ("VALID", "authority"),
        ("VALID", "authority"),
        ("VALID", "operator"),
    ]
    assert lines[-1] == "1 certificate more, replaced or ended: --all shows them"
    assert "alice (responder)" in shown.out
    assert re.search(r" alice \(responder\)  ends \S+ \d\d:\d\dZ \(in (8h00|7h5\d)m\)  ", shown.out)
    assert "REPLACED" in pki(home, "list", "--all").out
    document = pki(home, "list", "--all", "--format", "json").json()
    assert document["schema"] == "fleetmedic-pki/1"
    found = {row["name"]: row for row in document["certificates"]}
    assert found["alice"]["standing"] == "valid"
    assert found["alice"]["denied"] is None
    assert len(document["certificates"]) == 6


@pytest.mark.covers("sec:register")
def test_a_denied_user_is_told_everywhere_and_what_is_left_to_do_is_said(home: Desk) -> None:
    pki(home, "issue", "operator", "alice", "--role", "admin")
    done = pki(home, "revoke", "alice", "--reason", "laptop\nlost")
    place = own(home) / "pki" / "denylist.pem"
    number = x509.load_pem_x509_crl(place.read_bytes()).extensions.get_extension_for_class(x509.CRLNumber).value
    assert abs(number.crl_number - time.time()) < 60
    assert set(done.out.splitlines()) == {
        f"denied 1 certificate of alice: denylist {number.crl_number}, {place}",
        "Agents let alice in until they have it: `fleetmedic pki push`",
        "Where a bastion signs for alice: take the line for that SSH key out of its authorized_keys, "
        "and deny there what it signed.",
    }
    assert pki(home, "list").out.startswith("REVOKED    operator   alice (admin)")
    assert ": laptop lost" in pki(home, "show", "alice").out
    row = pki(home, "list", "--format", "json").json()["certificates"][0]
    assert (row["standing"], row["denied"]["reason"]) == ("revoked", "laptop lost")
    refused(pki(home, "revoke", "alice", "--reason", "again"), "the last one was denied already")
    refused(pki(home, "revoke", "alise", "--reason", "x"), "did you mean 'alice'?")


@pytest.mark.covers("sec:register")
def test_a_denial_at_a_desk_keeps_what_a_login_brought_of_the_bastions(home: Desk) -> None:
    bastion = home.folder / "bastion"
    shutil.copytree(own(home) / "pki", bastion)
    pki(home, "issue", "operator", "bob", "--role", "admin", "--dir", bastion, "--out", "bob")
    pki(home, "issue", "operator", "alice", "--role", "admin")
    done = pki(home, "revoke", "bob", "--reason", "gone")
    refused(done, "what a bastion signed is in its register alone: run this there")
    assert pki(home, "revoke", "bob", "--reason", "gone", "--dir", bastion).code == 0
    shutil.copy(bastion / "denylist.pem", own(home))
    assert pki(home, "revoke", "alice", "--reason", "lost").code == 0
    made = x509.load_pem_x509_crl((own(home) / "pki" / "denylist.pem").read_bytes())
    given = [
        x509.load_pem_x509_certificate(file.read_bytes())
        for file in (own(home) / "operator.crt", home.folder / "bob/bob.crt")
    ]
    assert {row.serial_number for row in made} == {item.serial_number for item in given}


def test_an_agent_cannot_be_denied_and_the_mend_is_said_in_one_line(home: Desk) -> None:
    pki(home, "issue", "agent", "db01", "--out", "tls")
    done = pki(home, "revoke", "db01", "--reason", "stolen")
    refused(done, "give the host another name in the inventory and a certificate for that")
    assert len(done.err.splitlines()) == 1


def test_a_file_is_shown_with_what_the_register_knows_and_without_one(home: Desk, tmp_path: Path) -> None:
    pki(home, "issue", "operator", "alice", "--role", "admin", "--out", "me")
    there = pki(home, "show", "me/alice.crt").out
    assert there.startswith("operator alice (admin)  VALID\n  serial  ")
    assert "  issued  " in there
    elsewhere = pki(home, "show", "me/alice.crt", "--dir", tmp_path / "nothing")
    assert elsewhere.code == 0
    assert "  not in the register here\n" in elsewhere.out
    agent_authority = pki(home, "show", own(home) / "pki" / "agent-ca.crt").out
    assert agent_authority.startswith("authority agent-ca  VALID")
    refused(pki(home, "show", "me/alice.key"), "is no PEM certificate")
    refused(pki(home, "show", "nobody"), "is nobody to whom a certificate was issued here")


def test_a_leaf_and_an_authority_are_renewed_by_one_command_each(home: Desk, tmp_path: Path) -> None:
    pki(home, "issue", "agent", "db01", "--out", "tls")
    key = (tmp_path / "tls" / "db01.key").read_bytes()
    assert pki(home, "renew", "tls/db01.crt").out == f"renewed {tmp_path}/tls/db01.crt and db01.key\n"
    assert (tmp_path / "tls" / "db01.key").read_bytes() != key
    root = own(home) / "pki" / "root-ca.key"
    stick = tmp_path / "stick.key"
    root.rename(stick)
    refused(pki(home, "renew", "agent-ca"), "it lies offline: bring it for this one command")
    done = pki(home, "renew", "agent-ca", "--root-key", stick)
    assert done.code == 0, done.err
    assert "every desk needs it: `fleetmedic login` brings it" in done.out
    done = pki(home, "renew", "operator-ca", "--root-key", stick)
    assert "every host needs it" in done.out


def test_a_line_of_the_register_that_cannot_be_read_is_told_and_the_others_are_shown(home: Desk) -> None:
    file = own(home) / "pki" / "register.jsonl"
    file.write_text(file.read_text() + "junk\n")
    done = pki(home, "list")
    assert done.code == 0
    assert done.err == f"fleetmedic: {file}:4: is no line of the register, and left out: was the disk full once?\n"
    assert len(done.out.splitlines()) == 3


@pytest.mark.covers("sec:B5")
def test_what_stands_in_a_register_reaches_the_terminal_harmless(home: Desk) -> None:
    file = own(home) / "pki" / "register.jsonl"
    row = json.loads(file.read_text().splitlines()[0])
    odd = {
        **row,
        "kind": "operator",
        "name": "\x1b[31meve",
        "actor": "\u202eroot",
        "reason": "\x07",
        "serial": "AB" * 8,
    }
    file.write_text(file.read_text() + json.dumps(odd) + "\n")
    for words in (("list",), ("show", "AB" * 8), ("list", "--format", "json")):
        done = pki(home, *words)
        assert done.code == 0, done.err
        assert not {"\x1b", "\x07", "\u202e"} & set(done.out)


@pytest.mark.parametrize(
    "words", [("--key", "nothing.pub"), ("--key", "/etc/passwd"), ("--key", "pub", "--role", "root")]
)
def test_no_line_is_printed_for_what_is_wrong(home: Desk, words: tuple[str, ...]) -> None:
    agents_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIODM3Q9E/mLBFH+Y1nNCEqL5IIPYz7C511rSL9PVP3FL alice"
    (home.folder / "pub").write_text(agents_key)
    given = ("--role", "responder") if "--role" not in words else ()
    done = pki(home, "authorize", "alice", *given, *words)
    assert (done.code, done.out) == (77, "")
    assert len(done.err.splitlines()) == 1


@pytest.mark.covers("perf:E6")
@pytest.mark.parametrize(
    ("words", "not_imported"),
    [
        (("pki", "list"), {"cryptography", "grpc", "paramiko", "sqlite3"}),
        (("pki", "sign", "--help"), {"cryptography", "grpc", "paramiko", "google.protobuf"}),
        (("login", "--help"), {"cryptography", "grpc", "paramiko", "google.protobuf"}),
        (("pki", "issue", "operator", "alice"), {"grpc", "paramiko", "sqlite3"}),
    ],
)
def test_a_command_imports_what_it_needs_alone(home: Desk, words: tuple[str, ...], not_imported: set[str]) -> None:
    code = (
        "import sys\nfrom controller.cli import main\nsys.argv = ['fleetmedic', *sys.argv[1:]]\n"
        "try:\n    main()\nfinally:\n    print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )
    environment = {"HOME": str(home.folder), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not not_imported & set(done.stderr.splitlines())


def test_the_desk_of_the_lab_is_made_by_the_products_own_commands(tmp_path: Path) -> None:
    made = agents.desk(tmp_path / "desk")
    assert {f"{name}.crt" for name in ("root-ca", "agent-ca", "operator-ca", "alice")} <= {
        path.name for path in made.pki.iterdir()
    }
