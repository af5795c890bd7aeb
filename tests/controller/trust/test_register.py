"""The register: nothing is handed out that does not stand in it, and what stands in it stays."""

import json
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from controller.trust import authority, holders, register, requests
from controller.trust.files import TrustError
from controller.trust.holders import Standing


def rows(pki: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (pki / "register.jsonl").read_text().splitlines()]


@pytest.mark.covers("sec:register")
def test_everything_that_is_made_stands_in_it_with_who_when_and_why(pki: Path, now: datetime, tmp_path: Path) -> None:
    request = requests.made(ec.generate_private_key(ec.SECP256R1()))
    authority.issue_agent(pki, tmp_path / "out", "db01", now, actor="root")
    authority.sign_agent(pki, request, "db02", now, actor="installer")
    authority.issue_operator(pki, tmp_path / "out", "alice", "admin", now, reason="bastion is down", actor="bob")
    authority.sign_operator(pki, request, "carol", "observer", now, actor="carol")
    authority.passing_identity(pki, now)
    assert [(row["what"], row["kind"], row["name"], row["role"], row["reason"]) for row in rows(pki)] == [
        ("issued", "authority", "root-ca", "", ""),
        ("issued", "authority", "agent-ca", "", ""),
        ("issued", "authority", "operator-ca", "", ""),
        ("issued", "agent", "db01", "", ""),
        ("issued", "agent", "db02", "", ""),
        ("break-glass", "operator", "alice", "admin", "bastion is down"),
        ("issued", "operator", "carol", "observer", ""),
        ("issued", "operator", "passing", "observer", ""),
    ]
    assert [row["actor"] for row in rows(pki)[3:7]] == ["root", "installer", "bob", "carol"]
    # Who runs this, where nobody said.
    assert rows(pki)[7]["actor"]
    assert {row["at"] for row in rows(pki)} == {"2026-03-01T12:00:00Z"}
    assert len({row["serial"] for row in rows(pki)}) == 8
    assert stat.S_IMODE((pki / "register.jsonl").stat().st_mode) == 0o600


@contextmanager
def no_room(place: Path) -> Iterator[None]:
    """Let no file of ours grow beyond the size that this one has."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (place.stat().st_size + 20, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.covers("sec:register")
def test_where_it_cannot_be_written_nothing_is_handed_out(pki: Path, now: datetime, tmp_path: Path) -> None:
    request = requests.made(ec.generate_private_key(ec.SECP256R1()))
    for number in range(20):
        authority.sign_agent(pki, request, f"db{number:02}", now)
    before = (pki / "register.jsonl").read_bytes()
    with no_room(pki / "register.jsonl"):
        with pytest.raises(TrustError, match=r"register\.jsonl: can't be written: File too large; nothing was signed"):
            authority.sign_agent(pki, request, "web01", now)
        with pytest.raises(TrustError, match=r"register\.jsonl: can't be written"):
            authority.issue_operator(pki, tmp_path / "out", "alice", "admin", now)
    assert (pki / "register.jsonl").read_bytes() == before
    assert list((tmp_path / "out").iterdir()) == []
    authority.sign_agent(pki, request, "web01", now)
    assert rows(pki)[-1]["name"] == "web01"


@pytest.mark.covers("sec:register")
def test_a_line_cut_by_a_power_loss_is_told_and_spoils_no_other(pki: Path, now: datetime, tmp_path: Path) -> None:
    file = pki / "register.jsonl"
    file.write_text(file.read_text() + '{"at": "2026-03-01T12:0')
    authority.issue_agent(pki, tmp_path / "out", "db01", now)
    read = register.read(pki)
    assert read.unread == (4,)
    assert [row.name for row in read.entries] == ["root-ca", "agent-ca", "operator-ca", "db01"]


@pytest.mark.parametrize("line", ["[]", "{}", "null", '{"at": 5}', "[" * 5000, '"\\ud800"', "\x00"])
def test_junk_in_it_is_told_by_its_line(pki: Path, line: str) -> None:
    file = pki / "register.jsonl"
    file.write_text(file.read_text() + line + "\n")
    assert register.read(pki).unread == (4,)


@pytest.mark.covers("sec:register")
def test_many_at_once_lose_no_line(pki: Path) -> None:
    code = (
        "import sys\nfrom datetime import UTC, datetime\nfrom pathlib import Path\n"
        "from controller.trust import authority\n"
        "for n in range(20):\n"
        "    authority.passing_identity(Path(sys.argv[1]), datetime(2026, 3, 1, 12, n, tzinfo=UTC))\n"
    )
    several = [subprocess.Popen([sys.executable, "-c", code, pki]) for _ in range(4)]
    assert [process.wait(60) for process in several] == [0, 0, 0, 0]
    read = register.read(pki)
    assert (len(read.entries), read.unread) == (83, ())


def test_how_they_stand_is_told_worst_first(pki: Path, now: datetime, tmp_path: Path) -> None:
    day = timedelta(days=1)
    authority.issue_agent(pki, tmp_path, "old01", now - 100 * day)
    authority.issue_agent(pki, tmp_path, "db01", now - 50 * day)
    authority.issue_agent(pki, tmp_path, "db02", now - 44 * day)
    authority.issue_agent(pki, tmp_path, "db03", now - 80 * day)
    authority.issue_agent(pki, tmp_path, "db03", now)
    authority.issue_operator(pki, tmp_path, "alice", "admin", now)
    authority.issue_operator(pki, tmp_path, "alice", "observer", now)
    authority.issue_operator(pki, tmp_path, "bob", "observer", now - day)
    every = holders.held(register.read(pki), now)
    shown = [(item.standing, item.made.name) for item in holders.current(every, now)]
    assert shown == [
        (Standing.ENDED, "old01"),
        (Standing.SOON, "db01"),
        (Standing.VALID, "db02"),
        (Standing.VALID, "db03"),
        (Standing.VALID, "agent-ca"),
        (Standing.VALID, "operator-ca"),
        (Standing.VALID, "root-ca"),
        (Standing.VALID, "alice"),
        (Standing.VALID, "alice"),
    ]
    assert {(item.standing, item.made.name) for item in every} - set(shown) == {
        (Standing.REPLACED, "db03"),
        (Standing.ENDED, "bob"),
    }


def test_a_name_a_serial_and_its_beginning_are_found_and_others_get_what_was_meant(
    pki: Path, now: datetime, tmp_path: Path
) -> None:
    authority.issue_operator(pki, tmp_path, "alice", "admin", now)
    every = holders.held(register.read(pki), now)
    serial = next(item.made.serial for item in every if item.made.name == "alice")
    coloned = ":".join(serial[place : place + 2] for place in range(0, len(serial), 2)).lower()
    for word in ("alice", serial, serial[:8], serial.lower(), coloned):
        assert [item.made.name for item in holders.find(every, word)] == ["alice"]
    with pytest.raises(TrustError, match="did you mean 'alice'"):
        holders.find(every, "alise")
    with pytest.raises(TrustError, match="`fleetmedic pki list --all` has them"):
        holders.find(every, "0" * 40)
